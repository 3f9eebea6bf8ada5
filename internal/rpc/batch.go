package rpc

import (
	"sync"

	"supervisord/internal/outq"
)

// batch gathers the answers to the requests of one array, to be sent as one array in the order of the requests.
type batch struct {
	c *conn

	mu   sync.Mutex
	out  [][]byte // by request; nil for one without an answer
	left int      // requests that have not been answered, and one for the array while it is taken apart
}

func newBatch(c *conn, n int) *batch { return &batch{c: c, out: make([][]byte, n), left: n + 1} }

// put takes the answer to request number slot, nil for none; the last one sends them all.
func (b *batch) put(slot int, answer []byte, set *outq.Set) {
	b.mu.Lock()
	b.out[slot] = answer
	b.mu.Unlock()
	b.c.batched.Add(int64(len(answer)))
	b.done(set)
}

// done says that one more of what the batch waits for is over.
func (b *batch) done(set *outq.Set) {
	b.mu.Lock()
	b.left--
	last := b.left == 0
	b.mu.Unlock()
	if !last {
		return
	}
	size, held := 2, 0
	for _, answer := range b.out {
		size += len(answer) + 1
		held += len(answer)
	}
	array := make([]byte, 0, size)
	for _, answer := range b.out {
		if answer == nil {
			continue
		}
		if len(array) == 0 {
			array = append(array, '[')
		} else {
			array = append(array, ',')
		}
		array = append(array, answer...)
	}
	if len(array) > 0 {
		b.c.send(append(array, ']'), set)
	}
	b.c.batched.Add(-int64(held))
}

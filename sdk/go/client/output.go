package client

import (
	"io"
	"sync"
)

// output is the queue of requests. Whoever finds nobody writing writes all that is queued, so requests that come
// together leave together and no goroutine is needed for it.
type output struct {
	w io.Writer

	mu      sync.Mutex
	queued  []byte
	spare   []byte // a buffer to be used again
	writing bool
	err     error // the first failed write; nothing is written after it
}

// keepOutput is the biggest buffer that is used again.
const keepOutput = 1 << 20

// send queues one message and writes it, unless somebody is writing, who then writes it too. The error is that of any
// write so far.
func (o *output) send(message []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	o.queued = append(o.queued, message...)
	if o.writing {
		return nil
	}
	o.writing = true
	for len(o.queued) > 0 && o.err == nil {
		batch := o.queued
		o.queued, o.spare = o.spare[:0], nil
		err := o.write(batch)
		if cap(batch) <= keepOutput {
			o.spare = batch[:0]
		}
		o.err = err
	}
	o.writing = false
	return o.err
}

// write is entered and left with mu held, and does not hold it meanwhile.
func (o *output) write(batch []byte) error {
	o.mu.Unlock()
	defer o.mu.Lock()
	_, err := o.w.Write(batch)
	return err
}

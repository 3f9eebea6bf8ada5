// Package outq is the output side of a peer: a byte queue in front of a socket or a pipe, drained by whoever flushes.
//
// Any goroutine appends whole messages under the queue's lock and marks the queue in its own Set; when it has handled
// all that one read brought, it flushes the Set. Flush makes the caller the writer unless somebody writes already:
//
//	reader of peer A ── Append ──┐
//	reader of peer B ── Append ──┼─▶ queue ─ Flush (no writer) ─▶ write(2), never blocking
//	                             │          └ Flush (writer at work) ─▶ returns; the writer takes it along
//	                             └─ what the kernel does not take, or is over the flusher's budget ─▶ drain goroutine
//
// So there is no writer goroutine per peer, no flush timer, and the first chunk of a stream is never held back, yet
// messages that come together leave in one system call. A reader never works longer than flushBudget for another peer,
// and never waits for one. Appending never blocks: what bounds a queue are its owner's limits (Size, LockBelow,
// WaitBelow), since only the owner knows whose fault the backlog is.
//
// Locks: a queue's lock is a leaf; the callbacks of Options are called without it.
package outq

import (
	"errors"
	"io"
	"sync"
	"syscall"
	"time"
)

// flushBudget is how many bytes one Flush may write before it leaves the rest to the drain goroutine.
const flushBudget = 256 << 10

// refThreshold is the size from which Ref keeps a slice instead of copying it: below, a copy is cheaper than one more
// system call.
const refThreshold = 32 << 10

// ErrClosed is why a queue ended when its owner closed it.
var ErrClosed = errors.New("output queue closed")

// ErrStalled is why a queue ended when its peer took no byte for Options.Stall.
var ErrStalled = errors.New("peer takes no data")

// Options are what a Queue needs to know of its owner. All members may be zero. The callbacks are called from Flush or
// from the drain goroutine, must not wait for this queue, and one that has begun may outlast End.
type Options struct {
	// Stall ends the queue with ErrStalled when the peer takes no byte for so long; 0 waits for ever. Of a pipe the kernel
	// shows only whole pages that were taken, of a Unix socket only whole buffers of up to 36 KiB.
	Stall time.Duration
	// Keep is the largest drained buffer, in bytes, that is used again.
	Keep int
	// Room is called once after LockBelow refused and the queue has since shrunk to half of the limit named last; not
	// when the queue ends first, and never twice at a time. What it appends is written along without another Flush.
	Room func()
	// Failed is called once with what made writing fail; not after End.
	Failed func(error)
}

// Queue is the output queue of one peer. It is safe for concurrent use.
type Queue struct {
	w        io.Writer
	raw      syscall.RawConn // nil: w cannot be written without blocking
	deadline deadliner       // nil: a blocked write cannot be bounded
	opts     Options

	mu      sync.Mutex
	pending batch
	spare   batch
	size    int   // bytes appended and not yet taken by the kernel; 0 once err is set
	taken   int64 // bytes that the kernel has taken since New
	stall   time.Duration
	roomAt  int       // call opts.Room when size has fallen to this; -1: nobody waits
	writing bool      // one flusher or the drain goroutine is the writer
	err     error     // why the queue has ended
	lost    int       // bytes that were dropped by that
	below   sync.Cond // broadcast when size shrinks, err is set, or writing ends

	drains sync.WaitGroup // the drain goroutine, while there is one; begun only under mu and before err is set

	// Owned by the writer, with or without the lock.
	out    batch // what is being written
	outAt  int   // how many bytes of out are
	outLen int   // how many bytes out has
	try    attempt
}

// New makes the queue of the peer behind w, whose write deadline belongs to the queue from now on. Where w has a
// descriptor in the runtime's poller (sockets, pipes), that is written and w.Write is never called; any other w, as
// net.Pipe or a blocking file, is written by the drain goroutine alone.
func New(w io.Writer, o Options) *Queue {
	if o.Room == nil {
		o.Room = func() {}
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	q := &Queue{w: w, opts: o, stall: o.Stall, roomAt: -1}
	q.below.L = &q.mu
	if d, ok := w.(deadliner); ok && d.SetWriteDeadline(time.Time{}) == nil {
		q.deadline = d
	}
	// A descriptor that takes no deadline is not in the poller: write(2) on it would block.
	if sc, ok := w.(syscall.Conn); ok && q.deadline != nil {
		if raw, err := sc.SyscallConn(); err == nil {
			q.raw = raw
		}
	}
	q.try.call = q.try.write
	return q
}

// Lock returns the buffer to append one or more whole messages to; Unlock takes it back. Between the two nothing may
// block. After the queue has ended, what is appended is dropped.
func (q *Queue) Lock() []byte {
	q.mu.Lock()
	return q.pending.buf
}

// LockBelow is Lock, unless more than limit bytes are queued: then it returns false without the lock, and Options.Room
// will be called when there is room again.
func (q *Queue) LockBelow(limit int) ([]byte, bool) {
	q.mu.Lock()
	if q.size > limit {
		q.roomAt = limit / 2
		q.mu.Unlock()
		return nil, false
	}
	return q.pending.buf, true
}

// Ref appends p, which must not change from now on, to the locked buffer b without copying it when it is large.
func (q *Queue) Ref(b, p []byte) []byte {
	switch {
	case q.err != nil:
		return b
	case len(p) < refThreshold:
		return append(b, p...)
	}
	q.pending.refs = append(q.pending.refs, ref{at: len(b), p: p})
	q.size += len(p)
	return b
}

// Unlock takes the buffer back, which must hold all it held at Lock and at each Ref, and reports whether what was
// appended will be written if somebody flushes and the peer reads.
func (q *Queue) Unlock(b []byte) bool {
	ok := q.err == nil
	if ok {
		q.size += len(b) - len(q.pending.buf)
		q.pending.buf = b
	}
	q.mu.Unlock()
	return ok
}

// Append appends one whole message and reports as Unlock does.
func (q *Queue) Append(p []byte) bool { return q.Unlock(append(q.Lock(), p...)) }

// Size is the number of bytes that the kernel has not yet taken; 0 after the queue has ended.
func (q *Queue) Size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.size
}

// Lost is the number of bytes that the kernel had not taken when the queue ended, and that were dropped; 0 before that.
func (q *Queue) Lost() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// WaitBelow waits until at most limit bytes are queued. It returns the queue's error when it has ended. The caller has
// flushed what it appended, or it would wait for itself.
func (q *Queue) WaitBelow(limit int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.size > limit {
		q.below.Wait()
	}
	return q.err
}

// Flush writes what is queued without blocking, unless somebody is writing already. It may call Room and Failed.
func (q *Queue) Flush() {
	q.mu.Lock()
	if q.writing || q.size == 0 {
		q.mu.Unlock()
		return
	}
	q.writing = true
	budget := flushBudget
	if q.raw == nil {
		budget = 0
	}
	for q.size > 0 && budget > 0 {
		budget = q.stepLocked(budget, false)
	}
	if q.size > 0 {
		q.drains.Go(q.drain)
	} else {
		q.idleLocked()
	}
	q.mu.Unlock()
}

// drain writes until nothing is queued, waiting for the peer as long as Options.Stall allows.
func (q *Queue) drain() {
	q.mu.Lock()
	for q.size > 0 {
		q.stepLocked(flushBudget, true)
	}
	q.idleLocked()
	q.mu.Unlock()
}

// idleLocked ends the caller's being the writer.
func (q *Queue) idleLocked() {
	q.writing = false
	if q.err != nil { // perhaps between two steps, with some of out not written
		q.dropLocked()
	}
	q.below.Broadcast()
}

// dropLocked forgets what is being written.
func (q *Queue) dropLocked() { q.out, q.outAt, q.outLen = batch{}, 0, 0 }

// stepLocked writes up to budget bytes and tells those who wait for it. It returns what is left of the budget, which is
// nothing where the kernel would make the writer wait; with block the writer does wait, until there is some progress. It
// releases the lock and takes it again: afterwards the queue may have grown or ended.
//
// The callbacks run while the writer is still marked as such, so that what Room appends leaves within the same budget.
// Were it flushed by Room itself, Flush would recurse and keep a reader at work for another peer without end.
func (q *Queue) stepLocked(budget int, block bool) int {
	if q.outAt == q.outLen {
		q.takeLocked()
	}
	to := min(q.outLen, q.outAt+budget)
	stall := q.stall
	q.mu.Unlock()
	n, err := q.write(q.outAt, to, block, stall)
	q.mu.Lock()

	q.taken += int64(n)
	if q.err != nil { // End came meanwhile
		return 0
	}
	if err != nil {
		q.endLocked(err)
		q.mu.Unlock()
		q.opts.Failed(err)
		q.mu.Lock()
		return 0
	}
	left := budget - n
	if q.outAt += n; q.outAt < to {
		left = 0
	}
	if q.outAt == q.outLen {
		q.recycleLocked()
	}
	q.size -= n
	q.below.Broadcast()
	if q.size <= q.roomAt {
		q.roomAt = -1
		q.mu.Unlock()
		q.opts.Room()
		q.mu.Lock()
	}
	return left
}

// takeLocked makes all that is queued what is being written. Nothing else is: out is written to its end.
func (q *Queue) takeLocked() {
	q.out, q.outAt, q.outLen = q.pending, 0, q.size
	q.pending, q.spare = q.spare, batch{}
}

// recycleLocked keeps the written batch for takeLocked, unless it has grown too large.
func (q *Queue) recycleLocked() {
	if cap(q.out.buf) <= q.opts.Keep {
		q.spare = q.out.emptied()
	}
	q.dropLocked()
}

func (q *Queue) endLocked(err error) {
	q.err, q.lost = err, q.size
	q.pending, q.spare, q.size, q.roomAt = batch{}, batch{}, 0, -1
	q.below.Broadcast()
}

// End makes the queue drop what it holds and all that is appended from now on. A writer that is blocked in the kernel
// stays there until the owner closes the descriptor.
func (q *Queue) End() {
	q.mu.Lock()
	if q.err == nil {
		q.endLocked(ErrClosed)
	}
	q.mu.Unlock()
}

// Wait waits for the drain goroutine, after End or Failed and after the descriptor has been closed. A callback must not
// call it.
func (q *Queue) Wait() { q.drains.Wait() }

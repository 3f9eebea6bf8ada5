package worker

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"syscall"
	"time"
)

const (
	// gather is how long a chunk may be held back for the ones behind it, and how recent the last write must be for
	// holding it back at all.
	gather = 500 * time.Microsecond
	// enough is how many bytes are worth a write whatever the time: half of a pipe as the kernel makes it.
	enough = 32 << 10
	// high is how many unwritten bytes make Job.Send wait.
	high = 256 << 10
	// keep is the biggest buffer that is used again.
	keep = 1 << 20
)

// urgency says when a frame has to leave.
type urgency uint8

const (
	held urgency = iota + 1 // with the flush that the reader does after each read
	soon                    // within gather
	now
)

// turn says who writes at the moment.
type turn uint8

const (
	nobody turn = iota
	flusher
	drainer
)

// output is the queue of frames to the daemon. Whoever flushes while nobody writes becomes the writer, tries once
// without blocking, and leaves what the pipe does not take to the drain goroutine; so the reader and the functions never
// wait for the pipe, and in steady state no goroutine is woken. A writer goroutine alone was rejected for the wake-up
// that it costs each answer, a plain blocking write for the deadlock with a daemon that waits to be read.
type output struct {
	w    io.Writer
	raw  syscall.RawConn // nil where w cannot be tried without blocking: then all writes are drain's
	wake chan struct{}   // one slot: drain has to look

	mu      sync.Mutex
	room    sync.Cond // on mu: bytes were taken, or err was set
	waiting int       // how many wait for room
	buf     []byte    // frames not yet given to a writer
	spare   []byte    // a buffer to be used again
	writer  turn
	out     []byte // what the flusher could not write, from off on; drain's
	off     int
	urgent  bool // buf holds a frame that nobody may hold back
	armed   bool // timer will flush
	timer   *time.Timer
	last    time.Time // end of the last write
	err     error     // the first failed write; nothing is queued after it
	closed  bool

	// The one try of a flusher, kept here so that it allocates nothing. Theirs whose turn it is.
	tryBuf []byte
	tryN   int
	tryErr error
	try    func(fd uintptr) bool
}

func newOutput(w io.Writer) *output {
	o := &output{w: w, wake: make(chan struct{}, 1)}
	o.room.L = &o.mu
	// A descriptor that takes no deadline is not in the poller: write(2) on it would block, and the scheduler with it.
	d, pollable := w.(interface{ SetWriteDeadline(time.Time) error })
	if c, ok := w.(syscall.Conn); ok && pollable && d.SetWriteDeadline(time.Time{}) == nil {
		// No RawConn, no try: drain's blocking writes are right as well, only slower.
		o.raw, _ = c.SyscallConn()
	}
	o.try = func(fd uintptr) bool {
		for {
			o.tryN, o.tryErr = writeNonblock(int(fd), o.tryBuf)
			if !errors.Is(o.tryErr, syscall.EINTR) {
				return true
			}
		}
	}
	o.timer = time.AfterFunc(time.Hour, o.tick)
	o.timer.Stop()
	return o
}

// lock returns the buffer to append one or more whole frames to; unlock takes it back.
func (o *output) lock() []byte {
	o.mu.Lock()
	return o.buf
}

// lockRoom is lock for those who may wait until the daemon has taken enough. The error is the write error or the cause
// of ctx, and then the lock is not held.
func (o *output) lockRoom(ctx context.Context) ([]byte, error) {
	o.mu.Lock()
	if len(o.buf) > high && o.err == nil {
		o.waitLocked(ctx)
	}
	err := o.err
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		o.mu.Unlock()
		return nil, err
	}
	return o.buf, nil
}

func (o *output) waitLocked(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.room.Broadcast()
	})
	defer stop()
	o.waiting++
	for len(o.buf) > high && o.err == nil && ctx.Err() == nil {
		o.room.Wait()
	}
	o.waiting--
}

// unlock takes the buffer back from lock or lockRoom and sees to it that it leaves in time.
func (o *output) unlock(buf []byte, when urgency) {
	if o.err != nil {
		o.mu.Unlock()
		return
	}
	o.buf = buf
	switch {
	case when == held:
		o.urgent = true
		o.mu.Unlock()
		return
	case when == now:
		o.urgent = true
	case o.writer != nobody:
		o.mu.Unlock() // the writer looks again when it is done
		return
	case len(buf) < enough && (o.armed || time.Since(o.last) < gather):
		o.armLocked()
		o.mu.Unlock()
		return
	}
	o.flushLocked()
}

// flush writes what is queued, as far as the pipe takes it at once, unless somebody is writing already. It returns the
// first error of any write.
func (o *output) flush() error {
	o.mu.Lock()
	err := o.err
	o.flushLocked()
	return err
}

func (o *output) tick() {
	o.mu.Lock()
	o.armed = false
	o.flushLocked()
}

func (o *output) armLocked() {
	if !o.armed && !o.closed {
		o.armed = true
		o.timer.Reset(gather)
	}
}

// flushLocked is entered with mu held and leaves without it.
func (o *output) flushLocked() {
	if o.writer != nobody || len(o.buf) == 0 || o.err != nil {
		o.mu.Unlock()
		return
	}
	if o.raw == nil {
		o.writer = drainer
		o.mu.Unlock()
		o.wakeDrain()
		return
	}
	o.writer = flusher
	out := o.swapLocked()
	o.mu.Unlock()
	n, err := o.tryWrite(out)
	o.mu.Lock()
	if err == nil && n < len(out) {
		o.out, o.off, o.writer = out, n, drainer
	} else {
		o.doneLocked(out, err)
	}
	wake := o.writer == drainer || o.closed
	o.mu.Unlock()
	if wake {
		o.wakeDrain()
	}
}

func (o *output) swapLocked() []byte {
	out := o.buf
	o.buf, o.spare, o.urgent = o.spare[:0], nil, false
	return out
}

// doneLocked ends a write of out: it is drain's turn if the queue must not wait, else nobody's.
func (o *output) doneLocked(out []byte, err error) {
	if cap(out) <= keep {
		o.spare = out[:0]
	}
	if err != nil && o.err == nil {
		o.err, o.buf = err, nil
	}
	o.last = time.Now()
	o.writer = nobody
	switch {
	case len(o.buf) == 0:
	case o.urgent || o.closed || o.waiting > 0 || len(o.buf) >= enough:
		o.writer = drainer
	default:
		o.armLocked()
	}
	if o.waiting > 0 {
		o.room.Broadcast()
	}
}

// tryWrite writes what the kernel takes without waiting.
func (o *output) tryWrite(out []byte) (int, error) {
	o.tryBuf, o.tryN, o.tryErr = out, 0, nil
	err := o.raw.Write(o.try)
	o.tryBuf = nil
	switch {
	case err != nil:
		return 0, err
	case errors.Is(o.tryErr, syscall.EAGAIN):
		return 0, nil
	case o.tryErr != nil:
		return 0, o.tryErr
	}
	return o.tryN, nil
}

func (o *output) wakeDrain() {
	select {
	case o.wake <- struct{}{}:
	default: // it has one wake-up waiting and will see everything
	}
}

// drain writes, waiting for the pipe, whatever is left to it. It ends after close, when nothing is left.
func (o *output) drain() {
	for range o.wake {
		o.mu.Lock()
		for o.writer == drainer {
			out, off := o.out, o.off
			o.out, o.off = nil, 0
			if out == nil {
				out = o.swapLocked()
			}
			o.mu.Unlock()
			_, err := o.w.Write(out[off:])
			o.mu.Lock()
			o.doneLocked(out, err)
		}
		done := o.closed && o.writer == nobody
		o.mu.Unlock()
		if done {
			return
		}
	}
}

// close makes drain write what is queued and end; nothing may be queued after it. A daemon that takes nothing more is
// waited for until patience has passed, where the writer has deadlines.
func (o *output) close(patience time.Duration) {
	if d, ok := o.w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		// A writer without deadlines is freed by the end of the daemon.
		_ = d.SetWriteDeadline(time.Now().Add(patience))
	}
	o.timer.Stop()
	o.mu.Lock()
	o.closed = true
	if len(o.buf) > 0 && o.writer == nobody {
		o.writer = drainer
	}
	o.mu.Unlock()
	o.wakeDrain()
}

// beginFrame appends the place of a frame's length; endFrame fills it in for the frame begun at from.
func beginFrame(b []byte) ([]byte, int) { return append(b, 0, 0, 0, 0), len(b) }

func endFrame(b []byte, from int) []byte {
	binary.BigEndian.PutUint32(b[from:], uint32(len(b)-from-4)) //nolint:gosec // encode lets nothing pass that is longer
	return b
}

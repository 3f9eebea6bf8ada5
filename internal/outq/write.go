package outq

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// deadliner is the part of net.Conn and *os.File that bounds a blocked write.
type deadliner interface{ SetWriteDeadline(time.Time) error }

// attempt is one write(2) on a raw descriptor. Its call is a closure made once, so that writing allocates nothing.
type attempt struct {
	call  func(fd uintptr) bool
	p     []byte
	block bool
	n     int
	err   error
}

// write is called with the descriptor by the poller. It reports false, so that the poller waits and calls it again, only
// when it may block.
func (a *attempt) write(fd uintptr) bool {
	for {
		n, err := writeNonblock(int(fd), a.p)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		a.n, a.err = max(n, 0), err
		return !a.block || !errors.Is(err, unix.EAGAIN)
	}
}

// write writes out[at:to] as far as the kernel takes it; with block it makes some progress, or returns ErrStalled when
// there was none for the time stall.
func (q *Queue) write(at, to int, block bool, stall time.Duration) (int, error) {
	if !block || q.deadline == nil || stall <= 0 {
		return q.writePieces(at, to, block)
	}
	if err := q.deadline.SetWriteDeadline(time.Now().Add(stall)); err != nil {
		return 0, err
	}
	if q.hasEnded() { // or this deadline might replace the one by which Halt frees the writer
		return 0, ErrClosed
	}
	n, err := q.writePieces(at, to, true)
	// An expired deadline would fail later writes that need not wait.
	cleared := q.deadline.SetWriteDeadline(time.Time{})
	switch {
	case err == nil:
		return n, cleared
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return n, err
	case n > 0 || cleared != nil:
		return n, cleared
	case q.raw != nil:
		// A Unix socket is reported writable only when three quarters of it are empty, so a slow reader may well have
		// taken something.
		n, err = q.writePieces(at, to, false)
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, ErrStalled
}

// writePieces writes out[at:to], one call for each of its slices, until the kernel takes less than the whole slice. Only
// the first call may wait.
func (q *Queue) writePieces(at, to int, block bool) (n int, err error) {
	for at+n < to && err == nil {
		p := q.out.piece(at + n)
		p = p[:min(len(p), to-at-n)]
		var m int
		if q.raw != nil {
			m, err = q.writeRaw(p, block && n == 0)
		} else {
			m, err = q.w.Write(p)
			if err == nil && m < len(p) {
				err = io.ErrShortWrite // or a writer that takes nothing would be asked for ever
			}
		}
		n += m
		if err == nil && m < len(p) {
			break
		}
	}
	return n, err
}

// writeRaw writes what the kernel takes of p; none is no error.
func (q *Queue) writeRaw(p []byte, block bool) (int, error) {
	a := &q.try
	a.p, a.block, a.n, a.err = p, block, 0, nil
	err := q.raw.Write(a.call)
	a.p = nil // or a large slice would live on with an idle queue
	switch {
	case err != nil:
		return a.n, err
	case errors.Is(a.err, unix.EAGAIN):
		return 0, nil
	case a.err != nil:
		return a.n, os.NewSyscallError("write", a.err)
	}
	return a.n, nil
}

package worker

import (
	"errors"
	"io"
	"syscall"
	"time"
)

// eager is how many bytes are read at most before the answers to them leave, although more can be read.
const eager = 32 << 10

// input reads from the daemon and flushes the output when there is nothing more to read for now, so that the answers to
// all that has come leave in one write. The read that finds nothing is made anyway.
type input struct {
	r     io.Reader
	raw   syscall.RawConn // nil where r cannot be tried without blocking: then each read flushes before
	flush func() error

	owed    int  // bytes read since the last flush
	flushed bool // since the last byte

	// The one try of a read, kept here so that it allocates nothing.
	p    []byte
	n    int
	err  error
	call func(fd uintptr) bool
}

func newInput(r io.Reader, flush func() error) *input {
	i := &input{r: r, flush: flush}
	i.call = i.try
	// A descriptor that takes no deadline is not in the poller: read(2) on it would block.
	d, pollable := r.(interface{ SetReadDeadline(time.Time) error })
	if c, ok := r.(syscall.Conn); ok && pollable && d.SetReadDeadline(time.Time{}) == nil {
		// Without a RawConn the plain reads are right as well, only slower.
		i.raw, _ = c.SyscallConn()
	}
	return i
}

// Read implements io.Reader. A failed flush ends it.
func (i *input) Read(p []byte) (int, error) {
	if i.raw == nil || i.owed >= eager {
		i.owed, i.flushed = 0, true
		if err := i.flush(); err != nil {
			return 0, err
		}
	}
	n, err := i.read(p)
	i.owed += n
	i.flushed = i.flushed && n == 0
	return n, err
}

func (i *input) read(p []byte) (int, error) {
	if i.raw == nil || len(p) == 0 {
		return i.r.Read(p)
	}
	i.p, i.n, i.err = p, 0, nil
	err := i.raw.Read(i.call)
	i.p = nil
	switch {
	case err != nil:
		return 0, err
	case i.err != nil:
		return 0, i.err
	case i.n == 0:
		return 0, io.EOF
	}
	return i.n, nil
}

// try is called with the descriptor by the poller. It reports false for the poller to wait.
func (i *input) try(fd uintptr) bool {
	for {
		i.n, i.err = readNonblock(int(fd), i.p)
		switch {
		case errors.Is(i.err, syscall.EINTR):
		case !errors.Is(i.err, syscall.EAGAIN):
			return true
		case i.flushed:
			return false
		default:
			i.owed, i.flushed = 0, true
			if i.err = i.flush(); i.err != nil {
				return true
			}
			return false
		}
	}
}

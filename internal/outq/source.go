package outq

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// eager is how many bytes a Source hands on before it sees to what they led to, although more can be read.
const eager = 32 << 10

// Source reads from a peer whose descriptor is in the runtime's poller, and calls its owner when there is nothing more
// to read for now: that is the moment to flush what the last reads led to. Messages that come one after the other while
// the owner is busy are so answered in one write, at no cost: the read that finds nothing is made anyway.
//
// It belongs to one goroutine. Deadlines and Close of the connection work as for its own Read.
type Source struct {
	conn   syscall.Conn
	raw    syscall.RawConn // of conn, from the first read on
	before func() error
	call   func(fd uintptr) bool

	p      []byte
	n      int
	err    error
	called bool // before, since the last byte
	owed   int  // bytes handed on since then
	rest   int  // once a deadline has passed: how many bytes are still taken, without waiting
}

// NewSource makes the source of c. before is called whenever a read would wait, or much has been read since the last
// call; its error ends the read. It must not close c, which would wait for the read to end.
func NewSource(c syscall.Conn, before func() error) *Source {
	s := &Source{conn: c, before: before}
	s.call = s.try
	return s
}

// Read implements io.Reader.
func (s *Source) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if s.raw == nil {
		raw, err := s.conn.SyscallConn()
		if err != nil {
			return 0, err
		}
		s.raw = raw
	}
	if s.owed >= eager {
		if err := s.settle(); err != nil {
			return 0, err
		}
	}
	s.p, s.n, s.err = p, 0, nil
	err := s.raw.Read(s.call)
	s.p = nil
	switch {
	case s.rest > 0 && errors.Is(err, os.ErrDeadlineExceeded):
		return s.readRest(p)
	case err != nil:
		return 0, err
	case s.err != nil:
		return 0, s.err
	case s.n == 0:
		return 0, io.EOF
	}
	s.owed += s.n
	s.called = false
	return s.n, nil
}

// Rest makes reads take what is there although the deadline has passed, without waiting and at most limit bytes in all;
// where nothing is there they fail as the deadline has it. It is called before the first Read.
func (s *Source) Rest(limit int) { s.rest = limit }

func (s *Source) readRest(p []byte) (n int, err error) {
	if s.rest == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	p = p[:min(len(p), s.rest)]
	failed := s.raw.Control(func(fd uintptr) {
		for {
			if n, err = readNonblock(int(fd), p); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
	switch {
	case failed != nil:
		return 0, failed
	case errors.Is(err, unix.EAGAIN):
		return 0, os.ErrDeadlineExceeded
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	s.rest -= n
	return n, nil
}

func (s *Source) settle() error {
	s.called, s.owed = true, 0
	return s.before()
}

// try is called with the descriptor by the poller. It reports false for the poller to wait.
func (s *Source) try(fd uintptr) bool {
	for {
		n, err := readNonblock(int(fd), s.p)
		switch {
		case err == nil:
			s.n = n
			return true
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EAGAIN):
			s.err = os.NewSyscallError("read", err)
			return true
		case s.called:
			return false
		default:
			if s.err = s.settle(); s.err != nil {
				return true
			}
			return false
		}
	}
}

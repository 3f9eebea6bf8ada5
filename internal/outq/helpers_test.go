package outq_test

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"supervisord/internal/outq"
)

// patience is how long a test waits for something that has to happen.
const patience = 20 * time.Second

// socketpair is two ends of a Unix stream socket, closed at the end of the test.
func socketpair(t testing.TB) (ours, peer *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		conn, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		ends[i] = conn.(*net.UnixConn)
		t.Cleanup(func() { conn.Close() })
	}
	return ends[0], ends[1]
}

// pipe is the two ends of a pipe, closed at the end of the test. A size of 0 leaves the kernel's.
func pipe(t testing.TB, size int) (w, r *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	if size > 0 {
		raw, err := w.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var errno syscall.Errno
		if err := raw.Control(func(fd uintptr) {
			_, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_SETPIPE_SZ, uintptr(size))
		}); err != nil {
			t.Fatal(err)
		}
		if errno == syscall.EPERM {
			t.Skipf("this user has no pipe of %d bytes left", size)
		}
		if errno != 0 {
			t.Fatal(errno)
		}
	}
	return w, r
}

// transport is a way to write to a peer.
type transport struct {
	name string
	open func(testing.TB) (io.WriteCloser, io.ReadCloser)
}

var transports = []transport{
	{"socketpair", func(t testing.TB) (io.WriteCloser, io.ReadCloser) {
		ours, peer := socketpair(t)
		return ours, peer
	}},
	{"pipe", func(t testing.TB) (io.WriteCloser, io.ReadCloser) {
		w, r := pipe(t, 0)
		return w, r
	}},
	{"net.Pipe", func(t testing.TB) (io.WriteCloser, io.ReadCloser) {
		ours, peer := net.Pipe()
		t.Cleanup(func() { ours.Close(); peer.Close() })
		return ours, peer
	}},
	{"blocking file", func(t testing.TB) (io.WriteCloser, io.ReadCloser) {
		var fds [2]int
		if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		r, w := os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
		t.Cleanup(func() { r.Close(); w.Close() })
		return w, r
	}},
}

// each runs a test over every transport.
func each(t *testing.T, test func(*testing.T, io.WriteCloser, io.ReadCloser)) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			w, r := tr.open(t)
			test(t, w, r)
		})
	}
}

// finish ends a queue as its owner does, and waits for it.
func finish(t testing.TB, q *outq.Queue, w io.Closer) {
	t.Helper()
	q.End()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	q.Wait()
}

// flushed waits until the kernel has taken everything.
func flushed(t testing.TB, q *outq.Queue) {
	t.Helper()
	if err := q.WaitBelow(0); err != nil {
		t.Fatal(err)
	}
}

func readFull(t testing.TB, r io.Reader, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(r, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// receive waits for what has to come.
func receive[T any](t testing.TB, from <-chan T, what string) (x T) {
	t.Helper()
	select {
	case x = <-from:
	case <-time.After(patience):
		t.Fatalf("no %s", what)
	}
	return x
}

// pattern is n bytes in which no piece can be taken for another.
func pattern(n int) []byte {
	b := make([]byte, 0, n+4)
	for i := uint32(0); len(b) < n; i++ {
		b = binary.BigEndian.AppendUint32(b, i)
	}
	return b[:n:n]
}

// failures counts the calls of Options.Failed.
type failures struct {
	count atomic.Int32
	errs  chan error
}

func newFailures() *failures { return &failures{errs: make(chan error, 16)} }

func (f *failures) failed(err error) {
	f.count.Add(1)
	f.errs <- err
}

func (f *failures) want(t testing.TB, n int32) {
	t.Helper()
	if got := f.count.Load(); got != n {
		t.Errorf("Failed was called %d times, want %d", got, n)
	}
}

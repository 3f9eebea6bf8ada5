package workers

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"supervisord/internal/outq"
)

const (
	defaultPipe = 64 << 10  // as the kernel makes one
	grownPipe   = 256 << 10 // from which on growing it gains little
	maxPipe     = 1 << 20   // what a worker may have made of it
)

// Pipes is the memory that the pipes of all workers together may take beyond what the kernel gives each: a quarter of what
// it allows a user (pipe(7), pipe-user-pages-soft), for other programs of the same user need theirs. It is safe for
// concurrent use.
type Pipes struct{ left atomic.Int64 }

// NewPipes asks the kernel for its limit.
func NewPipes() *Pipes {
	pages := int64(16384) // the kernel's default, where it does not tell
	if text, err := os.ReadFile("/proc/sys/fs/pipe-user-pages-soft"); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 {
			pages = n
		}
	}
	p := &Pipes{}
	p.left.Store(pages * int64(os.Getpagesize()) / 4)
	return p
}

func (p *Pipes) take(n int64) bool {
	if p.left.Add(-n) < 0 {
		p.left.Add(n)
		return false
	}
	return true
}

func (p *Pipes) give(n int64) { p.left.Add(n) }

// responses reads the pipe of fd 4, and makes it larger once it has been found full: a worker that has more to say than
// fits it and the daemon would else wait for each other in turns.
type responses struct {
	source *outq.Source
	pipe   *os.File
	pipes  *Pipes
	tried  bool
	grown  bool
	total  int64 // bytes read
}

// Read implements io.Reader.
func (r *responses) Read(p []byte) (int, error) {
	n, err := r.source.Read(p)
	r.total += int64(n)
	if n == len(p) && n >= defaultPipe/4 && !r.tried {
		r.tried = true
		r.grow()
	}
	return n, err //nolint:wrapcheck // io.EOF has to stay
}

func (r *responses) grow() {
	const more = grownPipe - defaultPipe
	if r.pipes == nil || !r.pipes.take(more) {
		return
	}
	raw, err := r.pipe.SyscallConn()
	if err == nil {
		var refused error
		err = raw.Control(func(fd uintptr) { _, refused = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, grownPipe) })
		err = errors.Join(err, refused)
	}
	if r.grown = err == nil; !r.grown { // the user's other programs have taken it: the pipe stays as it is
		r.pipes.give(more)
	}
}

// close gives back what the pipe took. The pipe itself is its owner's.
func (r *responses) close() {
	if r.grown {
		r.pipes.give(grownPipe - defaultPipe)
	}
}

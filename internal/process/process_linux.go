package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reapPatience is how long Reap waits for what it has killed. Longer takes only what the kernel cannot end now.
const reapPatience = time.Second

// Exit is how a process ended.
type Exit struct {
	Status syscall.WaitStatus
	// Start is why the program never ran, a *StartError; nil where it did, and where it was killed before.
	Start error
	// OOM is set where the kernel killed it for its memory.
	OOM *OOM
	// Leftover says that descendants were still there a second after they were killed: the kernel cannot end them now.
	Leftover bool
}

// OOM is what a process had when the kernel killed it for its memory, in bytes; 0 where that is not known.
type OOM struct{ Limit, Peak int64 }

// Process is one child with its pipes. Its methods are for one owner; WaitExit alone may run beside them. The files are
// in the netpoller, so deadlines work on them; Fd() must not be called.
type Process struct {
	Requests  *os.File // the worker's fd 3, our writing end
	Responses *os.File // the worker's fd 4, our reading end
	Stdout    *os.File
	Stderr    *os.File

	host   *Host
	user   *syscall.Credential
	marks  []string // see marks
	cgroup *cgroup  // nil without one
	pid    int
	pidfd  *os.File // nil where the kernel has none
	dying  atomic.Bool

	plan    *os.File      // the shim's socket, until planned is closed
	planned chan struct{} // closed once started holds
	started error         // what the shim said
}

// PID is its id, which belongs to it until Reap.
func (p *Process) PID() int { return p.pid }

// WaitExit blocks until the process has exited; it stays a zombie, so that its pid and group are still its own.
func (p *Process) WaitExit() error {
	if p.pidfd == nil {
		return p.waitZombie()
	}
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch process %d: %w", p.pid, err)
	}
	var pollErr error
	err = raw.Read(func(fd uintptr) bool {
		var ready bool
		ready, pollErr = isReadable(fd)
		return ready || pollErr != nil
	})
	if err := errors.Join(err, pollErr); err != nil {
		return fmt.Errorf("watch process %d: %w", p.pid, err)
	}
	return nil
}

// isReadable does not block.
func isReadable(fd uintptr) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0, err //nolint:wrapcheck // the caller names the process
		}
	}
}

// waitZombie waits on a thread of its own.
func (p *Process) waitZombie() error {
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for process %d: %w", p.pid, err)
		default:
			return nil
		}
	}
}

// Signal sends a signal to the process's group; a process that is stopped is continued, for it would not get it before.
// The error says that the process may not be signalled, EPERM for one of another user without the capability; a process
// that has exited is none. It may be called until Reap.
func (p *Process) Signal(s syscall.Signal) error {
	to := -p.pid
	err := syscall.Kill(to, s)
	if errors.Is(err, syscall.ESRCH) { // it may have left its group
		to = p.pid
		err = syscall.Kill(to, s)
	}
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	if s != syscall.SIGKILL {
		_ = syscall.Kill(to, syscall.SIGCONT) // as above
	}
	return nil
}

// Kill ends it and its descendants at once, as far as the host can. It may be called until Reap.
func (p *Process) Kill() {
	p.kill()
	if s := p.host.subreaper; s != nil {
		s.look()
	}
}

func (p *Process) kill() {
	p.dying.Store(true)
	p.cgroup.kill()
	_ = syscall.Kill(p.pid, syscall.SIGKILL)  // it may have left its group
	_ = syscall.Kill(-p.pid, syscall.SIGKILL) // exited, or of another user, whom its cgroup has killed
}

// Unread is how many bytes of what was written to Requests nobody has read. It holds for good once the process and its
// descendants have ended.
func (p *Process) Unread() (int, error) {
	raw, err := p.Requests.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("requests of process %d: %w", p.pid, err)
	}
	n := 0
	var ioctlErr error
	// FIONREAD by its other name.
	err = raw.Control(func(fd uintptr) { n, ioctlErr = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	if err := errors.Join(err, ioctlErr); err != nil {
		return 0, fmt.Errorf("requests of process %d: %w", p.pid, err)
	}
	return n, nil
}

// Memory is how many bytes of memory the process holds now, with its descendants where its cgroup counts it, else what
// is resident of itself; 0 where that cannot be known.
func (p *Process) Memory() int64 {
	if n, ok := p.cgroup.memory(); ok {
		return n
	}
	text, err := os.ReadFile(procFile(p.pid, "statm"))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// Reap takes the exit status of a process that has exited, and returns when its descendants, which it kills, are gone,
// or after a second. It waits for a process that has not exited.
func (p *Process) Reap() (*Exit, error) {
	if err := p.waitZombie(); err != nil {
		return nil, err
	}
	p.Kill() // what is left of its tree
	deadline := time.Now().Add(reapPatience)
	<-p.planned // the shim's end of the socket is closed
	exit := &Exit{Start: p.started}
	exit.Leftover = !p.cgroup.awaitEmpty(deadline)
	status, err := p.host.registry.reap(p)
	if s := p.host.subreaper; s != nil && !s.await(p, deadline) {
		exit.Leftover = true
	}
	if status.Signaled() && status.Signal() == syscall.SIGKILL {
		exit.OOM = p.cgroup.oom()
	}
	p.cgroup.remove()
	if err != nil {
		return nil, fmt.Errorf("reap process %d: %w", p.pid, err)
	}
	exit.Status = status
	return exit, nil
}

// marked reports whether an environment, as environ returns it, is that of the process.
func (p *Process) marked(env []byte) bool {
	if p.marks == nil {
		return false
	}
	for _, mark := range p.marks {
		if !hasSetting(env, mark) {
			return false
		}
	}
	return true
}

// DrainUntil lets the readers take what is in the pipes, even when a grandchild holds them open.
func (p *Process) DrainUntil(t time.Time) {
	for _, f := range []*os.File{p.Responses, p.Stdout, p.Stderr} {
		_ = f.SetReadDeadline(t) // fails on a closed file alone, whose reader has ended
	}
}

// Close closes what is left open.
func (p *Process) Close() {
	for _, f := range []*os.File{p.Requests, p.Responses, p.Stdout, p.Stderr, p.pidfd} {
		if f != nil {
			_ = f.Close() // the requests may be closed already, and nothing is lost in the others
		}
	}
}

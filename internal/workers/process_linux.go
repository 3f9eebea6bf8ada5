package workers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// command is what a process is started from.
type command struct {
	argv []string
	dir  string
	env  []string
	cred *syscall.Credential // nil: as the daemon
}

// process is one child with its pipes. The daemon's ends are in the netpoller, so deadlines work on them.
type process struct {
	cmd    *exec.Cmd
	pid    int
	pidfd  *os.File
	in     *os.File // the worker's fd 3, our writing end
	out    *os.File // the worker's fd 4, our reading end
	stdout *os.File
	stderr *os.File
}

// spawn starts a process in a group of its own. Its ends of the pipes are closed here before it returns, so that their
// end is seen when the last process that has them is gone.
func spawn(c command) (*process, error) {
	p := &process{}
	var theirs []*os.File
	ok := false
	defer func() {
		for _, f := range theirs {
			_ = f.Close() // a pipe's end; nothing was written
		}
		if !ok {
			p.close()
		}
	}()
	pipe := func(weRead bool) (ours, child *os.File, err error) {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, nil, fmt.Errorf("make pipe: %w", err)
		}
		ours, child = w, r
		if weRead {
			ours, child = r, w
		}
		theirs = append(theirs, child)
		return ours, child, nil
	}
	var child [4]*os.File
	for i, end := range []**os.File{&p.in, &p.out, &p.stdout, &p.stderr} {
		var err error
		if *end, child[i], err = pipe(i > 0); err != nil {
			return nil, err
		}
	}
	cmd := &exec.Cmd{
		Path: c.argv[0], Args: c.argv, Dir: c.dir, Env: c.env,
		Stdout: child[2], Stderr: child[3],
		ExtraFiles:  []*os.File{child[0], child[1]}, // fds 3 and 4
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Credential: c.cred},
	}
	path, err := lookPath(c)
	if err != nil {
		return nil, err
	}
	cmd.Path = path
	if err := cmd.Start(); err != nil {
		if _, dirErr := os.Stat(c.dir); dirErr != nil { // the system call cannot say whether program or directory is missing
			return nil, fmt.Errorf("working directory: %w", dirErr)
		}
		return nil, err //nolint:wrapcheck // names the program and the cause
	}
	p.cmd, p.pid = cmd, cmd.Process.Pid
	fd, err := unix.PidfdOpen(p.pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		p.kill()
		_ = cmd.Wait() // killed a moment ago
		return nil, fmt.Errorf("watch process %d: %w", p.pid, err)
	}
	p.pidfd = os.NewFile(uintptr(fd), "pidfd")
	ok = true
	return p, nil
}

// lookPath finds the program as the worker's own PATH says, not the daemon's.
func lookPath(c command) (string, error) {
	name := c.argv[0]
	if containsSlash(name) {
		return name, nil // relative to the directory, as execve does after chdir
	}
	for _, dir := range pathList(c.env) {
		path := dir + "/" + name
		if st, err := os.Stat(path); err == nil && !st.IsDir() && unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

// waitExit blocks until the process has exited; it stays a zombie, so that its pid and group are still its own.
func (p *process) waitExit() error {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch process %d: %w", p.pid, err)
	}
	var pollErr error
	err = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor fits
		for {
			n, err := unix.Poll(fds, 0)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			pollErr = err
			return err != nil || n > 0
		}
	})
	return errors.Join(err, pollErr)
}

// signal sends a signal to the process's group. A stopped process gets it only when it is continued.
func (p *process) signal(s syscall.Signal) {
	_ = syscall.Kill(-p.pid, s) // ESRCH: gone already, and its exit is on the way
	if s != syscall.SIGKILL {
		_ = syscall.Kill(-p.pid, syscall.SIGCONT)
	}
}

// kill ends the whole group at once. It may be called until reap, while the leader's pid cannot be another's.
func (p *process) kill() { _ = syscall.Kill(-p.pid, syscall.SIGKILL) }

// reap takes the exit status of a process that has exited.
func (p *process) reap() (*os.ProcessState, error) {
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("reap process %d: %w", p.pid, err)
	}
	return p.cmd.ProcessState, nil
}

// drainUntil lets the readers take what is in the pipes, even when a grandchild holds them open.
func (p *process) drainUntil(t time.Time) {
	for _, f := range []*os.File{p.out, p.stdout, p.stderr} {
		_ = f.SetReadDeadline(t) // fails on a closed file alone, whose reader has ended
	}
}

func (p *process) close() {
	for _, f := range []*os.File{p.in, p.out, p.stdout, p.stderr, p.pidfd} {
		if f != nil {
			_ = f.Close() // the requests may be closed already, and nothing is lost in the others
		}
	}
}

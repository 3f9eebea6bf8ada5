package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is what a process is started from.
type Command struct {
	// Name tells the process from all others that live now: letters, digits and ".-_" with at most one "/".
	Name string
	// Argv is the program, found in the PATH of Env, and its arguments.
	Argv []string
	// Directory is the working directory, absolute.
	Directory string
	// Env is the whole environment, NAME=value.
	Env []string
	// Credential is whom it runs as; nil: as the daemon.
	Credential *syscall.Credential
	// MemoryLimit in bytes, CPULimit in cores and TasksLimit bound the process with all its descendants, where the host
	// can (see Host.TreeKill); 0 does not.
	MemoryLimit int64
	CPULimit    float64
	TasksLimit  int
}

// Exit is how a process ended.
type Exit struct {
	Status syscall.WaitStatus
	// Start is why the program never ran, nil where it did.
	Start error
	// OOM is set where the kernel killed it for its memory.
	OOM *OOM
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

	cmd   *exec.Cmd
	pid   int
	pidfd *os.File
}

// Host is what the daemon has to start processes with and to get hold of all their descendants. It is safe for
// concurrent use.
type Host struct{}

// Options are what a Host needs.
type Options struct {
	// Subreaper makes this process adopt the orphans of its workers, and kill what is not a worker. It is for a process
	// that starts no others.
	Subreaper bool
	// Cgroups gives each process a cgroup of its own where this process has been delegated one.
	Cgroups bool
}

// Open makes a host.
func Open(Options) (*Host, error) { return &Host{}, nil }

// TreeKill is how the descendants of a process are killed: protocol.TreeKillCgroup or protocol.TreeKillProcessGroup.
func (h *Host) TreeKill() string { return "process_group" }

// Close ends the host; none of its processes is left.
func (h *Host) Close() {}

// Start starts a process in a group of its own. Its ends of the pipes are closed here before it returns, so that their
// end is seen when the last process that has them is gone.
func (h *Host) Start(c *Command) (*Process, error) {
	p := &Process{}
	var theirs []*os.File
	ok := false
	defer func() {
		for _, f := range theirs {
			_ = f.Close() // a pipe's end; nothing was written
		}
		if !ok {
			p.Close()
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
	for i, end := range []**os.File{&p.Requests, &p.Responses, &p.Stdout, &p.Stderr} {
		var err error
		if *end, child[i], err = pipe(i > 0); err != nil {
			return nil, err
		}
	}
	cmd := &exec.Cmd{
		Path: c.Argv[0], Args: c.Argv, Dir: c.Directory, Env: c.Env,
		Stdout: child[2], Stderr: child[3],
		ExtraFiles:  []*os.File{child[0], child[1]}, // fds 3 and 4
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Credential: c.Credential},
	}
	path, err := lookPath(c)
	if err != nil {
		return nil, err
	}
	cmd.Path = path
	if err := cmd.Start(); err != nil {
		if _, dirErr := os.Stat(c.Directory); dirErr != nil { // the system call cannot say whether program or directory is missing
			return nil, fmt.Errorf("working directory: %w", dirErr)
		}
		return nil, err //nolint:wrapcheck // names the program and the cause
	}
	p.cmd, p.pid = cmd, cmd.Process.Pid
	fd, err := unix.PidfdOpen(p.pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		p.Kill()
		_ = cmd.Wait() // killed a moment ago
		return nil, fmt.Errorf("watch process %d: %w", p.pid, err)
	}
	p.pidfd = os.NewFile(uintptr(fd), "pidfd")
	ok = true
	return p, nil
}

// lookPath finds the program as the worker's own PATH says, not the daemon's.
func lookPath(c *Command) (string, error) {
	name := c.Argv[0]
	if strings.Contains(name, "/") {
		return name, nil // relative to the directory, as execve does after chdir
	}
	for _, dir := range pathList(c.Env) {
		path := dir + "/" + name
		if st, err := os.Stat(path); err == nil && !st.IsDir() && unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

// pathList is the PATH of an environment, the last setting of which counts as it does for a C library.
func pathList(env []string) []string {
	path := "/usr/local/bin:/usr/bin:/bin"
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	dirs := strings.Split(path, ":")
	for i, d := range dirs {
		if d == "" {
			dirs[i] = "."
		}
	}
	return dirs
}

// PID is its id, which belongs to it until Reap.
func (p *Process) PID() int { return p.pid }

// WaitExit blocks until the process has exited; it stays a zombie, so that its pid and group are still its own.
func (p *Process) WaitExit() error {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch process %d: %w", p.pid, err)
	}
	var pollErr error
	err = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
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

// Signal sends a signal to the process's group. A stopped process gets it only when it is continued.
func (p *Process) Signal(s syscall.Signal) {
	_ = syscall.Kill(-p.pid, s) // ESRCH: gone already, and its exit is on the way
	if s != syscall.SIGKILL {
		_ = syscall.Kill(-p.pid, syscall.SIGCONT)
	}
}

// Kill ends it and its descendants at once, as far as the host can. It may be called until Reap.
func (p *Process) Kill() { _ = syscall.Kill(-p.pid, syscall.SIGKILL) }

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
	return n, errors.Join(err, ioctlErr)
}

// Memory is how many bytes of memory the process holds now, with its descendants where it has a cgroup; 0 where that
// cannot be known.
func (p *Process) Memory() int64 { return 0 }

// Reap takes the exit status of a process that has exited.
func (p *Process) Reap() (*Exit, error) {
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("reap process %d: %w", p.pid, err)
	}
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return &Exit{Status: status}, nil
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

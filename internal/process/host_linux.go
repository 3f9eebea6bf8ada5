package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/protocol"
)

// Options are what a Host needs.
type Options struct {
	// Subreaper makes this process adopt the orphans of its workers, and kill what is not a worker. It is for a process
	// that starts no others.
	Subreaper bool
	// Cgroups gives each process a cgroup of its own where this process has been delegated one.
	Cgroups bool
	// Orphaned is called once when the keeper of this process is gone (see Keep), after everything that the host has
	// started has been killed: the process is to end. It runs on a goroutine of the host, which Close waits for.
	Orphaned func()
}

// Limits tells which limits of a Command a host can enforce.
type Limits struct{ Memory, CPU, Tasks bool }

// Host is what the daemon has to start processes with and to get hold of all their descendants. It is safe for
// concurrent use.
type Host struct {
	registry  *registry
	spawner   *spawner
	subreaper *subreaper // nil without
	cgroups   *cgroups   // nil without
	reasons   []string
	null      int            // the processes' stdin
	keeper    *os.File       // the keeper's pidfd; nil without
	watch     sync.WaitGroup // of the keeper
}

// Open makes a host. From then on no descriptor that this process has inherited reaches a program that it executes.
// Main must have been called before.
func Open(o Options) (*Host, error) {
	if !mainCalled {
		return nil, errors.New("open process host: process.Main is not the first call of main") //nolint:err113 // a fault of this program
	}
	closeOnExec(3)
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open process host: %s: %w", os.DevNull, err)
	}
	h := &Host{registry: newRegistry(), null: null}
	if o.Cgroups {
		h.cgroups, err = openCgroups()
		switch {
		case err != nil:
			h.reasons = append(h.reasons, "no cgroups: "+err.Error())
		case h.cgroups.missing != "":
			h.reasons = append(h.reasons, "no limits: "+h.cgroups.missing)
		}
	}
	if o.Subreaper {
		if h.subreaper, err = newSubreaper(h.registry); err != nil {
			h.reasons = append(h.reasons, err.Error())
		}
	}
	h.spawner = newSpawner(h.registry)
	if Kept() {
		h.watchKeeper(o.Orphaned)
	}
	return h, nil
}

// TreeKill is how the descendants of a process are killed: protocol.TreeKillCgroup or protocol.TreeKillProcessGroup.
func (h *Host) TreeKill() string {
	if h.cgroups != nil {
		return protocol.TreeKillCgroup
	}
	return protocol.TreeKillProcessGroup
}

// Limits tells what the host can enforce.
func (h *Host) Limits() Limits {
	if h.cgroups == nil {
		return Limits{}
	}
	return h.cgroups.limits
}

// Reason is why the host has less than Options asked for, one line for people; empty where it has all.
func (h *Host) Reason() string {
	return strings.Join(h.reasons, "; ")
}

// Close ends the host; none of its processes is left. It kills those that have not been reaped.
func (h *Host) Close() {
	h.registry.close()
	h.spawner.close()
	if h.subreaper != nil {
		h.subreaper.await(nil, time.Now().Add(reapPatience))
		h.subreaper.close()
	}
	if h.keeper != nil {
		_ = h.keeper.Close() // only read
	}
	h.watch.Wait()
	h.cgroups.close()
	_ = unix.Close(h.null) // only read
}

// Start starts a process in a group of its own. That the program cannot be run is told by Reap, since finding out may
// take time; an error, a *StartError, says that there is no process. The process's ends of the pipes are closed here
// before it returns, so that their end is seen when the last process that has them is gone.
func (h *Host) Start(c *Command) (*Process, error) {
	env := c.environment()
	text, err := newPlan(c.Directory, c.Argv, env)
	if err != nil {
		return nil, &StartError{Step: StepPlan, Err: err}
	}
	p := &Process{host: h, user: c.Credential, marks: marks(env), planned: make(chan struct{})}
	theirs, err := p.makePipes()
	defer closeAll(theirs)
	if err != nil {
		p.Close()
		return nil, err
	}
	if p.cgroup, err = h.cgroups.make(c); err != nil {
		p.abandon()
		return nil, err
	}
	files := []uintptr{uintptr(h.null)}
	for _, fd := range theirs {
		files = append(files, uintptr(fd))
	}
	if err := h.spawner.start(spawn{process: p, files: files, user: c.Credential}); err != nil {
		p.cgroup.remove()
		p.abandon()
		return nil, err
	}
	if err := p.take(c); err != nil {
		p.undo()
		return nil, err
	}
	go p.sendPlan(text) // Reap waits for it
	return p, nil
}

// take gets hold of a process that has been forked: its shim waits for the plan.
func (p *Process) take(c *Command) error {
	if err := p.cgroup.add(p.pid); err != nil {
		if c.MemoryLimit > 0 || c.CPULimit > 0 || c.TasksLimit > 0 {
			return &StartError{Step: StepCgroup, Path: p.cgroup.path, Err: err}
		}
	}
	fd, err := pidfdOpen(p.pid)
	switch {
	case err == nil:
		p.pidfd = os.NewFile(uintptr(fd), "pidfd")
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM): // an old kernel, or a sandbox's filter: WaitExit has a thread
	default:
		return &StartError{Step: StepWatch, Err: err}
	}
	return nil
}

// pidfdOpen opens a descriptor that the netpoller takes.
func pidfdOpen(pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.EINVAL) { // before Linux 5.10
		if fd, err = unix.PidfdOpen(pid, 0); err == nil {
			err = unix.SetNonblock(fd, true)
		}
	}
	return fd, err //nolint:wrapcheck // the caller names the process
}

// abandon closes what a process that was never forked has.
func (p *Process) abandon() {
	_ = p.plan.Close() // nothing was sent
	p.Close()
}

// undo ends a process whose shim has no plan.
func (p *Process) undo() {
	_ = p.plan.Close() // as in abandon
	close(p.planned)
	p.Kill()
	_, _ = p.Reap() // killed a moment ago, and Start fails for another reason
	p.Close()
}

// makePipes makes the pipes and the shim's socket, and returns the other ends as the child's descriptors from 1 on.
func (p *Process) makePipes() (theirs []int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, &StartError{Step: StepPipes, Err: err}
	}
	_ = unix.SetNonblock(pair[0], true) // cannot fail on a socket
	p.plan = os.NewFile(uintptr(pair[0]), "plan")
	theirs = []int{pair[1]}
	// Backwards, so that each goes to the front.
	for _, end := range []struct {
		ours  **os.File
		write bool
	}{{&p.Responses, false}, {&p.Requests, true}, {&p.Stderr, false}, {&p.Stdout, false}} {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			_ = p.plan.Close() // nothing was sent
			return theirs, &StartError{Step: StepPipes, Err: err}
		}
		ours, child := fds[0], fds[1]
		if end.write {
			ours, child = child, ours
		}
		theirs = slices.Insert(theirs, 0, child)
		_ = unix.SetNonblock(ours, true) // cannot fail on a pipe
		*end.ours = os.NewFile(uintptr(ours), "pipe")
	}
	return theirs, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // a pipe's end; nothing was written
	}
}

// sendPlan sends the shim its plan and waits until it has become the program or has failed.
func (p *Process) sendPlan(text []byte) {
	defer close(p.planned)
	defer func() { _ = p.plan.Close() }() // all has been said
	if _, err := p.plan.Write(text); err != nil {
		return // the shim was killed
	}
	raw, err := p.plan.SyscallConn()
	if err != nil {
		return // never on an open file
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
	const longest = 64 << 10                               // paths are shorter
	said, _ := io.ReadAll(io.LimitReader(p.plan, longest)) // a reset comes to the same as an end
	if p.started = parseFailure(said); p.started == nil {
		p.cgroup.executed()
	}
}

// watchKeeper ends everything when the keeper of this process is gone.
func (h *Host) watchKeeper(orphaned func()) {
	fd, err := pidfdOpen(keeperPID)
	gone := errors.Is(err, unix.ESRCH) || syscall.Getppid() != keeperPID
	if err == nil {
		h.keeper = os.NewFile(uintptr(fd), "keeper")
	} else if !gone {
		h.reasons = append(h.reasons, fmt.Sprintf("watch keeper %d: %v", keeperPID, err))
		return
	}
	h.watch.Go(func() {
		if !gone && !h.awaitKeeper() {
			return // closed
		}
		h.registry.close()
		deadline := time.NewTimer(reapPatience / 2)
		defer deadline.Stop()
		select {
		case <-h.registry.empty:
		case <-deadline.C:
		}
		if h.subreaper != nil {
			h.subreaper.await(nil, time.Now().Add(reapPatience/2))
		}
		if orphaned != nil {
			orphaned()
		}
	})
}

// awaitKeeper returns true once the keeper is gone, false when the host is closed.
func (h *Host) awaitKeeper() bool {
	raw, err := h.keeper.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Read(func(fd uintptr) bool {
		ready, err := isReadable(fd)
		return ready || err != nil
	})
	return err == nil
}

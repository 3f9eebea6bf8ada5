package process

import (
	"maps"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// registry holds the processes that the host has started and not reaped.
type registry struct {
	mu sync.Mutex // see the package's documentation
	// live is by pid. An entry's pid and process group are its own, since it has not been reaped.
	live   map[int]*Process
	closed bool          // nothing is started any more
	empty  chan struct{} // closed once closed and live is empty
}

func newRegistry() *registry {
	return &registry{live: make(map[int]*Process), empty: make(chan struct{})}
}

// strangers are the children of this process that the host has not started.
func (r *registry) strangers() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(children(), func(pid int) bool { return r.live[pid] != nil })
}

// reap takes the exit status of a process that is a zombie and removes it.
func (r *registry) reap(p *Process) (syscall.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var status syscall.WaitStatus
	var err error
	for {
		if _, err = syscall.Wait4(p.pid, &status, syscall.WNOHANG, nil); err != syscall.EINTR {
			break
		}
	}
	delete(r.live, p.pid)
	r.emptiedLocked()
	return status, err //nolint:wrapcheck // the caller names the process
}

func (r *registry) emptiedLocked() {
	if r.closed && len(r.live) == 0 {
		select {
		case <-r.empty:
		default:
			close(r.empty)
		}
	}
}

// close makes the registry refuse new processes and kills those that live. Their owners reap them.
func (r *registry) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, p := range r.live {
		p.kill() // none of them has been reaped
	}
	r.emptiedLocked()
}

// owner is the process of the host that a stranger descends from, as far as the stranger can be asked; nil for none.
// unknown says that it cannot be asked and may descend from one.
func (r *registry) owner(pid int) (p *Process, unknown bool) {
	live := r.list()
	if !slices.ContainsFunc(live, func(p *Process) bool { return !p.dying.Load() }) {
		return nil, false // whosever it is
	}
	if group, err := unix.Getpgid(pid); err == nil {
		if p := find(live, func(p *Process) bool { return p.pid == group }); p != nil {
			return p, false
		}
	}
	if path := cgroupOf(pid); path != "" {
		if p := find(live, func(p *Process) bool { return p.cgroup.holds(path) }); p != nil {
			return p, false
		}
	}
	env, err := environ(pid)
	if err == nil {
		return find(live, func(p *Process) bool { return p.marked(env) }), false
	}
	// What runs as another user can hide its environment: any process of that user may be the one.
	var st unix.Stat_t
	if unix.Stat(procFile(pid, ""), &st) != nil {
		return nil, false
	}
	p = find(live, func(p *Process) bool { return !p.dying.Load() && p.user != nil && p.user.Uid == st.Uid })
	return nil, p != nil
}

// find is the first process of which ok holds, nil for none.
func find(list []*Process, ok func(*Process) bool) *Process {
	if i := slices.IndexFunc(list, ok); i >= 0 {
		return list[i]
	}
	return nil
}

// list are the processes that have not been reaped. One that is in it may be reaped at any time.
func (r *registry) list() []*Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.live))
}

// isGroup reports whether a process that has neither been killed nor reaped leads the group.
func (r *registry) isGroup(group int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.live[group]
	return p != nil && !p.dying.Load()
}

// isLive reports whether p has neither been killed nor reaped.
func (r *registry) isLive(p *Process) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live[p.pid] == p && !p.dying.Load()
}

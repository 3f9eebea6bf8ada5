package process

import (
	"os"
	"runtime"
	"syscall"
)

// spawner is the one thread that forks. Pdeathsig comes when the thread that forked ends, and the runtime ends a thread
// whose goroutine returns while it is locked to it; no other code runs on this one.
type spawner struct {
	requests chan spawn
	quit     chan struct{}
	done     chan struct{}
}

// spawn is the order to start the shim of a process.
type spawn struct {
	process *Process
	files   []uintptr
	user    *syscall.Credential
	answer  chan error
}

func newSpawner(r *registry) *spawner {
	s := &spawner{requests: make(chan spawn), quit: make(chan struct{}), done: make(chan struct{})}
	go func() { // close waits for it
		defer close(s.done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		for {
			select {
			case o := <-s.requests:
				o.answer <- r.fork(o)
			case <-s.quit:
				return
			}
		}
	}()
	return s
}

// start forks a process and registers it. It waits in line.
func (s *spawner) start(o spawn) error {
	o.answer = make(chan error, 1)
	select {
	case s.requests <- o:
		return <-o.answer
	case <-s.quit:
		return &StartError{Step: StepFork, Err: ErrClosed}
	}
}

// close ends the thread, and thereby every process that it forked and that still lives.
func (s *spawner) close() {
	close(s.quit)
	<-s.done
}

// fork runs on the spawner's thread.
func (r *registry) fork(o spawn) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return &StartError{Step: StepFork, Err: ErrClosed}
	}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{os.Args[0], execWord}, &syscall.ProcAttr{ //nolint:gosec // this program
		Files: o.files,
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: o.user},
	})
	if err != nil {
		return forkError(err, o.user)
	}
	o.process.pid = pid
	r.live[pid] = o.process
	return nil
}

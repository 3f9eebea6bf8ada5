package process_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"supervisord/internal/process"
)

// A process lives on when threads of the daemon end, although it dies with the daemon.
func TestThreadsThatEnd(t *testing.T) { play(t, "threads").finish() }

func threads(d *daemon) {
	h := d.open(process.Options{})
	const count = 20
	var mu sync.Mutex
	var started []*process.Process
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			runtime.LockOSThread() // and ends with its thread
			p := d.start(h, d.command("p/"+strconv.Itoa(i)+".1", "echo up; cat <&3"))
			mu.Lock()
			defer mu.Unlock()
			started = append(started, p)
		})
		go func() { runtime.LockOSThread() }()
	}
	wg.Wait()
	for _, p := range started {
		if got := d.line(p); got != "up" {
			d.fatal(got)
		}
	}
	for range count {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread()
		}()
		<-done
	}
	for _, p := range started {
		d.check(p.Requests.Close())
		if exit := d.reap(p); exit.Status.Signaled() || exit.Status.ExitStatus() != 0 {
			d.fatal("process", p.PID(), "ended by", exit.Status.Signal())
		}
	}
	h.Close()
}

// An execve that does not return delays nobody: no other start, no goroutine, no collection of garbage.
func TestBlockedExec(t *testing.T) { play(t, "blocked").finish() }

func blocked(d *daemon) {
	dir, err := os.MkdirTemp("", "sv")
	d.check(err)
	defer func() { d.check(os.RemoveAll(dir)) }()
	program := filepath.Join(dir, "program")
	d.check(os.WriteFile(program, []byte("#!/bin/sh\necho ran\n"), 0o755))
	// The kernel makes who opens a file wait until a lease on it has been given up.
	lease, err := unix.Open(program, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	d.check(err)
	_, err = unix.FcntlInt(uintptr(lease), unix.F_SETLEASE, unix.F_WRLCK)
	if err != nil {
		d.say("no leases here:", err)
		return
	}
	h := d.open(process.Options{})
	c := d.command("p/0.1", "")
	c.Argv = []string{program}
	slow := d.start(h, c)
	var turns atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				turns.Add(1)
				runtime.Gosched()
			}
		}
	})
	for i := range 3 {
		p := d.start(h, d.command("p/1."+strconv.Itoa(i+1), "echo up"))
		if got := d.line(p); got != "up" {
			d.fatal(got)
		}
		d.reap(p)
		runtime.GC()
		now := turns.Load()
		d.until("the other goroutine runs", func() bool { return turns.Load() > now })
	}
	close(stop)
	wg.Wait()
	if n, err := slow.Stdout.Stat(); err != nil {
		d.fatal(n, err)
	}
	// It still waits: had it got through, a line would be there.
	d.check(slow.Stdout.SetReadDeadline(time.Now().Add(time.Millisecond)))
	if n, err := slow.Stdout.Read(make([]byte, 8)); n > 0 || !os.IsTimeout(err) {
		d.fatal("the lease has not held it up:", n, err)
	}
	d.check(slow.Stdout.SetReadDeadline(time.Time{}))
	_, err = unix.FcntlInt(uintptr(lease), unix.F_SETLEASE, unix.F_UNLCK)
	d.check(err)
	d.check(unix.Close(lease))
	if got := d.line(slow); got != "ran" {
		d.fatal(got)
	}
	d.reap(slow)

	// One that never gets through can be killed.
	lease, err = unix.Open(program, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	d.check(err)
	_, err = unix.FcntlInt(uintptr(lease), unix.F_SETLEASE, unix.F_WRLCK)
	d.check(err)
	if exit := d.end(d.start(h, c)); exit.Start != nil || exit.Status.Signal() != syscall.SIGKILL {
		d.fatal(exit)
	}
	h.Close()
}

// Idle processes cost no threads.
func TestIdleProcesses(t *testing.T) { play(t, "idle").finish() }

func idle(d *daemon) {
	h := d.open(process.Options{Subreaper: true})
	const count = 200
	var started []*process.Process
	var waits, reads sync.WaitGroup
	for i := range count {
		p := d.start(h, d.command("p/"+strconv.Itoa(i)+".1", "exec cat <&3"))
		started = append(started, p)
		waits.Go(func() { d.check(p.WaitExit()) })
		reads.Go(func() { _, _ = p.Responses.Read(make([]byte, 1)) })
	}
	most := 30
	if got := threadCount(d); got >= most {
		d.fatal(got, "threads for", count, "processes")
	}
	for _, p := range started {
		p.Kill()
	}
	waits.Wait()
	reads.Wait()
	for _, p := range started {
		d.reap(p)
	}
	h.Close()
}

// A start waits in line with others; all get what they asked for.
func TestStartsAtOnce(t *testing.T) {
	h := host(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			want := strconv.Itoa(i)
			p, err := h.Start(&process.Command{
				Name: "p/" + want + ".1", Argv: []string{"sh", "-c", "echo $N"}, Directory: "/", Env: []string{path, "N=" + want},
			})
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Close()
			if got := line(t, p); got != want {
				t.Errorf("%q, want %q", got, want)
			}
			reap(t, p)
		})
	}
	wg.Wait()
}

// Where the kernel, or a sandbox, has no pidfds, exits are seen all the same.
func TestNoPidfd(t *testing.T) { play(t, "nopidfd").finish() }

func noPidfd(d *daemon) {
	sandbox(d, []unix.SockFilter{
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_PIDFD_OPEN, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
	})
	h := d.open(process.Options{Subreaper: true})
	p := d.start(h, d.command("p/0.1", "cat <&3; exit 5"))
	exited := make(chan error, 1)
	go func() { exited <- p.WaitExit() }()
	select {
	case err := <-exited:
		d.fatal("exited:", err)
	case <-time.After(10 * time.Millisecond):
	}
	d.check(p.Requests.Close())
	d.check(<-exited)
	if exit := d.reap(p); exit.Status.ExitStatus() != 5 {
		d.fatal(exit)
	}
	if got := d.end(d.start(h, d.command("p/0.2", "sleep 1000"))).Status.Signal(); got != syscall.SIGKILL {
		d.fatal(got)
	}
	h.Close()
}

// refuseForks makes forks fail as at a limit of processes, but no new thread.
func refuseForks(d *daemon) {
	sandbox(d, []unix.SockFilter{
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLONE, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16}, // the low half of the first argument
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.CLONE_THREAD, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAGAIN)},
	})
}

// sandbox makes system calls fail in this process and in all that it starts. The filter gets the number of the call.
func sandbox(d *daemon, filter []unix.SockFilter) {
	number := unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	program := slices.Concat([]unix.SockFilter{number}, filter, []unix.SockFilter{allow})
	runtime.LockOSThread() // the filter reaches all threads, with this permission to set it
	defer runtime.UnlockOSThread()
	d.check(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&p)))
	if errno != 0 {
		d.fatal(errno)
	}
}

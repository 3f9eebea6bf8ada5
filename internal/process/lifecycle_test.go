package process_test

import (
	"io"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/internal/process"
)

func start(t *testing.T, h *process.Host, script string) *process.Process {
	t.Helper()
	p, err := h.Start(&process.Command{
		Name: "p/0.1", Argv: []string{"sh", "-c", script}, Directory: "/", Env: []string{path, envMark + "=" + t.Name()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func reap(t *testing.T, p *process.Process) *process.Exit {
	t.Helper()
	if err := p.WaitExit(); err != nil {
		t.Fatal(err)
	}
	exit, err := p.Reap()
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

func line(t *testing.T, p *process.Process) string {
	t.Helper()
	s, err := readLine(p.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The pipes are fds 3 and 4; stdin is at its end; an exit status arrives.
func TestPipes(t *testing.T) {
	p := start(t, host(t), `cat; cat <&3 >&4; echo error >&2; exit 7`)
	if _, err := p.Requests.WriteString("over\n"); err != nil {
		t.Fatal(err)
	}
	if err := p.Requests.Close(); err != nil {
		t.Fatal(err)
	}
	for f, want := range map[io.Reader]string{p.Responses: "over\n", p.Stderr: "error\n", p.Stdout: ""} {
		if got, err := io.ReadAll(f); err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	if exit := reap(t, p); exit.Status.ExitStatus() != 7 {
		t.Errorf("%+v", exit)
	}
}

// Before Reap the pid is the process's own, however long it has been dead.
func TestExitIsSeenBeforeReap(t *testing.T) {
	p := start(t, host(t), "exit 3")
	if err := p.WaitExit(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.PID(), 0); err != nil {
		t.Errorf("no zombie: %v", err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("signal to a zombie: %v", err)
	}
	p.Kill()
	if exit := reap(t, p); exit.Status.ExitStatus() != 3 {
		t.Errorf("%+v", exit)
	}
	if err := syscall.Kill(p.PID(), 0); err != syscall.ESRCH {
		t.Errorf("after reap: %v", err)
	}
}

// A stopped process gets its signal; a group that ignores it is killed as a whole.
func TestSignalAndKill(t *testing.T) {
	h := host(t)
	p := start(t, h, `echo up; kill -STOP $$; sleep 1000`)
	line(t, p)
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if exit := reap(t, p); exit.Status.Signal() != syscall.SIGTERM {
		t.Errorf("%+v", exit)
	}
	p = start(t, h, `trap '' TERM; sleep 1000 & echo up; wait; wait`)
	line(t, p)
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if exit := reap(t, p); exit.Status.Signal() != syscall.SIGKILL || exit.OOM != nil {
		t.Errorf("%+v", exit)
	}
	if _, err := io.ReadAll(p.Stdout); err != nil { // at its end: the child is gone as well
		t.Error(err)
	}
}

// What nobody has read is counted, after the death too.
func TestUnread(t *testing.T) {
	p := start(t, host(t), `dd bs=10 count=1 <&3 2>/dev/null; exit 0`)
	if _, err := p.Requests.WriteString("0123456789unread"); err != nil {
		t.Fatal(err)
	}
	if out, err := io.ReadAll(p.Stdout); err != nil || string(out) != "0123456789" {
		t.Fatalf("%q, %v", out, err)
	}
	if err := p.WaitExit(); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Unread(); n != 6 || err != nil {
		t.Errorf("%d, %v; want 6", n, err)
	}
	reap(t, p)
}

// What was written before the end is read although a grandchild holds the pipes, and reading it ends.
func TestDrainWithGrandchild(t *testing.T) {
	p := start(t, host(t), `echo last >&2; setsid sh -c 'echo away >&4; exec sleep 1000' & cat <&3; echo out; exit 1`)
	if got, err := readLine(p.Responses); got != "away" {
		t.Fatal(got, err)
	}
	if err := p.Requests.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.WaitExit(); err != nil {
		t.Fatal(err)
	}
	p.Kill() // does not reach it: no cgroup, no subreaper
	p.DrainUntil(time.Now().Add(50 * time.Millisecond))
	var readers sync.WaitGroup
	for f, want := range map[io.Reader]string{p.Stdout: "out\n", p.Stderr: "last\n"} {
		readers.Go(func() {
			if got, err := io.ReadAll(f); string(got) != want || err == nil {
				t.Errorf("%q, %v; want %q and a timeout", got, err, want)
			}
		})
	}
	readers.Wait()
	reap(t, p)
	for _, pid := range alive(t, envMark+"="+t.Name()) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// Memory is what is resident where there is no cgroup.
func TestMemory(t *testing.T) {
	p := start(t, host(t), `echo up; cat <&3`)
	line(t, p)
	if n := p.Memory(); n < 100<<10 || n > 1<<30 {
		t.Errorf("%d bytes", n)
	}
	p.Kill()
	reap(t, p)
	if n := p.Memory(); n != 0 {
		t.Errorf("%d bytes after its end", n)
	}
}

// A process that may not be signalled says so.
func TestSignalNotPermitted(t *testing.T) {
	needRoot(t)
	c := play(t, "nokill")
	if s := c.hear(); !strings.HasSuffix(s, ": operation not permitted") {
		t.Error(s)
	}
	c.finish()
}

// nokill has a worker of another user and gives up CAP_KILL.
func nokill(d *daemon) {
	h := d.open(process.Options{})
	c := d.command("p/0.1", "echo up; cat <&3")
	c.Credential = &syscall.Credential{Uid: 47113, Gid: 47113}
	p := d.start(h, c)
	d.line(p)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	d.check(unix.Capget(&header, &caps[0]))
	caps[0].Effective &^= 1 << unix.CAP_KILL
	runtime.LockOSThread() // capabilities are a thread's
	d.check(unix.Capset(&header, &caps[0]))
	err := p.Signal(syscall.SIGTERM)
	if err == nil {
		d.fatal("no error")
	}
	d.say(err)
	d.check(p.Requests.Close()) // cat ends
	d.reap(p)
	h.Close()
}

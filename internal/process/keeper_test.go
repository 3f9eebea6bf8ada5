package process_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"supervisord/internal/process"
)

// family is a script of a worker with a child, a grandchild of its own session and a helper that has let go of it.
const family = `sleep 1000 & setsid sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000' &) ; trap '' TERM; echo up; while :; do sleep 1000; done`

// keptDaemon is a daemon under a keeper. It says the pids of both, then "up" when its workers are there, and ends as it is
// told by a signal.
func keptDaemon(d *daemon) {
	if status, kept := process.Keep(os.Args); kept {
		exit(status)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	if !process.Kept() || len(os.Args) != 1 {
		d.fatal("not kept:", os.Args)
	}
	orphaned := make(chan struct{})
	h := d.open(process.Options{Subreaper: true, Orphaned: func() { close(orphaned) }})
	for i := range 3 {
		d.line(d.start(h, d.command("p/"+strconv.Itoa(i)+".1", family)))
	}
	d.say(os.Getppid())
	d.say(os.Getpid())
	d.say("up")
	for {
		select {
		case <-orphaned:
			exit(9)
		case s := <-signals:
			d.say(s)
			if s == syscall.SIGTERM {
				exit(7)
			}
		}
	}
}

func playKept(t *testing.T, configure ...func(*exec.Cmd)) (c *child, keeper, daemon int) {
	t.Helper()
	c = play(t, "kept", append([]func(*exec.Cmd){func(c *exec.Cmd) {
		c.Env = append(c.Env, "NOTIFY_SOCKET=", "SYSTEMD_EXEC_PID=1")
	}}, configure...)...)
	keeper, daemon = c.hearPID(), c.hearPID()
	c.hear()
	if keeper != c.cmd.Process.Pid || keeper == daemon {
		t.Fatalf("keeper %d and daemon %d of process %d", keeper, daemon, c.cmd.Process.Pid)
	}
	eventually(t, "all processes are there", func() bool { return len(alive(t, c.mark)) >= 2+3*5 })
	return c, keeper, daemon
}

// Nothing is left of a daemon that was killed, and its keeper says so.
func TestDaemonKilled(t *testing.T) {
	c, _, daemon := playKept(t)
	if err := syscall.Kill(daemon, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	exit, ok := errors.AsType[*exec.ExitError](c.wait())
	if !ok || exit.ExitCode() != 128+9 {
		t.Errorf("keeper: %v", exit)
	}
	if left := alive(t, c.mark); len(left) > 0 { // not eventually: the keeper has reaped them all
		t.Errorf("left: %v", left)
	}
}

// Nothing is left either where the keeper was killed.
func TestKeeperKilled(t *testing.T) {
	c, keeper, _ := playKept(t)
	began := time.Now()
	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.none()
	t.Logf("all gone after %v", time.Since(began))
}

// A keeper that is killed before its daemon has a host is missed.
func TestKeeperKilledEarly(t *testing.T) {
	c := play(t, "keptlate")
	keeper := c.hearPID()
	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "keeper gone", func() bool { return !exists(keeper) })
	c.say("go on")
	c.none()
}

func keptLate(d *daemon) {
	if status, kept := process.Keep(os.Args); kept {
		exit(status)
	}
	d.say(os.Getppid())
	d.hear()
	orphaned := make(chan struct{})
	h := d.open(process.Options{Subreaper: true, Orphaned: func() { close(orphaned) }})
	<-orphaned
	h.Close()
}

// Signals reach the daemon, whose status becomes the keeper's; what it leaves behind is ended after a proper end too.
func TestKeeperPassesOn(t *testing.T) {
	c, keeper, _ := playKept(t)
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGTERM} {
		if err := syscall.Kill(keeper, s); err != nil {
			t.Fatal(err)
		}
		if got := c.hear(); got != s.String() {
			t.Errorf("%s, want %s", got, s)
		}
	}
	exit, ok := errors.AsType[*exec.ExitError](c.wait())
	if !ok || exit.ExitCode() != 7 {
		t.Errorf("keeper: %v", exit)
	}
	if left := alive(t, c.mark); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Ctrl-C goes to the whole group of the foreground, and to the daemon once.
func TestInterruptComesOnce(t *testing.T) {
	c, keeper, _ := playKept(t, func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} })
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGUSR1} {
		if err := syscall.Kill(-keeper, s); err != nil {
			t.Fatal(err)
		}
		if got := c.hear(); got != s.String() {
			t.Errorf("%s, want %s", got, s)
		}
	}
}

// A keeper holds no descriptor that it has inherited, its daemon all; a socket that was passed by the protocol of systemd
// is the daemon's. A child that was there before is nobody's to kill.
func TestKeeperInherits(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := play(t, "inherits", func(c *exec.Cmd) {
		c.ExtraFiles = []*os.File{w}
		c.Path, c.Args = "/bin/sh", []string{"sh", "-c", "sleep 1000 >/dev/null 2>&1 & LISTEN_PID=$$ exec " + strconv.Quote(executable(t))}
	})
	w.Close()
	if got := c.hear(); got != "fd3 true listen true" {
		t.Error(got)
	}
	keeper := strconv.Itoa(c.cmd.Process.Pid)
	if target, err := os.Readlink("/proc/" + keeper + "/fd/3"); err == nil && strings.HasPrefix(target, "pipe:") {
		t.Error("the keeper holds the daemon's descriptor")
	}
	rss, err := os.ReadFile("/proc/" + keeper + "/status")
	if err != nil {
		t.Fatal(err)
	}
	t.Log("keeper: VmRSS", statusField(t, string(rss), "VmRSS"), "RssAnon", statusField(t, string(rss), "RssAnon"))
	c.say("go on")
	c.finish()
	if left := alive(t, c.mark); len(left) != 1 {
		t.Errorf("left: %v, want the child of before", left)
	}
}

func inherits(d *daemon) {
	if status, kept := process.Keep(os.Args); kept {
		exit(status)
	}
	target, _ := os.Readlink("/proc/self/fd/3")
	d.say(fmt.Sprint("fd3 ", strings.HasPrefix(target, "pipe:"), " listen ", os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid())))
	h := d.open(process.Options{Subreaper: true, Orphaned: func() { d.say("orphaned") }})
	d.hear()
	h.Close() // ends without an orphan's call
}

// Nobody keeps what a service manager keeps.
func TestNoKeeperUnderServiceManager(t *testing.T) {
	for name, env := range map[string][]string{
		"notify": {"NOTIFY_SOCKET=/run/systemd/notify"}, "exec": nil,
	} {
		c := play(t, "unkept", func(c *exec.Cmd) {
			c.Env = append(c.Env, env...)
			if name == "exec" {
				c.Path, c.Args = "/bin/sh", []string{"sh", "-c", "SYSTEMD_EXEC_PID=$$ exec " + strconv.Quote(executable(t))}
			}
		})
		if got := c.hear(); got != "0 false" {
			t.Errorf("%s: %s", name, got)
		}
		c.finish()
	}
}

func unkept(d *daemon) {
	status, kept := process.Keep(os.Args)
	d.say(status, kept)
}

// Processes die with a daemon that has neither keeper nor cgroups; what has left them does not, which is why there are.
func TestDeathSignal(t *testing.T) {
	c := play(t, "killed")
	worker := c.hearPID()
	c.hear()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.wait()
	eventually(t, "the worker is gone", func() bool { return !exists(worker) })
}

func killed(d *daemon) {
	h := d.open(process.Options{Subreaper: true})
	p := d.start(h, d.command("p/0.1", "echo $$; echo up; exec sleep 1000"))
	d.say(d.line(p))
	d.say(d.line(p))
	d.hear()
}

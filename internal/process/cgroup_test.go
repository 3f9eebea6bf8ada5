package process_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervisord/internal/process"
	"supervisord/protocol"
)

// delegate makes a cgroup as a service manager makes one for a service with Delegate=yes.
func delegate(t *testing.T) string {
	t.Helper()
	parent := os.Getenv("SUPERVISORD_TEST_CGROUP") // one that has controllers for its children
	if parent == "" {
		parent = ownCgroup(t)
	}
	dir, err := os.MkdirTemp(parent, "supervisord-test-")
	if err != nil {
		t.Skip("no cgroup can be made: ", err)
	}
	t.Cleanup(func() {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
		eventually(t, "the cgroup can be removed", func() bool { return removeTree(dir) == nil })
	})
	if err := unix.Setxattr(dir, "trusted.delegate", []byte("1"), 0); err != nil {
		if err = unix.Setxattr(dir, "user.delegate", []byte("1"), 0); err != nil {
			t.Skip("no attributes on cgroups: ", err)
		}
	}
	return dir
}

// ownCgroup is the directory of the test's own.
func ownCgroup(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	_, path, _ := strings.Cut("\n"+string(own), "\n0::")
	path, _, _ = strings.Cut(path, "\n")
	for line := range strings.Lines(string(mounts)) {
		if mount, kind, _ := strings.Cut(line, " - "); strings.HasPrefix(kind, "cgroup2 ") {
			return filepath.Join(strings.Fields(mount)[4], path)
		}
	}
	t.Skip("no cgroup file system of version 2 is mounted")
	return ""
}

func removeTree(dir string) error {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// inCgroup starts the daemon in a cgroup.
func inCgroup(t *testing.T, dir string) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		c.Path = "/bin/sh"
		c.Args = []string{"sh", "-c", "echo 0 >" + filepath.Join(dir, "cgroup.procs") + "; exec " + strconv.Quote(executable(t))}
		c.Env = append(c.Env, "CGROUP_DIR="+dir)
	}
}

// With a delegated cgroup each process has its own, which is killed and removed with it.
func TestCgroups(t *testing.T) {
	dir := delegate(t)
	stale := filepath.Join(dir, "workers", "stale", "below")
	if err := os.MkdirAll(stale, 0o755); err != nil {
		t.Fatal(err)
	}
	sleeper := exec.Command("sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(stale, "cgroup.procs"), []byte(strconv.Itoa(sleeper.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	c := play(t, "cgroup", inCgroup(t, dir))
	t.Log(c.hear())
	if err := sleeper.Wait(); err == nil {
		t.Error("what an earlier daemon left was not killed")
	}
	c.finish()
	c.none()
	if _, err := os.Stat(filepath.Join(dir, "workers")); !os.IsNotExist(err) {
		t.Errorf("workers: %v", err)
	}
}

func cgroupDaemon(d *daemon) {
	h := d.open(process.Options{Subreaper: true, Cgroups: true})
	d.say(h.TreeKill(), fmt.Sprintf("%+v", h.Limits()), h.Reason())
	if h.TreeKill() != protocol.TreeKillCgroup {
		d.fatal(h.Reason())
	}
	dir := os.Getenv("CGROUP_DIR")
	own, err := os.ReadFile("/proc/self/cgroup")
	d.check(err)
	if !bytes.Contains(own, []byte(filepath.Base(dir)+"/supervisord\n")) {
		d.fatal("the daemon is in", string(own))
	}

	// Another daemon in the same cgroup does not get hold of this one's processes.
	p := d.start(h, d.command("pool/0.1", family))
	d.line(p)
	second := d.open(process.Options{Cgroups: true})
	if second.TreeKill() != protocol.TreeKillProcessGroup || !strings.Contains(second.Reason(), "another daemon") {
		d.fatal(second.TreeKill(), second.Reason())
	}
	second.Close()

	group := filepath.Join(dir, "workers", "pool-0.1")
	d.until("the whole family is in the cgroup", func() bool {
		procs, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		d.check(err)
		return len(strings.Fields(string(procs))) >= 5
	})
	if p.Memory() <= 0 {
		d.fatal("no memory")
	}
	exit := d.end(p)
	if exit.OOM != nil || exit.Status.Signal() != unix.SIGKILL {
		d.fatal(exit)
	}
	if _, err := os.Stat(group); !exit.Leftover && !os.IsNotExist(err) {
		d.fatal("the cgroup is left:", err)
	}

	// A worker that has ended by itself takes along what it left, with cgroups of its own making too.
	p = d.start(h, d.command("pool/0.2", `mkdir "$CGROUP_DIR/workers/pool-0.2/own"; setsid sleep 1000 &
		echo $! > "$CGROUP_DIR/workers/pool-0.2/own/cgroup.procs"; exit 6`, "CGROUP_DIR="+dir))
	if exit = d.reap(p); exit.Status.ExitStatus() != 6 {
		d.fatal(exit)
	}
	d.childless(exit)
	entries, err := os.ReadDir(filepath.Join(dir, "workers"))
	d.check(err)
	for _, e := range entries {
		if e.IsDir() && !exit.Leftover {
			d.fatal("left:", e.Name())
		}
	}

	// A cgroup that cannot be made is an error where it is to limit something, and a process without one else.
	d.check(os.Mkdir(filepath.Join(dir, "workers", "pool-0.3"), 0o755))
	d.reap(d.start(h, d.command("pool/0.3", "exit 0")))
	d.reap(d.start(h, d.command("cgroup.procs", "exit 0")))
	c := d.command("cgroup.procs", "exit 0")
	c.TasksLimit = 5
	if _, err := h.Start(c); err == nil {
		d.fatal("a limit that is not there")
	} else if started, ok := errors.AsType[*process.StartError](err); !ok || started.Step != process.StepCgroup {
		d.fatal(err)
	}
	limits(d, h)
	h.Close()
}

// limits tries those that the host says it can enforce.
func limits(d *daemon, h *process.Host) {
	if h.Limits().Tasks {
		c := d.command("pool/1.1", `for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; exit 0`)
		c.TasksLimit = 4
		if exit := d.reap(d.start(h, c)); exit.Start != nil || exit.Status.ExitStatus() == 0 { // a shell ends where it cannot fork
			d.fatal("nine children in four tasks:", exit)
		}
	}
	if h.Limits().Memory {
		c := d.command("pool/2.1", `head -c 200m /dev/zero | tail -n 1`)
		c.MemoryLimit = 16 << 20
		if exit := d.reap(d.start(h, c)); exit.OOM == nil || exit.OOM.Limit != 16<<20 || exit.OOM.Peak == 0 {
			d.fatal("not killed for its memory:", exit, exit.OOM)
		}
	}
	if h.Limits().CPU {
		c := d.command("pool/3.1", `cat "$CGROUP_DIR/workers/pool-3.1/cpu.max"`, "CGROUP_DIR="+os.Getenv("CGROUP_DIR"))
		c.CPULimit = 0.5
		p := d.start(h, c)
		if got := d.line(p); got != "50000 100000" {
			d.fatal("cpu.max:", got)
		}
		d.reap(p)
	}
}

// A cgroup that has not been delegated is left alone.
func TestCgroupNotDelegated(t *testing.T) {
	dir := delegate(t)
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		_ = unix.Removexattr(dir, name)
	}
	c := play(t, "undelegated", inCgroup(t, dir))
	if got := c.hear(); !strings.HasPrefix(got, protocol.TreeKillProcessGroup+" no cgroups: the cgroup ") ||
		!strings.HasSuffix(got, " has not been delegated to this process") {
		t.Error(got)
	}
	c.finish()
	if _, err := os.Stat(filepath.Join(dir, "workers")); !os.IsNotExist(err) {
		t.Errorf("workers: %v", err)
	}
}

func undelegated(d *daemon) {
	h := d.open(process.Options{Cgroups: true})
	d.say(h.TreeKill(), h.Reason())
	if h.Limits() != (process.Limits{}) {
		d.fatal(h.Limits())
	}
	d.reap(d.start(h, d.command("p/0.1", "exit 0")))
	h.Close()
}

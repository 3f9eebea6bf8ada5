package process_test

import (
	"bytes"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervisord/internal/process"
)

// The environment and the arguments are what was asked for, to the byte, with each name once.
func TestEnvironmentIsExact(t *testing.T) {
	out, _ := run(t, host(t), &process.Command{
		Argv: []string{"cat", "/proc/self/environ", "/proc/self/cmdline"},
		Env:  []string{"A=1", path, "B=\xff\xfe\n", "A=2", "EMPTY="},
	})
	want := path + "\x00B=\xff\xfe\n\x00A=2\x00EMPTY=\x00cat\x00/proc/self/environ\x00/proc/self/cmdline\x00"
	if out != want {
		t.Errorf("got %q\nwant %q", out, want)
	}
}

// A worker gets what it should have of the process around it, and nothing more.
func TestProgramGetsItsAttributes(t *testing.T) {
	old := unix.Umask(0o007)
	defer unix.Umask(old)
	out, _ := run(t, host(t), &process.Command{
		Argv: []string{"cat", "/proc/self/status"}, Directory: "/usr", Env: []string{path},
	})
	for name, want := range map[string]string{
		"NoNewPrivs": "1", "Umask": "0027", "SigBlk": "0000000000000000", "SigIgn": "0000000000000000", "SigCgt": "0000000000000000",
	} {
		if got := statusField(t, out, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	out, _ = run(t, host(t), &process.Command{
		Argv: []string{"sh", "-c", "cat /proc/self/oom_score_adj; pwd; ulimit -S -c; ps -o pid=,pgid= -p $$"}, Directory: "/usr",
		Env: []string{path},
	})
	if !regexp.MustCompile(`^300\n/usr\n0\n`).MatchString(out) {
		t.Errorf("oom_score_adj, directory, core: %q", out)
	}
	if f := strings.Fields(out); len(f) == 5 && f[3] != f[4] {
		t.Errorf("process %s is in group %s", f[3], f[4])
	}
}

// A limit of descriptors is the one that the daemon was given, not what the Go runtime made of it.
func TestDescriptorLimitIsPutBack(t *testing.T) {
	c := play(t, "leaky", func(c *exec.Cmd) {
		c.Path, c.Args = "/bin/sh", []string{"sh", "-c", "ulimit -S -n 321; exec " + strconv.Quote(executable(t))}
	})
	c.hear()
	if got := c.hear(); got != "321" {
		t.Errorf("soft limit of descriptors: %s", got)
	}
	c.finish()
}

func executable(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// Only the descriptors of the protocol reach a worker, whatever the daemon has inherited or opened carelessly.
func TestOnlyFiveDescriptors(t *testing.T) {
	c := play(t, "leaky", func(c *exec.Cmd) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close(); w.Close() })
		c.ExtraFiles = []*os.File{r, w}
	})
	if got := c.hear(); got != "0, 1, 2, 3, 4" {
		t.Errorf("descriptors: %s", got)
	}
	c.finish()
}

func leaky(d *daemon) {
	h := d.open(process.Options{})
	for _, to := range []int{90, 251} { // after Open, without close-on-exec
		d.check(unix.Dup3(0, to, 0))
	}
	p := d.start(h, d.command("p/0.1", "ls -m /proc/$$/fd; ulimit -S -n"))
	var out bytes.Buffer
	_, err := out.ReadFrom(p.Stdout)
	d.check(err)
	d.reap(p)
	_, err = os.Stdout.Write(out.Bytes())
	d.check(err)
	h.Close()
}

// Signals that the daemon was started with ignored or blocked, or that it ignores itself, are not so in a worker.
func TestSignalsAreDefault(t *testing.T) {
	// The mask of a thread reaches what it forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var set, old unix.Sigset_t
	set.Val[0] = 1<<(uint(unix.SIGUSR2)-1) | 1<<(uint(unix.SIGTERM)-1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old); err != nil {
		t.Fatal(err)
	}
	c := play(t, "mask", func(c *exec.Cmd) {
		c.Path, c.Args = "/bin/sh", []string{"sh", "-c", "trap '' HUP INT PIPE TSTP RTMIN; exec " + strconv.Quote(executable(t))}
	})
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := c.hear(); got != "blocked 0000000000000000 ignored 0000000000000000" {
			t.Error(got)
		}
	}
	c.finish()
}

func mask(d *daemon) {
	h := d.open(process.Options{})
	report := func() {
		p := d.start(h, d.command("p/0.1", `while read -r k v; do case $k in SigBlk:) b=$v;; SigIgn:) i=$v;; esac; done </proc/$$/status
			echo blocked $b ignored $i`))
		d.say(d.line(p))
		d.reap(p)
	}
	report()
	signal.Ignore(syscall.SIGPIPE, syscall.SIGUSR1)
	report()
	h.Close()
}

// A worker runs as its user, with nothing of root's left.
func TestOtherUser(t *testing.T) {
	needRoot(t)
	h := host(t)
	out, exit := run(t, h, &process.Command{
		Argv: []string{"cat", "/proc/self/status", "/proc/self/oom_score_adj"}, Env: []string{path},
		Credential: &syscall.Credential{Uid: 47113, Gid: 47114, Groups: []uint32{47115}},
	})
	if exit.Start != nil {
		t.Fatal(exit.Start)
	}
	ids := func(id string) string { return strings.Join(slices.Repeat([]string{id}, 4), "\t") }
	for name, want := range map[string]string{
		"Uid": ids("47113"), "Gid": ids("47114"), "Groups": "47115", "NoNewPrivs": "1",
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000",
	} {
		if got := statusField(t, out, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if !strings.HasSuffix(out, "\n300\n") {
		t.Errorf("oom_score_adj: %q", out[len(out)-20:])
	}
}

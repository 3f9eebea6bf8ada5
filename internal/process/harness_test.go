package process_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"supervisord/internal/process"
)

const (
	// patience is how long a test waits for what must happen; never how long it takes.
	patience = 30 * time.Second
	// envRole makes the test binary another program, with its arguments behind it.
	envRole = "SUPERVISORD_PROCESS_TEST_ROLE"
	// envMark is in the environment of all processes of one test.
	envMark = "SUPERVISORD_PROCESS_TEST_MARK"
)

func TestMain(m *testing.M) {
	process.Main()
	if name, ok := os.LookupEnv(envRole); ok {
		d := &daemon{mark: envMark + "=" + os.Getenv(envMark), in: bufio.NewReader(os.Stdin)}
		roles[name](d)
		exit(0)
	}
	goleak.VerifyTestMain(m)
}

// roles are the daemons of the tests: what a host does to a process of its own, and what becomes of it when that dies.
var roles = map[string]func(*daemon){
	"blocked":     blocked,
	"cgroup":      cgroupDaemon,
	"closed":      closed,
	"emfile":      emfile,
	"helper":      helper,
	"idle":        idle,
	"inherits":    inherits,
	"kept":        keptDaemon,
	"keptlate":    keptLate,
	"killed":      killed,
	"leaky":       leaky,
	"mask":        mask,
	"nokill":      nokill,
	"nopidfd":     noPidfd,
	"nproc":       nproc,
	"orphans":     orphans,
	"storm":       storm,
	"stranger":    strangerOfBefore,
	"threads":     threads,
	"undelegated": undelegated,
	"unkept":      unkept,
	"user":        forbiddenUser,
}

// daemon is the process of a role. Its methods end it with a message where something is wrong.
type daemon struct {
	mark string
	in   *bufio.Reader
}

func (d *daemon) fatal(v ...any) {
	fmt.Fprintln(os.Stderr, v...)
	exit(1)
}

// exit ends the process of a role.
func exit(status int) {
	os.Exit(status) //nolint:forbidigo // the process is nothing but the role
}

func (d *daemon) check(err error) {
	if err != nil {
		d.fatal(err)
	}
}

// say tells the test one line.
func (d *daemon) say(v ...any) { fmt.Fprintln(os.Stdout, v...) }

// hear waits for a line from the test.
func (d *daemon) hear() {
	if _, err := d.in.ReadString('\n'); err != nil {
		d.fatal("the test is gone:", err)
	}
}

func (d *daemon) open(o process.Options) *process.Host {
	h, err := process.Open(o)
	d.check(err)
	return h
}

// command is a shell that runs a script.
func (d *daemon) command(name, script string, env ...string) *process.Command {
	return &process.Command{
		Name: name, Argv: []string{"sh", "-c", script}, Directory: "/",
		Env: append([]string{"PATH=" + os.Getenv("PATH"), d.mark}, env...),
	}
}

func (d *daemon) start(h *process.Host, c *process.Command) *process.Process {
	p, err := h.Start(c)
	d.check(err)
	return p
}

// end kills a process and reaps it.
func (d *daemon) end(p *process.Process) *process.Exit {
	p.Kill()
	return d.reap(p)
}

// reap waits for the exit.
func (d *daemon) reap(p *process.Process) *process.Exit {
	d.check(p.WaitExit())
	exit, err := p.Reap()
	d.check(err)
	p.Close()
	return exit
}

// gone fails where a process is still this one's child although its exit says that nothing is left over. One that the
// machine was too slow to end within the second that Reap waits is waited for.
func (d *daemon) gone(exit *process.Exit, pids ...int) {
	for _, pid := range pids {
		if !exit.Leftover && isChild(d, pid) {
			d.fatal("process", pid, "is left of what was reaped")
		}
	}
	d.until("all that was left over is gone", func() bool {
		return !slices.ContainsFunc(pids, func(pid int) bool { return isChild(d, pid) })
	})
}

// childless is gone for all children.
func (d *daemon) childless(exit *process.Exit) {
	if left := childrenOf(d); !exit.Leftover && len(left) > 0 {
		d.fatal("children left:", left)
	}
	d.until("no child is left", func() bool { return len(childrenOf(d)) == 0 })
}

// line reads one line of a process's stdout.
func (d *daemon) line(p *process.Process) string {
	s, err := readLine(p.Stdout)
	d.check(err)
	return s
}

// child is a daemon, seen from its test.
type child struct {
	t    *testing.T
	mark string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	err  bytes.Buffer
	wait func() error
}

// play starts a role. configure may change how.
func play(t *testing.T, role string, configure ...func(*exec.Cmd)) *child {
	t.Helper()
	c := &child{t: t, mark: envMark + "=" + t.Name() + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)}
	c.cmd = exec.Command("/proc/self/exe")
	c.cmd.Args = []string{"daemon"}
	c.cmd.Env = append(os.Environ(), envRole+"="+role, c.mark, "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = &c.err
	c.cmd.WaitDelay = time.Second // what is left of it may hold stderr
	for _, f := range configure {
		f(c.cmd)
	}
	in, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.wait = sync.OnceValue(c.cmd.Wait)
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		_ = c.wait()
		for _, pid := range alive(t, c.mark) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return c
}

// hear is the next line that the daemon says.
func (c *child) hear() string {
	c.t.Helper()
	s, err := c.out.ReadString('\n')
	if err != nil {
		_ = c.wait()
		c.t.Fatalf("daemon: %v\n%s", err, c.err.String())
	}
	return strings.TrimSpace(s)
}

// hearPID is the next line where it is a pid.
func (c *child) hearPID() int {
	c.t.Helper()
	pid, err := strconv.Atoi(c.hear())
	if err != nil {
		c.t.Fatal(err)
	}
	return pid
}

func (c *child) say(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, s+"\n"); err != nil {
		c.t.Fatal(err)
	}
}

// finish waits for the end of a role that finds no fault.
func (c *child) finish() {
	c.t.Helper()
	if err := c.wait(); err != nil {
		c.t.Fatalf("daemon: %v\n%s", err, c.err.String())
	}
}

// alive are the processes that have a setting in their environment; a zombie has none.
func alive(t *testing.T, setting string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && slices.Contains(strings.Split(string(env), "\x00"), setting) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// until is eventually for a role.
func (d *daemon) until(what string, ok func() bool) {
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			d.fatal("never: " + what)
		}
	}
}

// none waits until no process of the child's test is left.
func (c *child) none() {
	c.t.Helper()
	eventually(c.t, "all processes gone", func() bool { return len(alive(c.t, c.mark)) == 0 })
}

// exists reports whether a process is there and no zombie.
func exists(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// host is one without subreaper and cgroups, in the test's own process.
func host(t *testing.T) *process.Host {
	t.Helper()
	h, err := process.Open(process.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// run starts a process, lets it run to its end and returns what it wrote to stdout.
func run(t *testing.T, h *process.Host, c *process.Command) (stdout string, exit *process.Exit) {
	t.Helper()
	if c.Name == "" {
		c.Name = "p/0.1"
	}
	if c.Directory == "" {
		c.Directory = "/"
	}
	p, err := h.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	out, err := io.ReadAll(p.Stdout)
	if err != nil {
		t.Error(err)
	}
	if err := p.WaitExit(); err != nil {
		t.Error(err)
	}
	if exit, err = p.Reap(); err != nil {
		t.Fatal(err)
	}
	return string(out), exit
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not run as root")
	}
}

// threadCount is how many threads this process has.
func threadCount(d *daemon) int {
	entries, err := os.ReadDir("/proc/self/task")
	d.check(err)
	return len(entries)
}

var path = "PATH=" + os.Getenv("PATH")

// statusField is a field of a /proc/PID/status file.
func statusField(t *testing.T, status, name string) string {
	t.Helper()
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	t.Fatalf("no %s in %q", name, status)
	return ""
}

// readLine takes no more than the line.
func readLine(r io.Reader) (string, error) {
	var text []byte
	for b := make([]byte, 1); ; text = append(text, b...) {
		if _, err := r.Read(b); err != nil || b[0] == '\n' {
			return string(text), err
		}
	}
}

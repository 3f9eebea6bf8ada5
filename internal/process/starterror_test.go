package process_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervisord/internal/process"
)

// What keeps a program from running is told by its exit, with the step, the file and the cause.
func TestStartErrors(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := file("plain", "#!/bin/sh\n", 0o644)
	script := file("no-script-of-others", "#! /no/such/interpreter -x\n", 0o755)
	text := file("text", "hello\n", 0o755)
	for _, c := range []struct {
		name      string
		argv      []string
		directory string
		env       []string
		want      process.StartError
		text      string
		status    int
	}{
		{
			name: "no such program in PATH", argv: []string{"no-such-program"}, env: []string{"PATH=/usr/bin:/bin"},
			want: process.StartError{Step: process.StepExec, Path: "no-such-program", Search: "/usr/bin:/bin", Err: syscall.ENOENT},
			text: "exec no-such-program: no such file or directory in PATH /usr/bin:/bin", status: 127,
		},
		{
			name: "no such program at a path", argv: []string{"/no/such/program"},
			want: process.StartError{Step: process.StepExec, Path: "/no/such/program", Err: syscall.ENOENT},
			text: "exec /no/such/program: no such file or directory", status: 127,
		},
		{
			name: "no such directory", argv: []string{"true"}, directory: "/no/such/directory",
			want: process.StartError{Step: process.StepDirectory, Path: "/no/such/directory", Err: syscall.ENOENT},
			text: "working directory /no/such/directory: no such file or directory", status: 127,
		},
		{
			name: "directory is a file", argv: []string{"true"}, directory: plain,
			want: process.StartError{Step: process.StepDirectory, Path: plain, Err: syscall.ENOTDIR},
			text: "working directory " + plain + ": not a directory", status: 127,
		},
		{
			name: "not executable", argv: []string{plain},
			want: process.StartError{Step: process.StepExec, Path: plain, Err: syscall.EACCES},
			text: "exec " + plain + ": permission denied", status: 126,
		},
		{
			name: "not executable in PATH", argv: []string{"plain"}, env: []string{"PATH=" + dir + ":/bin"},
			want: process.StartError{Step: process.StepExec, Path: plain, Err: syscall.EACCES},
			text: "exec " + plain + ": permission denied", status: 126,
		},
		{
			name: "no interpreter", argv: []string{"no-script-of-others"}, env: []string{"PATH=/bin:" + dir},
			want: process.StartError{Step: process.StepExec, Path: script, Interpreter: "/no/such/interpreter", Err: syscall.ENOENT},
			text: "exec " + script + ": interpreter /no/such/interpreter: no such file or directory", status: 127,
		},
		{
			name: "no program at all", argv: []string{text},
			want: process.StartError{Step: process.StepExec, Path: text, Err: syscall.ENOEXEC},
			text: "exec " + text + ": exec format error", status: 127,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, exit := run(t, host(t), &process.Command{Argv: c.argv, Directory: c.directory, Env: c.env})
			started, ok := errors.AsType[*process.StartError](exit.Start)
			if !ok || *started != c.want || started.Error() != c.text {
				t.Errorf("got %+v, %v\nwant %+v, %v", started, exit.Start, c.want, c.text)
			}
			if !errors.Is(exit.Start, c.want.Err) {
				t.Errorf("%v is not %v", exit.Start, c.want.Err)
			}
			if exit.Status.ExitStatus() != c.status {
				t.Errorf("exit status %v, want %d", exit.Status, c.status)
			}
		})
	}
}

// A program that runs and ends with the same statuses is no failed start.
func TestExitStatusOfProgram(t *testing.T) {
	for _, status := range []string{"127", "126", "3"} {
		_, exit := run(t, host(t), &process.Command{Argv: []string{"sh", "-c", "exit " + status}, Env: []string{path}})
		if exit.Start != nil || !exit.Status.Exited() {
			t.Errorf("exit %s: %+v", status, exit)
		}
	}
}

// The program is looked for in the worker's own PATH, relative to its own directory.
func TestPathIsTheWorkersOwn(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "own"), []byte("#!/bin/sh\necho own\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []process.Command{
		{Argv: []string{"own"}, Env: []string{"PATH=/bin:" + dir}},
		{Argv: []string{"own"}, Env: []string{"PATH=/no/such", "PATH=" + dir}},
		{Argv: []string{"own"}, Env: []string{"PATH=/bin:"}, Directory: dir},
		{Argv: []string{"./own"}, Directory: dir},
	} {
		if out, exit := run(t, host(t), &c); out != "own\n" {
			t.Errorf("%+v: %q, %+v", c, out, exit)
		}
	}
}

// A fork that the kernel refuses is an error of Start, typed, and leaves nothing behind.
func TestNoDescriptorsLeft(t *testing.T) { play(t, "emfile").finish() }

func emfile(d *daemon) {
	h := d.open(process.Options{})
	c := d.command("p/0.1", "true")
	d.reap(d.start(h, c)) // the runtime has opened what it needs
	before := len(descriptorsOf(d))
	var held []int
	for {
		fd, err := unix.Open("/dev/null", unix.O_CLOEXEC, 0)
		if err != nil {
			break
		}
		held = append(held, fd)
		if len(held) == 64 {
			d.check(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(fd) + 1, Max: uint64(fd) + 1}))
		}
	}
	for free := range 12 { // it fails at another descriptor each time
		p, err := h.Start(c)
		if err == nil {
			d.reap(p)
			if free < 7 {
				d.fatal("a start with", free, "descriptors")
			}
		} else if started, ok := errors.AsType[*process.StartError](err); !ok || !errors.Is(started, syscall.EMFILE) {
			d.fatal("not EMFILE:", err)
		}
		d.check(unix.Close(held[0]))
		held = held[1:]
	}
	for _, fd := range held {
		d.check(unix.Close(fd))
	}
	d.reap(d.start(h, c))
	if after := len(descriptorsOf(d)); after > before {
		d.fatal("descriptors:", before, "before,", after, "after")
	}
	h.Close()
}

func descriptorsOf(d *daemon) []string {
	entries, err := os.ReadDir("/proc/self/fd")
	d.check(err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// A limit of processes is told as such.
func TestNoProcessesLeft(t *testing.T) { play(t, "nproc").finish() }

func nproc(d *daemon) {
	h := d.open(process.Options{})
	d.reap(d.start(h, d.command("p/0.1", "true")))
	before := len(descriptorsOf(d))
	refuseForks(d)
	_, err := h.Start(d.command("p/0.2", "true"))
	if started, ok := errors.AsType[*process.StartError](err); !ok || started.Step != process.StepFork || !errors.Is(err, syscall.EAGAIN) {
		d.fatal("want fork: EAGAIN, got", err)
	}
	if after := len(descriptorsOf(d)); after > before {
		d.fatal("descriptors:", before, "before,", after, "after")
	}
	h.Close()
}

// A user that this process may not become is told as such.
func TestForbiddenUser(t *testing.T) {
	needRoot(t)
	c := play(t, "user", func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 47113, Gid: 47113}}
	})
	if s := c.hear(); !strings.HasPrefix(s, "switch to user 47114:47114: ") {
		t.Error(s)
	}
	c.finish()
}

func forbiddenUser(d *daemon) {
	h := d.open(process.Options{})
	c := d.command("p/0.1", "true")
	c.Credential = &syscall.Credential{Uid: 47114, Gid: 47114}
	_, err := h.Start(c)
	if !errors.Is(err, fs.ErrPermission) {
		d.fatal("want EPERM, got", err)
	}
	d.say(err)
	h.Close()
}

// A closed host starts nothing.
func TestClosedHost(t *testing.T) { play(t, "closed").finish() }

func closed(d *daemon) {
	h := d.open(process.Options{Subreaper: true})
	h.Close()
	if _, err := h.Start(d.command("p/0.1", "true")); !errors.Is(err, process.ErrClosed) {
		d.fatal(err)
	}
}

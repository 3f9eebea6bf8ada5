package target

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCPUAndTreeSeeAProcessAndItsChildren(t *testing.T) {
	// The shell burns some time, starts a child and says so; the child ends when the pipe of its input does.
	cmd := exec.Command("/bin/sh", "-c", `i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; cat <&0 & echo $!; wait`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	tree, err := Tree(pid)
	if err != nil || len(tree) != 2 || !slices.Contains(tree, pid) {
		t.Errorf("tree of %d: %v, %v; want it and one child", pid, tree, err)
	}
	if used, err := CPU(pid); err != nil || used < time.Millisecond || used > time.Minute {
		t.Errorf("processor time: %v, %v", used, err)
	}
	if rss, err := RSS(pid); err != nil || rss < 100<<10 || rss > 100<<20 {
		t.Errorf("resident memory: %d bytes, %v", rss, err)
	}
}

func TestProcessorTimeAgreesWithTheKernelsOwnAccount(t *testing.T) {
	for began := time.Now(); time.Since(began) < 20*time.Millisecond; { // something to account for
	}
	var before, after unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &before) // can't fail
	used, err := CPU(os.Getpid())
	_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
	if err != nil {
		t.Fatal(err)
	}
	sum := func(u unix.Rusage) time.Duration { return time.Duration(u.Utime.Nano() + u.Stime.Nano()) }
	if used < sum(before)-time.Millisecond || used > sum(after)+time.Millisecond {
		t.Errorf("%v is not between %v and %v", used, sum(before), sum(after))
	}
}

func TestAbsentProcess(t *testing.T) {
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if _, err := CPU(pid); err == nil {
		t.Error("CPU: no error")
	}
	if _, err := Tree(pid); err == nil {
		t.Error("Tree: no error")
	}
	if _, err := RSS(pid); err == nil {
		t.Error("RSS: no error")
	}
}

func TestProductThatDoesNotStartIsQuoted(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "daemon")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\necho \"pool bench: no such key\" >&2\nexit 78\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Product(binary, dir, 1)
	if err == nil || !strings.Contains(err.Error(), "exit status 78") || !strings.Contains(err.Error(), "pool bench: no such key") {
		t.Fatalf("got %v, want the exit status and the output", err)
	}
}

func TestProductConfig(t *testing.T) {
	const want = `version: 1
socket: {path: "/tmp/a b/s", mode: "0600"}
limits: {max_in_flight: 512}
log: {level: warn}
pools:
  - name: bench
    command: ["/bin/supervisord", worker, demo]
    concurrency: 512
    allow_root: true
`
	if got := productConfig("/bin/supervisord", "/tmp/a b/s", 512, true); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := productConfig("/bin/supervisord", "/tmp/s", 1, false); strings.Contains(got, "root") || !strings.Contains(got, "max_in_flight: 256") {
		t.Errorf("got\n%s", got)
	}
}

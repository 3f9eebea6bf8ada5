package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/protocol"
)

// scriptWorker is a worker that costs next to nothing: it says that it has the plugin, and waits until it is told to stop.
func scriptWorker(plugin string) string {
	ready := fmt.Sprintf(`{"type":"ready","loaded_plugins":[%q]}`, plugin)
	return fmt.Sprintf("printf '\\000\\000\\000\\%03o%%s' '%s' >&4; exec cat <&3 >/dev/null", len(ready), ready)
}

// blockedProgram is a worker whose execve does not return before release is called.
func (d *testDaemon) blockedProgram(plugin string) (program string, release func()) {
	d.t.Helper()
	program = d.path("program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+scriptWorker(plugin)+"\n"), 0o755); err != nil {
		d.t.Fatal(err)
	}
	// The kernel makes who opens a file wait until a lease on it has been given up.
	lease, err := unix.Open(program, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	release = sync.OnceFunc(func() { _ = unix.Close(lease) }) // only read
	d.t.Cleanup(release)
	if _, err := unix.FcntlInt(uintptr(lease), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		d.t.Skip("no leases here:", err)
	}
	return program, release
}

// TestSlowExec: a program that takes long to be executed, as on a slow file system, holds up nobody else.
func TestSlowExec(t *testing.T) {
	d := newDaemon(t)
	program, release := d.blockedProgram("slow")
	d.configure(nil, d.command("slow", program), d.pool("text", "actor").with(object{"max_jobs_per_worker": 5}), d.pool("more", "actor"))
	d.start()
	began := time.Now()
	longest := time.Duration(0)
	for range 20 { // and some starts of other processes among them
		before := time.Now()
		d.call(protocol.MethodDaemonPing, nil, nil)
		d.act("text", acts{})
		d.act("more", acts{})
		longest = max(longest, time.Since(before))
	}
	if w := d.worker("slow/0"); w.State != protocol.WorkerStarting && w.State != protocol.WorkerInitializing || w.Incarnation != 1 {
		t.Errorf("the lease has held up nobody: %+v", w)
	}
	t.Logf("60 calls in %v, the longest three took %v", time.Since(began), longest)
	release()
	d.settle()
	if w := d.worker("slow/0"); w.State != protocol.WorkerReady || w.Incarnation != 1 {
		t.Errorf("worker %+v", w)
	}
}

// TestIdleWorkers: two hundred workers without a job cost the daemon neither threads nor processor time.
func TestIdleWorkers(t *testing.T) {
	const workers = 200
	d := newDaemon(t)
	idle := d.command("idle", "/bin/sh", "-c", scriptWorker("idle"))
	d.configure(nil, idle.with(object{"min_workers": workers, "max_workers": workers}))
	d.start()
	began := time.Now()
	d.untilWithin(4*patience, "all are ready", func() bool { return d.poolState("idle").Workers.Ready == workers })
	t.Logf("%d workers were ready after %v", workers, time.Since(began).Round(time.Millisecond))
	pid := d.status().PID
	if threads := procStatus(t, pid, "Threads"); threads >= 30 {
		t.Errorf("%d threads", threads)
	} else {
		t.Logf("%d threads, %d KiB", threads, procStatus(t, pid, "VmRSS"))
	}
	time.Sleep(time.Second) // what the start has left to do, as collecting its garbage, is not what is measured
	before := ticks(t, pid)
	time.Sleep(2 * time.Second) // the time that is measured
	used := ticks(t, pid) - before
	t.Logf("%d ticks of processor time in 2s", used)
	if used > 5 {
		t.Errorf("an idle daemon used %d ticks of processor time in 2s", used)
	}
}

// procStatus is a number of /proc/PID/status.
func procStatus(t *testing.T, pid int, key string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n"+key+":")
	value, err := strconv.Atoi(strings.Fields(rest + " 0")[0])
	if err != nil || !found {
		t.Fatalf("no %s: %v", key, err)
	}
	return value
}

// ticks is the processor time that a process has used, in hundredths of a second.
func ticks(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')'):]))
	user, err := strconv.Atoi(fields[12])
	if err != nil {
		t.Fatal(err)
	}
	system, err := strconv.Atoi(fields[13])
	if err != nil {
		t.Fatal(err)
	}
	return user + system
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/internal/workers/workertest"
	"supervisord/protocol"
	"supervisord/sdk/go/client"
)

// testDaemon is a real daemon, in a process of its own, which keeps it as it does for a user: the process that was started is
// the keeper, and the daemon is its child.
//
//	d := newDaemon(t)
//	d.configure(nil, d.pool("text", "actor"))
//	d.start()
//
// At the end of the test it is stopped, and no process that descends from it may be left.
type testDaemon struct {
	t       *testing.T
	dir     string // of its files
	socket  string
	file    string // its configuration
	mark    string // a variable that all its processes have, and no others
	cmd     *exec.Cmd
	exited  chan struct{} // closed once err is set
	err     error
	running bool // started, and its end not seen
}

// object is a part of a configuration; JSON is YAML.
type object map[string]any

// newDaemon makes a directory for a daemon. Nothing runs yet.
func newDaemon(t *testing.T) *testDaemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "sv") // not t.TempDir, whose path may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	d := &testDaemon{t: t, dir: dir, socket: filepath.Join(dir, "s"), file: filepath.Join(dir, "c.yaml"), mark: "SUPERVISORD_TEST_MARK=" + dir}
	t.Cleanup(d.cleanup)
	return d
}

func (d *testDaemon) cleanup() {
	if d.running {
		d.signal(unix.SIGTERM)
		select {
		case <-d.exited:
		case <-time.After(patience):
			d.t.Error("the daemon does not stop")
			d.signal(unix.SIGKILL)
		}
		<-d.exited
		d.running = false
	}
	if !d.t.Failed() {
		d.nothingLeft()
	}
	for _, pid := range d.processes() {
		_ = unix.Kill(pid, unix.SIGKILL) // the test has failed
	}
	if d.t.Failed() {
		log := d.log()
		d.t.Logf("log of the daemon:\n%s", log[max(0, len(log)-6000):])
	}
	_ = os.RemoveAll(d.dir) // of this test alone
}

// path is a file of the test.
func (d *testDaemon) path(name string) string { return filepath.Join(d.dir, name) }

// touch makes such a file.
func (d *testDaemon) touch(name string) {
	d.t.Helper()
	if err := os.WriteFile(d.path(name), nil, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// pool is a pool of workers in a role, which offers the plugin NAME.
func (d *testDaemon) pool(name, role string, args ...string) object {
	argv, env := workertest.Command(role, args...)
	p := d.command(name, argv...)
	p["env"] = append(env, d.mark)
	p["plugins"] = []object{{"name": name}}
	return p
}

// command is a pool of a program.
func (d *testDaemon) command(name string, argv ...string) object {
	return object{
		"name": name, "command": argv, "env": []string{d.mark, "GORACE=atexit_sleep_ms=0"}, "allow_root": true,
		"restart_backoff_base": "10ms", "restart_backoff_max": "100ms",
	}
}

// with is o with other members.
func (o object) with(members object) object {
	o = maps.Clone(o)
	maps.Copy(o, members)
	return o
}

// configure writes the configuration; settings are those outside of the pools.
func (d *testDaemon) configure(settings object, pools ...object) {
	d.t.Helper()
	all := object{"version": 1, "socket": object{"path": d.socket}, "pools": pools}.with(settings)
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		d.t.Fatal(err)
	}
	d.write(string(text))
}

// write writes a configuration as it is.
func (d *testDaemon) write(text string) {
	d.t.Helper()
	if err := os.WriteFile(d.file, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// environment is that of the processes that a test starts.
func (d *testDaemon) environment() []string {
	return append(os.Environ(), d.mark, "GORACE=atexit_sleep_ms=0", "SUPERVISORD_SOCKET="+d.socket)
}

// start starts the daemon and waits until it answers.
func (d *testDaemon) start() {
	d.t.Helper()
	log, err := os.OpenFile(d.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command("supervisord", "serve", "--config", d.file)
	d.cmd.Env, d.cmd.Stdout, d.cmd.Stderr = d.environment(), log, log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.running, d.exited = true, make(chan struct{})
	go func() { // cleanup waits for it
		d.err = d.cmd.Wait()
		close(d.exited)
	}()
	d.until("the daemon answers", func() bool {
		select {
		case <-d.exited:
			d.t.Fatalf("the daemon has ended: %v", d.err)
		default:
		}
		return ping(d.socket) == nil
	})
}

// until waits for what nothing tells of.
func (d *testDaemon) until(what string, reached func() bool) {
	d.t.Helper()
	d.untilWithin(patience, what, reached)
}

func (d *testDaemon) untilWithin(limit time.Duration, what string, reached func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(limit); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("waited in vain until %s", what)
		}
	}
}

func (d *testDaemon) signal(s unix.Signal) {
	if err := d.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		d.t.Error(err)
	}
}

// ended waits until the daemon has, which was said before, and returns its exit status.
func (d *testDaemon) ended() int {
	d.t.Helper()
	select {
	case <-d.exited:
	case <-time.After(patience):
		d.t.Fatal("the daemon does not end")
	}
	d.running = false
	return d.cmd.ProcessState.ExitCode()
}

// dial connects to the daemon until the end of the test.
func (d *testDaemon) dial() *client.Client {
	d.t.Helper()
	c, err := client.Dial(d.t.Context(), d.socket)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	return c
}

// call calls a method that succeeds.
func (d *testDaemon) call(method string, params, result any) {
	d.t.Helper()
	if err := d.try(method, params, result); err != nil {
		d.t.Fatalf("%s: %v", method, err)
	}
}

// try calls a method on a connection of its own.
func (d *testDaemon) try(method string, params, result any) error {
	d.t.Helper()
	ctx, cancel := contextWithPatience()
	defer cancel()
	c, err := client.Dial(ctx, d.socket)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Call(ctx, method, params, result)
}

// act runs a job of an actor, which succeeds.
func (d *testDaemon) act(plugin string, a acts) acted {
	d.t.Helper()
	ctx, cancel := contextWithPatience()
	defer cancel()
	result, err := d.dial().Execute(ctx, client.Execute{Plugin: plugin, Params: a})
	if err != nil {
		d.t.Fatalf("%s: %v", plugin, err)
	}
	var answer acted
	if err := result.Bind(&answer); err != nil {
		d.t.Fatal(err)
	}
	return answer
}

// begin runs a job whose end is told later.
func (d *testDaemon) begin(c *client.Client, e client.Execute) <-chan error {
	done := make(chan error, 1)
	go func() { // the end of the test's client ends it
		_, err := c.Execute(d.t.Context(), e)
		done <- err
	}()
	return done
}

// fails waits for the error of the daemon that a call has to end with.
func (d *testDaemon) fails(done <-chan error, code protocol.Code) *protocol.Error {
	d.t.Helper()
	var err error
	select {
	case err = <-done:
	case <-time.After(patience):
		d.t.Fatal("the call has no answer")
	}
	return d.failed(err, code)
}

// failed is the daemon's error, with this code.
func (d *testDaemon) failed(err error, code protocol.Code) *protocol.Error {
	d.t.Helper()
	failure, ok := errors.AsType[*protocol.Error](err)
	if !ok || failure.Code != code {
		d.t.Fatalf("error %v, want code %d", err, code)
	}
	return failure
}

// refuses is failed where nothing but the code is of interest.
func (d *testDaemon) refuses(err error, code protocol.Code) {
	d.t.Helper()
	_ = d.failed(err, code) // which fails the test
}

func (d *testDaemon) status() protocol.DaemonStatus {
	d.t.Helper()
	var s protocol.DaemonStatus
	d.call(protocol.MethodDaemonStatus, nil, &s)
	return s
}

func (d *testDaemon) workers() []protocol.Worker {
	d.t.Helper()
	var list protocol.WorkerListResult
	d.call(protocol.MethodWorkerList, nil, &list)
	return list.Workers
}

// worker is one that there is.
func (d *testDaemon) worker(id string) protocol.Worker {
	d.t.Helper()
	for _, w := range d.workers() {
		if w.Worker == id {
			return w
		}
	}
	d.t.Fatalf("there is no worker %s", id)
	return protocol.Worker{}
}

func (d *testDaemon) poolState(name string) protocol.Pool {
	d.t.Helper()
	var p protocol.Pool
	d.call(protocol.MethodPoolGet, protocol.PoolParams{Pool: name}, &p)
	return p
}

// settle waits until all pools are ready.
func (d *testDaemon) settle() {
	d.t.Helper()
	d.until("the daemon is ready", func() bool { return d.status().State == protocol.DaemonReady })
}

// cli runs the program as a user does.
func (d *testDaemon) cli(args ...string) (stdout, stderr string, code int) {
	d.t.Helper()
	var out, errs bytes.Buffer
	c := exec.Command("supervisord", args...)
	c.Env, c.Stdout, c.Stderr = d.environment(), &out, &errs
	if err := c.Run(); c.ProcessState == nil {
		d.t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// log is what the daemon has said.
func (d *testDaemon) log() string {
	text, err := os.ReadFile(d.path("log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// processes are the daemon's and all that descend from it.
func (d *testDaemon) processes() []int {
	d.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		d.t.Fatal(err)
	}
	mark := []byte(d.mark + "\x00")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if env, err := os.ReadFile("/proc/" + e.Name() + "/environ"); err == nil && bytes.Contains(env, mark) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// nothingLeft waits until no process is left.
func (d *testDaemon) nothingLeft() {
	d.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		pids := d.processes()
		if len(pids) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, pid := range pids {
				line, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline") // gone is as good
				d.t.Errorf("left behind: %d %s", pid, strings.ReplaceAll(string(line), "\x00", " "))
			}
			return
		}
	}
}

// exists reports whether there is such a file.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

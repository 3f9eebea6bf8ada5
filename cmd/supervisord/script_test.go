package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"supervisord/internal/process"
	"supervisord/protocol"
	"supervisord/sdk/go/client"
)

// patience is how long a test waits for what must happen; never how long it takes.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	process.Main()
	workerMain(m)
	testscript.Main(m, map[string]func(){"supervisord": main})
}

// TestScripts runs testdata/script with the real program. Commands beside testscript's own:
//
//	exits CODE PROGRAM ARG...    exec that wants this exit code, or this signal (INT)
//	fake FILE                    a fake daemon at $SUPERVISORD_SOCKET that plays FILE, see fake_test.go
//	ready                        waits until a daemon answers daemon.ping at $SUPERVISORD_SOCKET
//	background NAME ARG...       starts the program
//	signal NAME SIGNAL           sends a signal to it
//	finish NAME CODE             waits for its end, which must have this exit code; its output is stdout and stderr then
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// Not in the working directory, whose path may be too long for a socket.
			dir, err := os.MkdirTemp("", "sv")
			if err != nil {
				return err
			}
			env.Defer(func() { os.RemoveAll(dir) })
			env.Setenv("SUPERVISORD_SOCKET", filepath.Join(dir, "s"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each process of a race-enabled build ends a second late
			env.Values[backgroundKey{}] = map[string]*background{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits, "ready": scriptReady,
			"fake":       func(ts *testscript.TestScript, neg bool, args []string) { scriptFake(t, ts, neg, args) },
			"background": scriptBackground, "signal": scriptSignal, "finish": scriptFinish,
		},
	})
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	wantExit(ts, ts.Exec(args[1], args[2:]...), args[0])
}

func wantExit(ts *testscript.TestScript, err error, want string) {
	got := "0"
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		status, _ := exit.Sys().(syscall.WaitStatus)
		got = strconv.Itoa(exit.ExitCode())
		if status.Signaled() {
			got = strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")
		}
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit %s, want %s", got, want)
	}
}

func scriptReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: ready")
	}
	socket := ts.Getenv("SUPERVISORD_SOCKET")
	deadline := time.Now().Add(patience)
	for {
		err := ping(socket)
		if err == nil {
			return
		}
		for name, b := range backgroundOf(ts) {
			select {
			case <-b.exited:
				ts.Fatalf("%s has ended: %v\n%s", name, b.err, b.stderr.String())
			default:
			}
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no daemon: %v", err)
		}
		time.Sleep(10 * time.Millisecond) // nothing tells that a socket has come into being
	}
}

func ping(socket string) error {
	ctx, cancel := contextWithPatience()
	defer cancel()
	c, err := client.Dial(ctx, socket)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Call(ctx, protocol.MethodDaemonPing, nil, nil)
}

// background is a program that runs beside the script.
type background struct {
	cmd            *exec.Cmd
	stdout, stderr strings.Builder
	exited         chan struct{} // closed once err is set
	err            error
}

type backgroundKey struct{}

func backgroundOf(ts *testscript.TestScript) map[string]*background {
	return ts.Value(backgroundKey{}).(map[string]*background)
}

func scriptBackground(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: background NAME ARG...")
	}
	b := &background{cmd: exec.Command("supervisord", args[1:]...), exited: make(chan struct{})}
	b.cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"HOME", "PATH", "TMPDIR", "GORACE", "SUPERVISORD_SOCKET", "SUPERVISORD_CONFIG"} {
		if value := ts.Getenv(name); value != "" {
			b.cmd.Env = append(b.cmd.Env, name+"="+value)
		}
	}
	b.cmd.Stdout, b.cmd.Stderr = &b.stdout, &b.stderr
	ts.Check(b.cmd.Start())
	go func() { // the deferred Kill ends it
		b.err = b.cmd.Wait()
		close(b.exited)
	}()
	backgroundOf(ts)[args[0]] = b
	ts.Defer(func() {
		_ = b.cmd.Process.Kill() // it may have ended
		<-b.exited
	})
}

func scriptSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || backgroundOf(ts)[args[0]] == nil {
		ts.Fatalf("usage: signal NAME SIGNAL")
	}
	ts.Check(backgroundOf(ts)[args[0]].cmd.Process.Signal(unix.SignalNum("SIG" + args[1])))
}

func scriptFinish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || backgroundOf(ts)[args[0]] == nil {
		ts.Fatalf("usage: finish NAME CODE")
	}
	b := backgroundOf(ts)[args[0]]
	select {
	case <-b.exited:
	case <-time.After(patience):
		ts.Fatalf("%s has not ended", args[0])
	}
	_, err := ts.Stdout().Write([]byte(b.stdout.String()))
	ts.Check(err)
	_, err = ts.Stderr().Write([]byte(b.stderr.String()))
	ts.Check(err)
	wantExit(ts, b.err, args[1])
}

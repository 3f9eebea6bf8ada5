package dispatch_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/internal/jobs"
	"supervisord/internal/process"
	"supervisord/internal/workers"
	"supervisord/internal/workers/workertest"
	"supervisord/protocol"
)

// shortStop is the stop timeout of a worker that exceeds it.
const shortStop = 20 * time.Millisecond

// release is how the test ends a job whose worker hangs.
type release uint8

const (
	byItself release = iota // it need not
	byGate                  // it lets the worker go on
	byCancel
	byForce
)

// next is who serves the call after the bad one; nobody where it is one that the pool does not recover from by itself.
type next uint8

const (
	sameProcess next = iota
	newProcess
	nobody
)

// badWorker is one kind of bad worker, whose role has its name, and what its callers are to see of it.
type badWorker struct {
	kind string
	// change is what its pool has beyond the usual.
	change func(*setup)
	// mend is what makes a start possible that was not, in a directory of the test's; nil: there is the file that a role
	// of atStart looks for.
	mend func(t *testing.T, dir string)
	// timeout is that of the bad call; large says that its params are as much as a message may hold.
	timeout time.Duration
	large   bool
	// inState is how the test knows that the worker hangs: by the state of its process; "": by its first chunk.
	inState string
	until   release

	// The answer: a code, 0 for a success, the cause, a part of its message and the last line of the stderr that comes
	// with it; how a cancel ended it; how many chunks came before.
	code   protocol.Code
	cause  protocol.Cause
	text   string
	stderr string
	how    protocol.How
	chunks int

	next next
	// ignored and dropped are how many messages the pool counts as such.
	ignored, dropped uint64
	// stop is how the exit of a stopped worker is told; "": like that of any other.
	stop string
	// subreaper: it leaves processes behind that only a subreaper gets hold of.
	subreaper bool
}

const (
	died        = protocol.CodeWorkerDied
	unavailable = protocol.CodePoolUnavailable
	cancelled   = protocol.CodeCancelled
	tooLarge    = protocol.CodeResultTooLarge
	late        = protocol.CodeDeadlineExceeded

	byExit     = protocol.CauseExit
	bySignal   = protocol.CauseSignal
	byProtocol = protocol.CauseProtocol
)

var badWorkers = []badWorker{
	// The first call waits for the start and is told why there is none; when the fault is mended, the pool heals itself.
	{kind: "exits 0 at start", code: unavailable, text: "exited with status 0 before it was ready", next: newProcess},
	{
		kind: "exits 3 at start", code: unavailable, text: "exited with status 3 before it was ready",
		stderr: "cannot load the model", next: newProcess,
	},
	{kind: "asks not to be restarted", code: unavailable, text: "exited with status 125", next: nobody},
	{kind: "crashes at start", code: unavailable, text: "killed by SIGSEGV", next: newProcess},
	{kind: "is never ready", change: startTimeout, code: unavailable, text: "not ready within 500ms", next: newProcess},
	{kind: "is stopped at start", change: startTimeout, code: unavailable, text: "not ready within 500ms", next: newProcess},
	{kind: "hangs at start", inState: "S", until: byCancel, code: cancelled, how: protocol.HowQueued, next: nobody},
	{
		kind: "is not there", change: command, mend: link(executable()),
		code: unavailable, text: "no such file or directory", next: newProcess,
	},
	{
		kind: "is not executable", change: command, mend: link(executable()),
		code: unavailable, text: "permission denied", next: newProcess,
	},
	{
		kind: "has no directory", change: func(s *setup) { s.Directory = filepath.Dir(s.args[0]) + "/it" }, mend: link("/"),
		code: unavailable, text: "directory", next: newProcess,
	},
	{kind: "garbage at start", code: unavailable, text: "frame begins with a byte other than '{'", next: newProcess},
	{kind: "text at start", code: unavailable, text: `wrote text where a frame should begin: "Loading checkpoint`, next: newProcess},
	{kind: "result before ready", code: unavailable, text: "result message before ready", next: newProcess},
	{kind: "chunk before ready", code: unavailable, text: "stream_chunk message before ready", next: newProcess},
	{kind: "ready is ill-typed", code: unavailable, text: `"loaded_plugins"`, next: newProcess},
	{kind: "ready is incomplete", code: unavailable, text: `member "loaded_plugins" is missing`, next: newProcess},
	{kind: "ready is torn", code: unavailable, text: "exited with status 1 before it was ready", next: newProcess},
	{kind: "has loaded nothing", code: unavailable, text: `plugin "bad"`, next: nobody},
	{
		kind: "closes its answers at start", code: unavailable, text: "closed its response pipe and did not exit",
		next: newProcess,
	},

	{kind: "exits in a reload", next: newProcess},
	{
		kind: "hangs in a reload", change: func(s *setup) { s.ReloadTimeout = 100 * time.Millisecond },
		next: newProcess,
	},

	// The next call, which waits already, gets the worker's next process.
	{kind: "exits 0", code: died, cause: byExit, text: "exited with status 0", next: newProcess},
	{kind: "exits 7", code: died, cause: byExit, text: "exited with status 7", next: newProcess},
	{kind: "SIGKILL", code: died, cause: bySignal, text: "killed by SIGKILL", next: newProcess},
	{kind: "SIGSEGV", code: died, cause: bySignal, text: "killed by SIGSEGV", next: newProcess},
	{kind: "SIGABRT", code: died, cause: bySignal, text: "killed by SIGABRT", next: newProcess},
	{kind: "its group", code: died, cause: bySignal, text: "killed by SIGTERM", next: newProcess},
	{kind: "exits in mid stream", code: died, cause: byExit, text: "exited with status 0", chunks: 3, next: newProcess},
	{kind: "SIGKILL in mid stream", code: died, cause: bySignal, text: "killed by SIGKILL", chunks: 100, next: newProcess},
	{kind: "SIGSEGV in mid stream", code: died, cause: bySignal, text: "killed by SIGSEGV", chunks: 3, next: newProcess},
	{kind: "exits inside a frame", code: died, cause: byExit, text: "exited with status 4", next: newProcess},
	{kind: "exits after its result", next: newProcess},
	{kind: "says why and exits", code: died, cause: byExit, text: "exited with status 1: CUDA out of memory", next: newProcess},
	{
		kind: "last words without a newline", code: died, cause: bySignal, text: "killed by SIGKILL", stderr: "last words",
		next: newProcess,
	},
	{
		kind: "floods stderr and crashes", code: died, cause: bySignal, text: "killed by SIGABRT", stderr: "the final line",
		next: newProcess,
	},
	{kind: "leaks memory and exits", code: died, cause: byExit, text: "exited with status 9", next: newProcess},

	{kind: "nonsense", code: died, cause: byProtocol, text: "invalid JSON", next: newProcess},
	{kind: "two objects", code: died, cause: byProtocol, text: "invalid JSON", next: newProcess},
	{kind: "array", code: died, cause: byProtocol, text: "frame begins with a byte other than '{'", next: newProcess},
	{kind: "empty frame", code: died, cause: byProtocol, text: "frame of no bytes", next: newProcess},
	{kind: "no type", code: died, cause: byProtocol, text: `"type" is missing`, next: newProcess},
	{kind: "second ready", code: died, cause: byProtocol, text: "second ready message", next: newProcess},
	{kind: "unknown status", code: died, cause: byProtocol, text: `"status"`, next: newProcess},
	{kind: "no status", code: died, cause: byProtocol, text: `"status" is missing`, next: newProcess},
	{kind: "no chunk", code: died, cause: byProtocol, text: `"chunk" is missing`, next: newProcess},
	{kind: "job_id is a number", code: died, cause: byProtocol, text: `"job_id"`, next: newProcess},
	{kind: "no job_id", code: died, cause: byProtocol, text: `"job_id" is missing`, next: newProcess},
	{kind: "duplicate member", code: died, cause: byProtocol, text: `"job_id" stands twice`, next: newProcess},
	{kind: "invalid UTF-8", code: died, cause: byProtocol, text: "UTF-8", next: newProcess},
	{kind: "NaN", code: died, cause: byProtocol, text: "invalid JSON", next: newProcess},
	{kind: "too deep", code: died, cause: byProtocol, text: "deep", next: newProcess},
	{kind: "text", code: died, cause: byProtocol, text: `wrote text where a frame should begin: "Epoch 1/10`, next: newProcess},
	{
		kind: "lines instead of frames", code: died, cause: byProtocol, text: `wrote text where a frame should begin: "{`,
		next: newProcess,
	},
	{kind: "frame of 2 GiB", code: died, cause: byProtocol, text: "frame of 2147483648 bytes is over the limit", next: newProcess},
	{kind: "says that its answer is 2 GiB", code: tooLarge, text: "longer than a message may be", next: nobody},
	{kind: "result too large", code: tooLarge, text: "longer than a message may be"},
	{kind: "chunk too large", code: tooLarge, text: "longer than a message may be", next: newProcess},

	{kind: "closes its answers", code: died, cause: byProtocol, text: "closed its response pipe and did not exit", next: newProcess},
	{kind: "closes both pipes", code: died, cause: byProtocol, text: "pipe and did not exit", next: newProcess},
	{
		kind: "closes its answers inside a frame", code: died, cause: byProtocol,
		text: "closed its response pipe inside a frame and did not exit", next: newProcess,
	},
	{kind: "closes its requests", next: newProcess},
	{kind: "closes its requests and hangs", until: byCancel, code: cancelled, how: protocol.HowTerminated, chunks: 1, next: newProcess},

	{kind: "closes stdout and stderr"},
	{kind: "sets O_NONBLOCK"},
	{kind: "slow frame", until: byGate, chunks: 1},
	{kind: "answers twice", dropped: 1},
	{kind: "answers an unknown job", dropped: 2},
	{kind: "goes on after its result", dropped: 2},
	{kind: "progress is ill-typed"},
	{kind: "error is ill-typed", code: protocol.CodeJobFailed, text: "no more than that the job failed"},
	{kind: "unknown messages", ignored: 100_000},
	{kind: "chunks of unknown jobs", dropped: 100_000},
	{kind: "log messages"},
	{kind: "the daemon's messages", ignored: 4},
	{kind: "says that it dies and lives"},
	{kind: "binary on stdout"},
	{kind: "floods stdout with lines", until: byGate, chunks: 1},
	{kind: "floods stdout without a newline", until: byGate, chunks: 1},
	{kind: "leaves a child and lives"},

	{kind: "hangs", until: byForce, code: cancelled, how: protocol.HowKilled, chunks: 1, next: newProcess},
	{
		kind: "overruns its time", timeout: 100 * time.Millisecond,
		code: late, text: "exceeded in phase run", next: newProcess,
	},
	{
		kind: "goes silent", change: func(s *setup) { s.StallTimeout = 500 * time.Millisecond },
		code: died, cause: protocol.CauseStalled, chunks: 1, next: newProcess,
	},
	{kind: "ignores SIGTERM", until: byCancel, code: cancelled, how: protocol.HowKilled, chunks: 1, next: newProcess},
	{
		kind: "ignores its cancel", change: func(s *setup) { s.CancelGrace = 20 * time.Millisecond },
		until: byCancel, code: cancelled, how: protocol.HowTerminated, chunks: 1, next: newProcess,
	},
	{kind: "stops itself", inState: "T", until: byCancel, code: cancelled, how: protocol.HowTerminated, chunks: 1, next: newProcess},
	{
		kind: "never reads", large: true, inState: "S",
		until: byCancel, code: cancelled, how: protocol.HowTerminated, next: newProcess,
	},
	{kind: "hangs inside a frame", until: byCancel, code: cancelled, how: protocol.HowTerminated, chunks: 1, next: newProcess},
	{
		kind: "hangs after a header of 2 GiB", until: byCancel, code: cancelled, how: protocol.HowTerminated, chunks: 1,
		next: newProcess,
	},
	{kind: "fork storm", until: byCancel, code: cancelled, how: protocol.HowTerminated, chunks: 1, next: newProcess},

	{kind: "a child holds the pipes", code: died, cause: byExit, text: "exited with status 3", next: newProcess},
	{kind: "a child in its own group", subreaper: true, code: died, cause: byExit, text: "exited with status 3", next: newProcess},
	{kind: "a child in its own session", subreaper: true, code: died, cause: byExit, text: "exited with status 3", next: newProcess},
	{kind: "a daemon", subreaper: true, code: died, cause: byExit, text: "exited with status 3", next: newProcess},
	{kind: "a daemon, and lives", subreaper: true},

	{kind: "exits 1 on stop", stop: "stopped: exited with status 1"},
	{kind: "takes its time to stop", change: func(s *setup) { s.StopTimeout = shortStop }, stop: "stopped: killed by SIGTERM"},
}

func startTimeout(s *setup) { s.StartTimeout = 500 * time.Millisecond }

// command makes the command one in the test's directory.
func command(s *setup) { s.Command[0] = filepath.Dir(s.args[0]) + "/it" }

func executable() string {
	exe, _ := os.Executable() // where it fails, workertest.Command has the same trouble
	return exe
}

// link puts what is missing in its place.
func link(target string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Symlink(target, dir+"/new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir+"/new", dir+"/it"); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever a worker does: its callers get one answer each, which says what it was; the pool beside it serves on with the
// process that it has; the next call is served again; and nothing is left behind.
func TestBadWorkers(t *testing.T) {
	known := map[string]bool{}
	for i := range badWorkers {
		w := &badWorkers[i]
		known[w.kind] = true
		t.Run(w.kind, w.test)
	}
	for kind := range badRoles {
		if !known[kind] {
			t.Errorf("no test of the kind %q", kind)
		}
	}
}

func (w *badWorker) test(t *testing.T) {
	if w.subreaper { // nobody reaps the orphans of later tests
		t.Cleanup(func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
	}
	f := newFixture(t, nil)
	if w.subreaper {
		f.adopt(t)
	}
	mark := newMark()
	dir := t.TempDir()
	f.add("good", "echo", func(s *setup) { s.PoolSpec.Plugins = []string{"good"} })
	bad := f.add("bad", w.kind, func(s *setup) {
		s.PoolSpec.Plugins = []string{"bad"}
		if w.atStart() { // the first failure opens the circuit, and the pool heals soon
			s.MaxRestartAttempts, s.RestartBackoffMax = 0, 20*time.Millisecond
		}
		s.args = []string{dir + "/mended"}
		s.Command, s.Env = workertest.Command(s.role, s.args...)
		s.Env = append(s.Env, string(mark))
		if w.change != nil {
			w.change(s)
		}
	})
	if w.kind == "is not executable" {
		if err := os.WriteFile(dir+"/it", []byte("#!/bin/sh\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	end := f.keepCalling(t)

	w.misbehave(t, f, bad, dir)
	if s := bad.Stats(); s.IgnoredMessages != w.ignored || s.DroppedAnswers != w.dropped {
		t.Errorf("stats %+v, want %d ignored, %d dropped", s, w.ignored, w.dropped)
	}
	if w.stop != "" {
		bad.Stop(t.Context())
		if exit := bad.List()[0].LastExit; exit == nil || exit.Message != w.stop {
			t.Errorf("last exit %+v, want %s", exit, w.stop)
		}
	}
	if err := errors.Join(end(), f.callGood()); err != nil {
		t.Error(err)
	}
	f.close()
	mark.nothingLeft(t)
	if n := f.logs.Len(); n > 2000 {
		t.Errorf("%d log entries", n)
	}
}

// atStart reports whether its jobs do not reach it.
func (w *badWorker) atStart() bool { return w.code == unavailable || w.how == protocol.HowQueued }

// misbehave is the bad call and the one after it.
func (w *badWorker) misbehave(t *testing.T, f *fixture, bad *workers.Pool, dir string) {
	t.Helper()
	if !w.atStart() {
		f.settled()
	}
	var g gate
	params := "{}"
	switch {
	case w.until == byGate:
		g = newGate(t)
		params = `{"gate":"` + string(g) + `"}`
	case w.large:
		params = `{"pad":"` + strings.Repeat("x", 1<<20-100) + `"}`
	}
	c := f.start(jobs.Spec{Plugin: "bad", Stream: true, Params: []byte(params), Timeout: w.timeout})
	var after *call
	if !w.atStart() && w.next != nobody {
		after = f.start(jobs.Spec{Plugin: "bad"}) // waits already
	}
	if w.until != byItself {
		w.awaitState(t, c, bad)
		for range 5 {
			if err := f.callGood(); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-c.done:
			t.Fatalf("answered %v before its end", c.err)
		default:
		}
	}
	switch w.until {
	case byItself:
	case byGate:
		g.open(t)
	case byCancel, byForce:
		c.cancel(protocol.ByCaller, w.until == byForce)
	}
	w.answer(t, c)
	switch {
	case w.next == nobody:
		return
	case w.atStart():
		after = w.heal(t, f, dir)
	default:
		after.succeed("{}")
	}
	a := after.job.Record().Attempts
	if fresh := a[len(a)-1].Incarnation > 1; fresh != (w.next == newProcess) || len(a) != 1 {
		t.Errorf("the next call was tried as %+v", a)
	}
}

// awaitState waits until the worker does what is bad.
func (w *badWorker) awaitState(t *testing.T, c *call, bad *workers.Pool) {
	t.Helper()
	if w.chunks > 0 {
		c.produced(1)
	}
	if w.inState == "" {
		return
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		pid := bad.List()[0].PID
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if pid != 0 && err == nil && bytes.Contains(stat, []byte(") "+w.inState+" ")) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d is not in state %s: %s, %v", pid, w.inState, stat, err)
		}
	}
}

// answer checks the answer of the bad call.
func (w *badWorker) answer(t *testing.T, c *call) {
	t.Helper()
	if w.code == 0 {
		if err := c.wait(); err != nil {
			t.Fatalf("error %v of %+v", err, err.Data)
		}
		return
	}
	err := c.fail(w.code)
	d := err.Data
	if text := err.Message + d.Reason; d.Cause != w.cause || !strings.Contains(text, w.text) {
		t.Errorf("error %v of %+v; want the cause %q and %s", err, d, w.cause, w.text)
	}
	if n := len(d.StderrTail); w.stderr != "" && (n == 0 || d.StderrTail[n-1] != w.stderr) {
		t.Errorf("stderr %q, want %q last", d.StderrTail, w.stderr)
	}
	if w.how != "" && (d.How == nil || *d.How != w.how) {
		t.Errorf("error %v of %+v; want how %s", err, d, w.how)
	}
	if c.all != int64(w.chunks) || len(c.chunks) != w.chunks {
		t.Errorf("chunks %q, told of %d, want %d", c.chunks, c.all, w.chunks)
	}
}

// heal mends a start and returns the call that is served then.
func (w *badWorker) heal(t *testing.T, f *fixture, dir string) *call {
	t.Helper()
	if w.mend != nil {
		w.mend(t, dir)
	} else if err := os.WriteFile(dir+"/mended", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		c := f.start(jobs.Spec{Plugin: "bad"})
		if err := c.wait(); err == nil {
			return c
		} else if err.Code != unavailable || time.Now().After(deadline) {
			t.Fatalf("error %v of %+v", err, err.Data)
		}
	}
}

// adopt gives the fixture a host that adopts the orphans of its workers.
func (f *fixture) adopt(t *testing.T) {
	t.Helper()
	host, err := process.Open(process.Options{Subreaper: true})
	if err != nil {
		t.Fatal(err)
	}
	f.host.Close()
	f.host = host
}

// keepCalling calls the good pool until the function that it returns is called, at the latest at the end of the test.
// That says what was wrong with a call.
func (f *fixture) keepCalling(t *testing.T) (end func() error) {
	t.Helper()
	stop := make(chan struct{})
	var calls sync.WaitGroup
	var err error
	calls.Go(func() {
		for err == nil {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond): // leave the machine to the bad worker
			}
			err = f.callGood()
		}
	})
	end = sync.OnceValue(func() error {
		close(stop)
		calls.Wait()
		return err
	})
	t.Cleanup(func() { _ = end() }) // told already
	return end
}

// callGood calls the good pool and checks that its first process answers.
func (f *fixture) callGood() error {
	c := f.start(jobs.Spec{Plugin: "good"})
	select {
	case <-c.done:
	case <-time.After(patience):
		return errors.New("a call of the good pool waits")
	}
	if c.err != nil {
		return fmt.Errorf("a call of the good pool: %w", c.err)
	}
	if a := c.job.Record().Attempts; len(a) != 1 || a[0].Incarnation != 1 || a[0].Worker != "good/0" {
		return fmt.Errorf("a call of the good pool was tried as %+v", a)
	}
	return nil
}

// A thousand workers that crash, with several callers at once: each call gets one answer, with the last words of the
// process that it was given to.
func TestThousandCrashes(t *testing.T) {
	crashes := int64(1000)
	if testing.Short() || withRaceDetector() { // under which each process takes four times as long to start
		crashes = 100
	}
	f := newFixture(t, nil)
	f.add("text", "actor", func(s *setup) {
		s.MinWorkers, s.PoolSpec.MaxWorkers = 4, 4
		s.MaxRestartAttempts = math.MaxInt
	})
	var calls sync.WaitGroup
	var made atomic.Int64
	for range 8 {
		calls.Go(func() {
			for i := made.Add(1); i <= crashes && !t.Failed(); i = made.Add(1) {
				f.crash(i)
			}
		})
	}
	calls.Wait()
	if c := f.registry.Counts(); c.Failed != crashes {
		t.Errorf("counts %+v", c)
	}
}

// crash is one call that kills its worker, which says something of its own before.
func (f *fixture) crash(i int64) {
	f.t.Helper()
	words, how := fmt.Sprintf("the words of crash %d", i), `"exit":3`
	if i%2 == 0 {
		how = `"signal":9`
	}
	c := f.run(`{"stderr":"` + words + `",` + how + `}`)
	select {
	case <-c.done:
	case <-time.After(patience):
		f.t.Errorf("crash %d: no answer", i)
		return
	}
	switch err := c.err; {
	case err == nil || err.Code != died || !slices.Equal(err.Data.StderrTail, []string{words}):
		f.t.Errorf("crash %d: error %v of %+v", i, err, err.Data)
	case i%2 == 0 && err.Data.Signal != "SIGKILL", i%2 == 1 && (err.Data.ExitCode == nil || *err.Data.ExitCode != 3):
		f.t.Errorf("crash %d: error %v of %+v", i, err, err.Data)
	}
}

// withRaceDetector reports whether this binary was built with -race.
func withRaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

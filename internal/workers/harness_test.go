package workers_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"supervisord/internal/outq"
	"supervisord/internal/process"
	"supervisord/internal/workers"
	"supervisord/internal/workers/workertest"
	"supervisord/protocol"
)

func TestMain(m *testing.M) { workertest.Main(m, roles) }

// patience is what a test waits for an event that has to come.
const patience = 20 * time.Second

// fixture is a pool of real processes, and what its sink and its jobs were told, in order.
type fixture struct {
	t    *testing.T
	pool *workers.Pool
	logs *observer.ObservedLogs
	ups  chan *workers.Incarnation

	options workers.Options // of the pool
	rollErr error           // of the last "not rolled"
	askErr  *workers.AskError

	mu     sync.Mutex
	events []string
	more   chan struct{}
	jobs   int
}

// newFixture makes a pool in the role that change may replace; it is stopped at the end, and must leave nothing behind.
func newFixture(t *testing.T, change func(*workers.Options), role string, args ...string) *fixture {
	t.Helper()
	workertest.NoLeaks(t)
	core, logs := observer.New(zapcore.DebugLevel)
	argv, env := workertest.Command(role, args...)
	f := &fixture{t: t, logs: logs, more: make(chan struct{}, 1), ups: make(chan *workers.Incarnation, 100)}
	host, err := process.Open(process.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := workers.Options{
		Host: host, Name: "p", Command: argv, Directory: "/", Env: env, LookupEnv: os.LookupEnv,
		MaxWorkers: 1, Concurrency: 1, MaxMessage: 1 << 20,
		Policy: workers.PolicyNever, MaxRestartAttempts: 3, RestartBackoffBase: time.Millisecond, RestartBackoffMax: time.Hour,
		StartTimeout: patience, CancelGrace: patience, DrainGrace: patience, StopTimeout: patience,
		Sink: f, Log: zap.New(core, zap.Development()),
	}
	if change != nil {
		change(&o)
	}
	pool, err := workers.New(o)
	if err != nil {
		t.Fatal(err)
	}
	f.pool, f.options = pool, o
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond) //nolint:usetesting // t.Context has ended
		defer cancel()
		pool.Stop(ctx)
		host.Close()
		if n := pool.Stats().IllegalEvents; n > 0 {
			t.Errorf("%d illegal events", n)
		}
		if t.Failed() {
			for _, e := range logs.All() {
				t.Log(e.Message, e.ContextMap())
			}
		}
	})
	return f
}

// up starts a worker and waits until it is ready.
func (f *fixture) up(slot int) *workers.Incarnation {
	f.t.Helper()
	f.pool.Start(slot)
	return f.nextUp()
}

func (f *fixture) nextUp() *workers.Incarnation {
	f.t.Helper()
	select {
	case inc := <-f.ups:
		f.expect(fmt.Sprintf("up %d", inc.Number()))
		return inc
	case <-time.After(patience):
		f.t.Fatalf("no worker came up; events %q", f.take())
		return nil
	}
}

func (f *fixture) say(format string, args ...any) {
	f.mu.Lock()
	f.events = append(f.events, fmt.Sprintf(format, args...))
	f.mu.Unlock()
	select {
	case f.more <- struct{}{}:
	default:
	}
}

func (f *fixture) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	events := f.events
	f.events = nil
	return events
}

// next is the next event.
func (f *fixture) next() string {
	f.t.Helper()
	deadline := time.After(patience)
	for {
		f.mu.Lock()
		if len(f.events) > 0 {
			e := f.events[0]
			f.events = f.events[1:]
			f.mu.Unlock()
			return e
		}
		f.mu.Unlock()
		select {
		case <-f.more:
		case <-deadline:
			f.t.Fatal("no event came")
		}
	}
}

// expect waits for just these events in this order. One that ends with "*" is a beginning.
func (f *fixture) expect(want ...string) {
	f.t.Helper()
	for _, w := range want {
		got := f.next()
		if prefix, ok := strings.CutSuffix(w, "*"); got != w && (!ok || !strings.HasPrefix(got, prefix)) {
			f.t.Fatalf("event %q, want %q; then %q", got, w, f.take())
		}
	}
}

// expectMixed waits for these events, those about jobs in their order and the others in theirs: the reader of a link and
// the owner of its worker do not wait for each other.
func (f *fixture) expectMixed(want ...string) {
	f.t.Helper()
	got := make([]string, len(want))
	for i := range want {
		got[i] = f.next()
	}
	aboutJob := func(s string) bool { return strings.HasPrefix(s, "j") }
	for _, events := range [][]string{got, want} {
		slices.SortStableFunc(events, func(a, b string) int {
			switch {
			case aboutJob(a) == aboutJob(b):
				return 0
			case aboutJob(a):
				return -1
			}
			return 1
		})
	}
	if !slices.Equal(got, want) {
		f.t.Fatalf("events %q, want %q", got, want)
	}
}

// expectAll waits for these events in any order: several goroutines tell of them.
func (f *fixture) expectAll(want ...string) {
	f.t.Helper()
	got := make([]string, len(want))
	for i := range want {
		got[i] = f.next()
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		f.t.Fatalf("events %q, want %q", got, want)
	}
}

// upAmong waits for a worker that comes up among other events.
func (f *fixture) upAmong(number uint64, others ...string) *workers.Incarnation {
	f.t.Helper()
	f.expectAll(append(others, fmt.Sprintf("up %d", number))...)
	return <-f.ups
}

func (f *fixture) WorkerUp(inc *workers.Incarnation) {
	f.say("up %d", inc.Number())
	f.ups <- inc
}

func (f *fixture) WorkerDown(inc *workers.Incarnation) { f.say("down %d", inc.Number()) }

func (f *fixture) WorkerEnded(_ *workers.Pool, _ int, fate workers.Fate) {
	f.say("ended %s", map[workers.Fate]string{workers.FateComing: "coming", workers.FateFree: "free", workers.FateGone: "gone"}[fate])
}

func (f *fixture) WorkerDue(inc *workers.Incarnation, reason string) {
	f.say("due %d %s", inc.Number(), reason)
}

func (f *fixture) WorkerRetired(_ *workers.Pool, slot int) { f.say("retired %d", slot) }

func (f *fixture) ReplaceFailed(_ *workers.Pool, _ int, exit *workers.Exit) {
	f.say("replace failed %s", exit.Cause)
}

func (f *fixture) Rolled(_ *workers.Pool, generation uint64, err error) {
	if err == nil {
		f.say("rolled %d", generation)
		return
	}
	f.mu.Lock()
	f.rollErr = err
	f.mu.Unlock()
	f.say("not rolled %d", generation)
}

// run gives a job to inc and flushes.
func (f *fixture) run(inc *workers.Incarnation, params string) *job {
	f.t.Helper()
	f.jobs++
	j := &job{f: f, id: fmt.Sprintf("j%d", f.jobs)}
	var set outq.Set
	e := &workers.Execution{LinkID: j.id, Plugin: "echo", Params: []byte(params)}
	if !inc.Execute(e, j, &set) {
		f.t.Fatalf("job %s was not taken", j.id)
	}
	set.Flush()
	return j
}

// waitForState waits until a process is in a state, by its letter in proc(5), or gone. No event tells of it.
func waitForState(t *testing.T, pid int, state string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") "+state+" ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d is not in state %s: %s", pid, state, stat)
		}
	}
}

// job tells the fixture what it is told.
type job struct {
	f    *fixture
	id   string
	exit *workers.Exit // once lost
	// unread came with it.
	unread bool

	mu     sync.Mutex
	full   bool
	holder workers.Holder
}

func (j *job) ID() string { return j.id }

func (j *job) Chunk(chunk, metadata []byte, final bool, _ *outq.Set) bool {
	if len(chunk) > 100 {
		chunk = fmt.Appendf(nil, "%d bytes", len(chunk))
	}
	j.f.say("%s chunk %s %s %t", j.id, chunk, metadata, final)
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.full
}

func (j *job) Crowded(*outq.Set) {}

func (j *job) Logged(*outq.Set) { j.f.say("%s logged", j.id) }

func (j *job) Oversized(limit int64, _ *outq.Set) { j.f.say("%s oversized %d", j.id, limit) }

func (j *job) Hold(h workers.Holder) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.holder = h
	j.f.say("%s hold %t", j.id, j.full)
	return j.full
}

func (j *job) Progress(progress, message []byte, _ *outq.Set) {
	j.f.say("%s progress %s %s", j.id, progress, message)
}

func (j *job) Result(r *workers.Result, _ *outq.Set) {
	switch {
	case r.TooLarge > 0:
		j.f.say("%s too large %d", j.id, r.TooLarge)
	case r.Status == protocol.StatusError:
		j.f.say("%s error %s", j.id, r.Error)
	default:
		j.f.say("%s %s %s", j.id, r.Status, r.Data)
	}
}

func (j *job) Unresponsive(*outq.Set) { j.f.say("%s unresponsive", j.id) }

func (j *job) Lost(exit *workers.Exit, unread bool, _ *outq.Set) {
	j.exit, j.unread = exit, unread
	j.f.say("%s lost %s", j.id, exit.Cause)
}

// waitForLog waits until a message was logged n times. No event tells of a process before it is ready.
func waitForLog(f *fixture, message string, n int) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); f.logs.FilterMessage(message).Len() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("%q was logged %d times, want %d", message, f.logs.FilterMessage(message).Len(), n)
		}
	}
}

func killProcess(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

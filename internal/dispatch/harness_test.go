package dispatch_test

import (
	"context"
	"encoding/json"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"supervisord/internal/dispatch"
	"supervisord/internal/jobs"
	"supervisord/internal/outq"
	"supervisord/internal/process"
	"supervisord/internal/schedule"
	"supervisord/internal/workers"
	"supervisord/internal/workers/workertest"
	"supervisord/protocol"
)

func TestMain(m *testing.M) { workertest.Main(m, roles, badRoles, models) }

// patience is what a test waits for an event that has to come.
const patience = 20 * time.Second

// fixture is a dispatcher with pools of real processes, and the calls that went through it.
type fixture struct {
	t        testing.TB
	logs     *observer.ObservedLogs
	log      *zap.Logger
	host     *process.Host
	d        *dispatch.Dispatcher
	registry *jobs.Registry
	pools    []*workers.Pool

	mu     sync.Mutex
	calls  []*call
	closed bool
}

// backlog and outputBuffer are what the daemon keeps of a stream that is not read; small, so that tests reach them soon.
const backlog, outputBuffer = 8 << 10, 16 << 10

// newFixture makes a dispatcher without pools. At the end of the test it is closed: then each call must have been
// answered once, and nothing may be left behind.
func newFixture(t testing.TB, change func(*dispatch.Options)) *fixture {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		workertest.NoLeaks(t)
		others := goleak.IgnoreCurrent()
		t.Cleanup(func() { goleak.VerifyNone(t, others) })
	}
	core, logs := observer.New(zap.DebugLevel)
	f := &fixture{t: t, logs: logs, log: zap.New(core, zap.Development())}
	o := dispatch.Options{OutputBuffer: outputBuffer}
	if change != nil {
		change(&o)
	}
	host, err := process.Open(process.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f.host = host
	f.d = dispatch.New(o)
	f.registry = jobs.New(jobs.Options{Backlog: backlog, Executor: f.d})
	t.Cleanup(func() {
		f.close()
		if t.Failed() {
			for _, e := range logs.All() {
				t.Log(e.Message, e.ContextMap())
			}
		}
	})
	return f
}

// close ends all that there is, as the daemon does when it may wait no longer.
func (f *fixture) close() {
	if f.closed {
		return
	}
	f.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if f.d.Drain(ctx) != nil {
		f.d.EndAll(f.registry.All())
	}
	f.d.Close(ctx)
	f.host.Close()
	for _, c := range f.calls {
		c.check()
	}
	if n := len(f.registry.All()); n > 0 {
		f.t.Errorf("%d jobs live on", n)
	}
	if c := f.registry.Counts(); c.Queued != 0 || c.Running != 0 {
		f.t.Errorf("counts %+v", c)
	}
	for _, p := range f.pools {
		if n := p.Stats().IllegalEvents; n > 0 {
			f.t.Errorf("%d illegal events", n)
		}
	}
}

// setup is what a test wants of a pool.
type setup struct {
	workers.Options
	schedule.PoolSpec

	role     string
	args     []string
	attempts int                        // max_attempts
	config   map[string]json.RawMessage // of plugins
}

// add adds a pool of one worker in a role, unless change wants something else.
func (f *fixture) add(name, role string, change func(*setup)) *workers.Pool {
	f.t.Helper()
	s := setup{
		Options: workers.Options{
			Name: name, Directory: "/", LookupEnv: os.LookupEnv, Concurrency: 1, MaxMessage: 1 << 20,
			Policy: workers.PolicyAlways, MaxRestartAttempts: 1000, RestartBackoffBase: time.Millisecond, RestartBackoffMax: time.Hour,
			StartTimeout: patience, CancelGrace: patience, DrainGrace: patience, StopTimeout: patience,
			Host: f.host, Sink: f.d, Log: f.log,
		},
		PoolSpec: schedule.PoolSpec{Name: name, MinWorkers: 1, MaxWorkers: 1, QueueSize: 1000},
		role:     role,
	}
	if change != nil {
		change(&s)
	}
	s.Options.MaxWorkers = s.PoolSpec.MaxWorkers
	s.PoolSpec.Concurrency = s.Options.Concurrency
	for _, name := range s.PoolSpec.Plugins {
		s.Options.Plugins = append(s.Options.Plugins, workers.Plugin{Name: name, Config: s.config[name]})
	}
	if s.Command == nil {
		s.Command, s.Env = workertest.Command(s.role, s.args...)
	}
	if err := f.d.Add(s.options()); err != nil {
		f.t.Fatal(err)
	}
	p := f.d.PoolOf(name)
	f.pools = append(f.pools, p)
	return p
}

func (s *setup) options() dispatch.PoolOptions {
	return dispatch.PoolOptions{Spec: s.PoolSpec, Workers: s.Options, MaxAttempts: s.attempts}
}

// settled waits until the workers that the pools want to have are ready, or given up.
func (f *fixture) settled() {
	f.t.Helper()
	await(f.t, f.d.Settled(), "the workers to be ready")
}

// eventually waits until something holds of which no event tells.
func (f *fixture) eventually(what string, holds func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatal("waited in vain for " + what)
		}
	}
}

func await(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatal("waited in vain for " + what)
	}
}

// call is one job and its caller, who takes chunks while it has room.
type call struct {
	f      *fixture
	job    *jobs.Job
	done   chan struct{}
	left   bool
	moved  chan struct{} // a token: chunks or refusals are more than they were
	weight int           // bytes of chunks that were taken

	mu       sync.Mutex
	room     int // chunks that it will still take; below 0 for ever
	refusals int
	progress []string
	chunks   []string
	answers  int
	data     string
	all      int64
	err      *protocol.Error
}

// start makes a job and hands it on; what is not set in s is that of a plain call to echo.
func (f *fixture) start(s jobs.Spec) *call { return f.startWithRoom(s, -1) }

func (f *fixture) startWithRoom(s jobs.Spec, room int) *call {
	f.t.Helper()
	c := f.make(s, room)
	c.begin()
	return c
}

func (f *fixture) make(s jobs.Spec, room int) *call {
	f.t.Helper()
	if s.Plugin == "" {
		s.Plugin = "echo"
	}
	if s.Params == nil {
		s.Params = []byte("{}")
	}
	s.UID, s.PID, s.Created = 1000, 1, time.Now()
	c := &call{f: f, done: make(chan struct{}), moved: make(chan struct{}, 1), room: room}
	job, err := f.registry.Make(s, c)
	if err != nil {
		f.t.Fatal(err)
	}
	c.job = job
	f.mu.Lock()
	f.calls = append(f.calls, c)
	f.mu.Unlock()
	return c
}

func (c *call) begin() {
	var set outq.Set
	c.job.Start(&set)
	set.Flush()
}

// run starts a call to echo with params, as a stream.
func (f *fixture) run(params string) *call {
	f.t.Helper()
	return f.start(jobs.Spec{Params: []byte(params), Stream: true})
}

// Chunk implements jobs.Caller.
func (c *call) Chunk(seq int64, chunk, metadata []byte, _ bool, _ *outq.Set) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.move()
	if c.answers > 0 || c.left {
		c.f.t.Errorf("job %s: chunk %d after the end", c.job.ID, seq)
	}
	if c.room == 0 {
		c.refusals++
		return false
	}
	c.room--
	if seq != int64(len(c.chunks)) {
		c.f.t.Errorf("job %s: chunk %d, want %d", c.job.ID, seq, len(c.chunks))
	}
	c.chunks = append(c.chunks, string(chunk))
	c.weight += len(chunk) + len(metadata)
	return true
}

func (c *call) move() {
	select {
	case c.moved <- struct{}{}:
	default:
	}
}

// Progress implements jobs.Caller.
func (c *call) Progress(progress, message []byte, _ *outq.Set) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress = append(c.progress, string(progress)+" "+string(message))
}

// Done implements jobs.Caller.
func (c *call) Keep(int) bool { return true }

func (c *call) Done(data []byte, chunks int64, err *protocol.Error, _ *outq.Set) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers++; c.answers > 1 || c.left {
		c.f.t.Errorf("job %s: answer number %d, left %t", c.job.ID, c.answers, c.left)
		return
	}
	c.data, c.all, c.err = string(data), chunks, err
	close(c.done)
}

// produced waits until at least n chunks have come.
func (c *call) produced(n int) {
	c.f.t.Helper()
	c.until(func() bool { return len(c.chunks) >= n }, strconv.Itoa(n)+" chunks")
}

// stuck waits until a chunk was refused.
func (c *call) stuck() {
	c.f.t.Helper()
	c.until(func() bool { return c.refusals > 0 }, "a refused chunk")
}

func (c *call) until(ok func() bool, what string) {
	c.f.t.Helper()
	deadline := time.After(patience)
	for {
		c.mu.Lock()
		met, answers, err := ok(), c.answers, c.err
		c.mu.Unlock()
		if met {
			return
		}
		if answers > 0 {
			c.f.t.Fatalf("waited for %s, got the answer %v", what, err)
		}
		select {
		case <-c.moved:
		case <-c.done:
		case <-deadline:
			c.f.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// feed gives the caller room for n chunks, below 0 for all.
func (c *call) feed(n int) {
	c.mu.Lock()
	c.room = n
	c.mu.Unlock()
	var set outq.Set
	c.job.Feed(&set)
	set.Flush()
}

func (c *call) cancel(by string, force bool) {
	var set outq.Set
	c.job.Cancel(by, force, &set)
	set.Flush()
}

// leave is the end of the caller's connection.
func (c *call) leave() {
	c.f.t.Helper()
	cancel := c.job.Leave()
	c.mu.Lock()
	c.left = true
	c.mu.Unlock()
	if cancel != !c.job.Continue {
		c.f.t.Errorf("job %s: to be cancelled %t", c.job.ID, cancel)
	}
	if cancel {
		c.cancel(protocol.ByDisconnect, false)
	}
}

// wait waits for the answer.
func (c *call) wait() *protocol.Error {
	c.f.t.Helper()
	await(c.f.t, c.done, "the answer of job "+c.job.ID)
	return c.err
}

// succeed waits for a success with data.
func (c *call) succeed(data string) {
	c.f.t.Helper()
	if err := c.wait(); err != nil || c.data != data {
		c.f.t.Fatalf("job %s: data %s, error %+v; want %s", c.job.ID, c.data, err, data)
	}
}

// fail waits for an error of a code.
func (c *call) fail(code protocol.Code) *protocol.Error {
	c.f.t.Helper()
	err := c.wait()
	if err == nil || err.Code != code {
		c.f.t.Fatalf("job %s: data %s, error %v; want code %d", c.job.ID, c.data, err, code)
	}
	if err.Data.JobID != c.job.ID {
		c.f.t.Errorf("job %s: error of job %q", c.job.ID, err.Data.JobID)
	}
	return err
}

// refused is fail where nothing more is to be seen of the error.
func (c *call) refused(code protocol.Code) {
	c.f.t.Helper()
	_ = c.fail(code)
}

// cancelled waits for the error of a cancel.
func (c *call) cancelled(code protocol.Code, by string, how protocol.How) {
	c.f.t.Helper()
	err := c.fail(code)
	if err.Data.By != by || err.Data.How == nil || *err.Data.How != how {
		c.f.t.Errorf("job %s: error %v of %+v, want by %s, how %s", c.job.ID, err, err.Data, by, how)
	}
}

// check looks at the call when all is over.
func (c *call) check() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers != 1 && !c.left {
		c.f.t.Errorf("job %s: %d answers", c.job.ID, c.answers)
	}
	if c.answers == 1 && c.job.Stream && c.err == nil && c.all != int64(len(c.chunks)) {
		c.f.t.Errorf("job %s: %d chunks, told of %d", c.job.ID, len(c.chunks), c.all)
	}
	if status, _ := c.job.Outcome(); !status.Terminal() {
		c.f.t.Errorf("job %s has not ended", c.job.ID)
	}
}

// spare sets a number of workers.
func spare(n int) func(*setup) {
	return func(s *setup) { s.MinWorkers, s.PoolSpec.MaxWorkers = n, n }
}

package jobs_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"supervisord/internal/jobs"
	"supervisord/internal/outq"
	"supervisord/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is what a test waits for an event that has to come.
const patience = 20 * time.Second

// executor notes what it is given, and ends a job by noting its end: nothing runs here.
type executor struct {
	mu        sync.Mutex
	submitted []*jobs.Job
	ends      []jobs.Ending
}

func (e *executor) Submit(j *jobs.Job, _ *outq.Set) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.submitted = append(e.submitted, j)
}

func (e *executor) End(j *jobs.Job, end jobs.Ending, _ *outq.Set) {
	e.mu.Lock()
	e.ends = append(e.ends, end)
	e.mu.Unlock()
	j.End(end)
}

// caller takes chunks while it has room, and notes what it is told. The job's lock guards it, and the test reads it when
// nothing runs.
type caller struct {
	t       *testing.T
	room    int // chunks that it will still take
	next    int64
	kept    int  // bytes of a result that it was asked to have kept
	refuses bool // that
	told    []string
	done    int
	data    string
	err     *protocol.Error
	all     int64 // chunks, by the answer
}

func (c *caller) Chunk(seq int64, chunk, metadata []byte, final bool, _ *outq.Set) bool {
	if c.done > 0 {
		c.t.Errorf("chunk %d after the answer", seq)
	}
	if c.room == 0 {
		return false
	}
	c.room--
	if seq != c.next {
		c.t.Errorf("chunk %d, want %d", seq, c.next)
	}
	c.next++
	c.told = append(c.told, fmt.Sprintf("%d %s %s %t", seq, chunk, metadata, final))
	return true
}

func (c *caller) Progress(progress, message []byte, _ *outq.Set) {
	c.told = append(c.told, fmt.Sprintf("progress %s %s", progress, message))
}

func (c *caller) Keep(n int) bool {
	c.kept += n
	return !c.refuses
}

func (c *caller) Done(data []byte, chunks int64, err *protocol.Error, _ *outq.Set) {
	if c.done++; c.done > 1 {
		c.t.Error("answered twice")
	}
	c.data, c.all, c.err = string(data), chunks, err
	switch {
	case err != nil:
		c.told = append(c.told, "error "+err.Data.Kind)
	case data == nil:
		c.told = append(c.told, "done nothing")
	default:
		c.told = append(c.told, "done "+c.data)
	}
}

// take returns what it was told since the last call.
func (c *caller) take() string {
	told := strings.Join(c.told, ", ")
	c.told = nil
	return told
}

// holder counts how often it was woken.
type holder struct{ woken int }

func (h *holder) Resume() { h.woken++ }

// fixture is one job of a registry.
type fixture struct {
	executor *executor
	registry *jobs.Registry
	caller   *caller
	job      *jobs.Job
	set      outq.Set
}

// limit is the backlog's in tests that do not say.
const limit = 100

func newFixture(t *testing.T, change func(*jobs.Spec)) *fixture {
	t.Helper()
	f := &fixture{executor: &executor{}, caller: &caller{t: t, room: -1}}
	f.registry = jobs.New(jobs.Options{Backlog: limit, Executor: f.executor})
	s := jobs.Spec{Plugin: "echo", Stream: true, UID: 1000, PID: 42, Created: created}
	if change != nil {
		change(&s)
	}
	job, err := f.registry.Make(s, f.caller)
	if err != nil {
		t.Fatal(err)
	}
	f.job = job
	return f
}

// Moments of a job that nothing measures. They are not in UTC, as those of the daemon may not be.
var (
	created  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	begun    = created.Add(250 * time.Millisecond)
	finished = begun.Add(time.Second)
)

func (f *fixture) start()    { f.job.Start(&f.set) }
func (f *fixture) run()      { f.job.Running("text/0", 3, 4711, begun) }
func (f *fixture) requeue()  { f.job.Pending() }
func (f *fixture) progress() { f.job.Progress([]byte("0.5"), []byte(`"half"`), &f.set) }
func (f *fixture) feed()     { f.job.Feed(&f.set) }
func (f *fixture) leave()    { f.job.Leave() }

func (f *fixture) chunk(text string) jobs.Flow {
	return f.job.Chunk([]byte(text), []byte("{}"), false, &f.set)
}

func (f *fixture) succeed() {
	data := []byte(`{"ok":1}`)
	f.job.Finish(data, nil, protocol.EndedByResult, "", finished, &f.set)
	clear(data) // valid during the call alone
}

func (f *fixture) fail(code protocol.Code) {
	f.job.Finish(nil, protocol.NewError(code, "it failed"), "", protocol.HowTerminated, finished, &f.set)
}

func (f *fixture) cancel() { f.job.Cancel(protocol.ByCaller, false, &f.set) }

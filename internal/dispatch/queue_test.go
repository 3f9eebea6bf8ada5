package dispatch_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"supervisord/internal/dispatch"
	"supervisord/internal/jobs"
	"supervisord/protocol"
)

// occupy makes the one worker of a pool wait at a gate.
func (f *fixture) occupy(t *testing.T) (*call, gate) {
	t.Helper()
	g := newGate(t)
	c := f.run(g.params())
	c.produced(1)
	return c, g
}

// Calls that wait are run in the order in which they came.
func TestOrder(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	first, g := f.occupy(t)
	var waiting []*call
	for range 20 {
		waiting = append(waiting, f.run("{}"))
	}
	if c := f.registry.Counts(); c.Queued != 20 || c.Running != 1 || f.d.Pools()[0].Queued != 20 {
		t.Errorf("counts %+v, pools %+v", c, f.d.Pools())
	}
	g.open(t)
	first.succeed(g.params())
	var begun []time.Time
	for _, c := range waiting {
		c.succeed("{}")
		begun = append(begun, *c.job.Record().StartedAt)
	}
	if !slices.IsSortedFunc(begun, time.Time.Compare) {
		t.Errorf("begun in the order %v", begun)
	}
	if c := f.registry.Counts(); c.Queued != 0 || c.Running != 0 || c.Completed != 21 {
		t.Errorf("counts %+v", c)
	}
}

// A call never waits behind another while a worker is idle, and one that gets free takes the next.
func TestAllWorkersWork(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", spare(2))
	f.settled()
	first, one := f.occupy(t)
	second, two := f.occupy(t)
	if a, b := first.job.Record().Attempts[0].Worker, second.job.Record().Attempts[0].Worker; a == b {
		t.Errorf("both ran on %s", a)
	}
	third := f.run("{}")
	two.open(t)
	second.succeed(two.params())
	third.succeed("{}")
	one.open(t)
	first.succeed(one.params())
}

func TestQueueFull(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", func(s *setup) { s.QueueSize = 2 })
	first, g := f.occupy(t)
	second, third := f.run("{}"), f.run("{}")
	err := f.run("{}").fail(protocol.CodeOverloaded)
	if d := err.Data; d.Limit != protocol.LimitQueue || *d.Queued != 2 || *d.RetryAfterMS != 100 || !d.Retryable || err.Message != "too many jobs wait" {
		t.Errorf("error %v of %+v", err, d)
	}
	second.cancel(protocol.ByCaller, false) // makes a place
	second.cancelled(protocol.CodeCancelled, protocol.ByCaller, protocol.HowQueued)
	fourth := f.run("{}")
	f.run("{}").refused(protocol.CodeOverloaded)
	g.open(t)
	first.succeed(g.params())
	third.succeed("{}")
	fourth.succeed("{}")
}

// How long an overloaded caller is told to wait follows from how long jobs take, from the first one on.
func TestRetryAfter(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", func(s *setup) { s.QueueSize = 1 })
	first, one := f.occupy(t)
	began := time.Now()
	for time.Since(began) < 300*time.Millisecond {
		// The job has to take longer than the least that a caller is told.
		if f.start(jobs.Spec{MaxWait: 100 * time.Millisecond, HasMaxWait: true}).wait() == nil {
			t.Fatal("a job ran on a worker that is busy")
		}
	}
	one.open(t)
	first.succeed(one.params())
	second, two := f.occupy(t)
	third := f.run("{}")
	took := first.job.Record().Usage.RunMS
	if after := *f.run("{}").fail(protocol.CodeOverloaded).Data.RetryAfterMS; after < 300 || after > took {
		t.Errorf("retry after %d ms where a job took %d", after, took)
	}
	two.open(t)
	second.succeed(two.params())
	third.succeed("{}")
}

// The params of all that waits are bounded, over all pools.
func TestBytesFull(t *testing.T) {
	f := newFixture(t, func(o *dispatch.Options) { o.MaxQueuedBytes = 1000 })
	f.add("text", "actor", nil)
	first, g := f.occupy(t)
	big := `{"stderr":"` + strings.Repeat("x", 600) + `"}`
	second := f.run(big)
	err := f.run(big).fail(protocol.CodeOverloaded)
	if err.Data.Limit != protocol.LimitQueue || *err.Data.Queued != 1 || err.Message != "the jobs that wait hold too many bytes" {
		t.Errorf("error %v of %+v", err, err.Data)
	}
	small := f.run("{}")
	g.open(t)
	first.succeed(g.params())
	second.succeed(big)
	small.succeed("{}")
	longer := `{"stderr":"` + strings.Repeat("x", 2000) + `"}`
	f.start(jobs.Spec{Params: []byte(longer)}).succeed(longer) // what need not wait may be as long as it likes
}

// The ways in which a call's time to start may be over.
func TestWaitedTooLong(t *testing.T) {
	const bound = 30 * time.Millisecond
	for _, c := range []struct {
		name    string
		spec    jobs.Spec
		wait    time.Duration // of the pool
		limit   int64
		message string
	}{
		{name: "only at once", spec: jobs.Spec{HasMaxWait: true}, limit: 0, message: "no worker can start it now"},
		{name: "max_wait_ms", spec: jobs.Spec{HasMaxWait: true, MaxWait: bound}, limit: 30, message: "waited 30ms for a worker"},
		{name: "timeout_ms", spec: jobs.Spec{Timeout: bound}, limit: 30, message: "waited 30ms for a worker"},
		{name: "max_queue_wait", wait: bound, limit: 30, message: "waited 30ms for a worker"},
		{name: "the first of several", spec: jobs.Spec{Timeout: time.Hour, MaxWait: bound, HasMaxWait: true}, wait: time.Hour, limit: 30, message: "waited 30ms for a worker"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.add("text", "actor", func(s *setup) { s.QueueWait = c.wait })
			f.settled()
			first, g := f.occupy(t)
			err := f.start(c.spec).fail(protocol.CodeDeadlineExceeded)
			if d := err.Data; d.Phase != protocol.PhaseQueue || *d.LimitMS != c.limit || *d.Chunks != 0 || err.Message != c.message {
				t.Errorf("error %v of %+v", err, d)
			}
			g.open(t)
			first.succeed(g.params())
			f.start(c.spec).succeed("{}") // now there is a worker, at once
			if counts := f.registry.Counts(); counts.Failed != 1 || counts.Completed != 2 {
				t.Errorf("counts %+v", counts)
			}
		})
	}
}

// A client may give a job all the time that there is.
func TestLongestTimes(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "echo", nil)
	const longest = 1<<63 - 1
	f.start(jobs.Spec{Timeout: longest, MaxWait: longest, HasMaxWait: true}).succeed("{}")
}

// Later deadlines are met after earlier ones, although the timer is set only once.
func TestTimerGoesOn(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	first, g := f.occupy(t)
	var waiting []*call
	for _, ms := range []int{40, 20, 60, 10} {
		waiting = append(waiting, f.start(jobs.Spec{Timeout: time.Duration(ms) * time.Millisecond}))
	}
	for _, c := range waiting {
		c.refused(protocol.CodeDeadlineExceeded)
	}
	again := f.start(jobs.Spec{Timeout: 10 * time.Millisecond})
	again.refused(protocol.CodeDeadlineExceeded)
	g.open(t)
	first.succeed(g.params())
}

package dispatch_test

import (
	"testing"
	"time"

	"supervisord/internal/jobs"
	"supervisord/protocol"
)

// A job that runs past its time is ended with its worker, which is replaced.
func TestDeadlineWhileRunning(t *testing.T) {
	const bound = 50 * time.Millisecond
	for _, c := range []struct {
		name   string
		spec   jobs.Spec
		run    time.Duration // of the pool
		params string
		by     string
		how    protocol.How
	}{
		{name: "timeout_ms", spec: jobs.Spec{Timeout: bound}, params: `{"hang":true}`, how: protocol.HowTerminated},
		{name: "job_timeout", run: bound, params: `{"hang":true}`, how: protocol.HowTerminated},
		{name: "the shorter one", spec: jobs.Spec{Timeout: time.Hour}, run: bound, params: `{"hang":true}`, how: protocol.HowTerminated},
		{name: "while it is held", spec: jobs.Spec{Timeout: bound, Stream: true}, params: `{"chunks":100000,"pad":100}`, how: protocol.HowTerminated},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.add("text", "actor", func(s *setup) { s.RunTimeout = c.run })
			f.settled()
			c.spec.Params = []byte(c.params)
			call := f.startWithRoom(c.spec, 0)
			err := call.fail(protocol.CodeDeadlineExceeded)
			if d := err.Data; d.Phase != protocol.PhaseRun || *d.LimitMS != 50 || *d.Chunks != call.job.Chunks() || err.Message != "deadline of 50ms exceeded in phase run" {
				t.Errorf("error %v of %+v", err, d)
			}
			r := call.job.Record()
			if r.Status != protocol.JobFailed || r.Attempts[0].EndedBy != "deadline_exceeded" {
				t.Errorf("record %+v", r)
			}
			if _, how := call.job.Outcome(); how != c.how {
				t.Errorf("how %s", how)
			}
			next := f.run("{}")
			next.succeed("{}")
			if a := next.job.Record().Attempts[0]; a.Incarnation != 2 {
				t.Errorf("the next call ran on incarnation %d", a.Incarnation)
			}
		})
	}
}

// Time that a job has waited counts towards its own limit, not towards that of the pool.
func TestDeadlineAfterWaiting(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	first, g := f.occupy(t)
	second := f.start(jobs.Spec{Timeout: 200 * time.Millisecond, Params: []byte(`{"hang":true}`)})
	g.open(t)
	first.succeed(g.params())
	err := second.fail(protocol.CodeDeadlineExceeded)
	if *err.Data.LimitMS != 200 {
		t.Errorf("limit %d ms", *err.Data.LimitMS)
	}
	if u := second.job.Record().Usage; u.WaitMS+u.RunMS < 200 {
		t.Errorf("usage %+v", u)
	}
}

// A worker that knows cancel is asked by one, and lives on.
func TestDeadlineIsCooperative(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "concurrent", nil)
	f.settled()
	call := f.start(jobs.Spec{Timeout: 20 * time.Millisecond, Params: []byte(`{"hold":true}`)})
	call.refused(protocol.CodeDeadlineExceeded)
	if _, how := call.job.Outcome(); how != protocol.HowCooperative {
		t.Errorf("how %s", how)
	}
	next := f.run("{}")
	next.succeed("{}")
	if a := next.job.Record().Attempts[0]; a.Incarnation != 1 {
		t.Errorf("the next call ran on incarnation %d", a.Incarnation)
	}
}

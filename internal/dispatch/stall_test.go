package dispatch_test

import (
	"slices"
	"testing"
	"time"

	"supervisord/internal/jobs"
	"supervisord/protocol"
)

func stallTimeout(d time.Duration) func(*setup) {
	return func(s *setup) { s.StallTimeout = d }
}

// A job of which nothing is heard for stall_timeout is ended, and its worker replaced; all that is told of it says why.
func TestStalls(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", stallTimeout(200*time.Millisecond))
	f.settled()
	c := f.run(`{"stderr":"last words","chunks":1,"hang":true}`)
	next := f.run("{}")
	err := c.fail(protocol.CodeWorkerDied)
	if d := err.Data; d.Cause != protocol.CauseStalled || *d.Chunks != 1 || !slices.Equal(d.StderrTail, []string{"last words"}) ||
		err.Message != "worker text/0 was stopped: nothing was heard of the job for 200ms" || !d.Retryable {
		t.Errorf("error %v of %+v", err, d)
	}
	for _, a := range [][]protocol.Attempt{err.Data.Attempts, c.job.Record().Attempts} {
		if len(a) != 1 || a[0].EndedBy != "stalled" || a[0].Incarnation != 1 {
			t.Errorf("attempts %+v", a)
		}
	}
	next.succeed("{}")
	if a := next.at(); a.Incarnation != 2 {
		t.Errorf("the next call ran as %+v", a)
	}
	if exit := f.d.Workers()[0].LastExit; exit == nil || exit.Cause != "stalled" {
		t.Errorf("last exit %+v", exit)
	}
}

// Whatever a worker says of a job shows that it goes on.
func TestHeardOf(t *testing.T) {
	for name, frame := range map[string]string{
		"chunk":    `{\"type\":\"stream_chunk\",\"job_id\":\"ID\",\"chunk\":0}`,
		"progress": `{\"type\":\"progress\",\"job_id\":\"ID\",\"progress\":null}`,
		"log":      `{\"type\":\"log\",\"job_id\":\"ID\",\"level\":\"info\",\"message\":\"goes on\"}`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.add("text", "actor", func(s *setup) {
				s.StallTimeout, s.args = time.Second, []string{protocol.FeatureProgress, protocol.FeatureLog}
			})
			f.settled()
			params := `{"every":"` + frame + `","times":100}` // for two seconds
			f.run(params).succeed(params)
		})
	}
}

// While the daemon itself keeps a worker from writing, since nobody reads, nothing can be heard of it.
func TestHeldIsNotStalled(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", stallTimeout(time.Second))
	f.settled()
	const params = `{"chunks":1000,"pad":1000}`
	c := f.startWithRoom(jobs.Spec{Params: []byte(params), Stream: true}, 0)
	c.stuck()
	select {
	case <-c.done:
		t.Fatalf("ended while it was held: %v", c.err)
	case <-time.After(2500 * time.Millisecond):
	}
	c.feed(-1)
	c.succeed(params)
}

// A stalled job on a worker that runs others costs them nothing: it is cancelled, and where it heeds that not, they end
// before its process does.
func TestStallsBesideOthers(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "concurrent", func(s *setup) {
		s.Options.Concurrency, s.StallTimeout, s.CancelGrace = 4, 500*time.Millisecond, time.Millisecond
		s.PoolSpec.MaxWorkers, s.ReplaceBefore = 2, true
	})
	f.settled()
	stuck := f.run(`{"stubborn":true}`)
	late := f.run(`{"late":true}`) // stalls as well, and answers all the same
	err := stuck.fail(protocol.CodeWorkerDied)
	if err.Data.Cause != protocol.CauseStalled {
		t.Errorf("error %v of %+v", err, err.Data)
	}
	if err := late.fail(protocol.CodeWorkerDied); err.Data.Cause != protocol.CauseStalled {
		t.Errorf("error %v of %+v", err, err.Data)
	}
	f.eventually("another process", func() bool {
		c := f.run("{}")
		c.succeed("{}")
		return c.at().Incarnation == 2
	})
}

// One that heeds the cancel leaves its worker as it was.
func TestStallHeedsCancel(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "concurrent", func(s *setup) { s.Options.Concurrency, s.StallTimeout = 4, 300*time.Millisecond })
	f.settled()
	c := f.run(`{"hold":true}`)
	if err := c.fail(protocol.CodeWorkerDied); err.Data.Cause != protocol.CauseStalled {
		t.Errorf("error %v of %+v", err, err.Data)
	}
	if a := c.at(); a.EndedBy != "stalled" {
		t.Errorf("attempt %+v", a)
	}
	next := f.run("{}")
	next.succeed("{}")
	if a := next.at(); a.Incarnation != 1 {
		t.Errorf("the next call ran as %+v", a)
	}
}

package dispatch_test

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/internal/jobs"
	"supervisord/internal/outq"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

func TestCancelQueued(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	first, g := f.occupy(t)
	second, third := f.run("{}"), f.run("{}")
	second.cancel(protocol.ByOwner, false)
	second.cancelled(protocol.CodeCancelled, protocol.ByOwner, protocol.HowQueued)
	if status, how := second.job.Outcome(); status != protocol.JobCancelled || how != protocol.HowQueued {
		t.Errorf("outcome %s, %s", status, how)
	}
	second.cancel(protocol.ByCaller, true) // too late for anything
	g.open(t)
	first.succeed(g.params())
	third.succeed("{}")
}

// A job may be found, and ended, between its making and its start.
func TestCancelBeforeStart(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "echo", nil)
	c := f.make(jobs.Spec{}, -1)
	if f.registry.Find(c.job.ID, 1000, false) != c.job {
		t.Fatal("a job that was made is not found")
	}
	c.cancel(protocol.ByOwner, true)
	select {
	case <-c.done:
		t.Error("answered before its start")
	default:
	}
	c.begin()
	c.cancelled(protocol.CodeCancelled, protocol.ByOwner, protocol.HowQueued)
}

// A running job is ended by the gentlest means that work.
func TestCancelRunning(t *testing.T) {
	const short = 20 * time.Millisecond
	for _, c := range []struct {
		name   string
		role   string
		grace  time.Duration
		params string
		force  bool
		how    protocol.How
		lives  bool
	}{
		{name: "cooperative", role: "concurrent", grace: patience, params: `{"hold":true}`, how: protocol.HowCooperative, lives: true},
		{name: "terminated", role: "actor", grace: patience, params: `{"chunks":1,"hang":true}`, how: protocol.HowTerminated},
		{name: "ignores its cancel", role: "concurrent", grace: short, params: `{"stubborn":true}`, how: protocol.HowTerminated},
		{name: "killed by force", role: "actor", grace: patience, params: `{"chunks":1,"hang":true}`, force: true, how: protocol.HowKilled},
		{name: "deaf, killed by force", role: "actor", grace: patience, params: `{"deaf":true,"chunks":1,"hang":true}`, force: true, how: protocol.HowKilled},
		{name: "knows cancel, killed by force", role: "concurrent", grace: patience, params: `{"hold":true}`, force: true, how: protocol.HowKilled},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.add("text", c.role, func(s *setup) { s.CancelGrace = c.grace })
			f.settled()
			call := f.run(c.params)
			if c.role == "actor" {
				call.produced(1)
			}
			next := f.run("{}")
			call.cancel(protocol.ByCaller, c.force)
			call.cancelled(protocol.CodeCancelled, protocol.ByCaller, c.how)
			if r := call.job.Record(); r.Attempts[0].EndedBy != protocol.ByCaller || r.Error.Data.Attempts != nil {
				t.Errorf("record %+v", r)
			}
			next.succeed("{}")
			if lives := next.job.Record().Attempts[0].Incarnation == 1; lives != c.lives {
				t.Errorf("the process lives on: %t", lives)
			}
		})
	}
}

// A worker that heeds neither cancel nor SIGTERM gets SIGKILL.
func TestCancelDeaf(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	c := f.run(`{"deaf":true,"chunks":1,"hang":true}`)
	c.produced(1)
	c.cancel(protocol.ByCaller, false)
	c.cancelled(protocol.CodeCancelled, protocol.ByCaller, protocol.HowKilled)
	f.run("{}").succeed("{}")
}

// Force may come after a cancel that has not worked yet, and counts.
func TestForceAfterCancel(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "concurrent", nil) // with all the time that it likes
	f.settled()
	c := f.run(`{"stubborn":true}`)
	c.cancel(protocol.ByCaller, false)
	c.cancel(protocol.ByCaller, false)
	c.cancel(protocol.ByOwner, true)
	c.cancelled(protocol.CodeCancelled, protocol.ByCaller, protocol.HowKilled)
}

// A concurrent worker that ignores a cancel: that caller is answered after the grace, those beside it get their results,
// and the process is replaced.
func TestDetached(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "concurrent", func(s *setup) {
		s.Options.Concurrency, s.CancelGrace = 4, 20*time.Millisecond
	})
	f.settled()
	stuck, sibling := f.run(`{"stubborn":true}`), f.run(`{"hold":true}`)
	pid := stuck.job.Record().Attempts[0].PID
	stuck.cancel(protocol.ByCaller, false)
	stuck.cancelled(protocol.CodeCancelled, protocol.ByCaller, protocol.HowDetached)
	next := f.run("{}") // not on the process that has a job it cannot end
	if err := unix.Kill(pid, 0); err != nil {
		t.Errorf("the process of a sibling has ended: %v", err)
	}
	sibling.cancel(protocol.ByCaller, false)
	sibling.cancelled(protocol.CodeCancelled, protocol.ByCaller, protocol.HowCooperative)
	next.succeed("{}")
	if a := next.job.Record().Attempts[0]; a.Incarnation != 2 {
		t.Errorf("the next call ran on incarnation %d", a.Incarnation)
	}
}

// The siblings of a job that ignores its cancel have only so long: then they die with its worker, and may be tried again.
func TestSiblingsRunOutOfTime(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "concurrent", func(s *setup) {
		s.Options.Concurrency, s.CancelGrace, s.DrainGrace = 4, 10*time.Millisecond, 10*time.Millisecond
	})
	f.settled()
	stuck, sibling := f.run(`{"stubborn":true}`), f.run(`{"hold":true}`)
	stuck.cancel(protocol.ByCaller, false)
	stuck.cancelled(protocol.CodeCancelled, protocol.ByCaller, protocol.HowDetached)
	if err := sibling.fail(protocol.CodeWorkerDied); !err.Data.Retryable || err.Data.Cause != protocol.CauseSignal {
		t.Errorf("error %v of %+v", err, err.Data)
	}
	f.run("{}").succeed("{}")
}

// A client that leaves takes its jobs along, unless they are to go on.
func TestLeave(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	running := f.run(`{"chunks":1,"hang":true}`)
	running.produced(1)
	queued := f.run("{}")
	queued.leave()
	running.leave()
	await(t, queued.job.Done(), "the end of the job that waits")
	await(t, running.job.Done(), "the end of the job that runs")
	if _, how := running.job.Outcome(); how != protocol.HowTerminated {
		t.Errorf("how %s", how)
	}
	if r := running.job.Record(); r.Error.Data.By != protocol.ByDisconnect {
		t.Errorf("error %+v", r.Error)
	}

	g := newGate(t)
	goesOn := f.start(jobs.Spec{Params: []byte(g.params()), Continue: true})
	goesOn.leave()
	g.open(t)
	await(t, goesOn.job.Done(), "the end of the job that goes on")
	if status, _ := goesOn.job.Outcome(); status != protocol.JobCompleted {
		t.Errorf("status %s", status)
	}
}

// Cancels that cross the ends of their jobs, by all the ways at once.
func TestCancelRaces(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "concurrent", func(s *setup) {
		s.MinWorkers, s.PoolSpec.MaxWorkers, s.Options.Concurrency = 2, 2, 4
	})
	f.settled()
	ends := make(chan *call, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c := range ends {
			c.cancel(protocol.ByOwner, false)
		}
	}()
	var calls []*call
	for i := range 1000 {
		c := f.make(jobs.Spec{Timeout: time.Duration(1+i%7) * time.Millisecond * 1000}, -1)
		calls = append(calls, c)
		ends <- c
		c.begin()
		if i%3 == 0 {
			var set outq.Set
			c.job.Cancel(protocol.ByCaller, false, &set)
			set.Flush()
		}
	}
	close(ends)
	<-done
	byCode := map[protocol.Code]int{}
	for _, c := range calls {
		err := c.wait()
		switch {
		case err == nil && c.data == "{}":
			byCode[0]++
		case err != nil && err.Code == protocol.CodeCancelled:
			byCode[err.Code]++
		default:
			t.Errorf("data %s, error %v", c.data, err)
		}
	}
	if counts := f.registry.Counts(); counts.Completed != int64(byCode[0]) || counts.Cancelled != int64(byCode[protocol.CodeCancelled]) {
		t.Errorf("counts %+v, answers %v", counts, byCode)
	}
	f.run("{}").succeed("{}")
}

// The end of a job's grace may cross its result, while other jobs come and go: each gets what is its own.
func TestGraceCrossesResult(t *testing.T) {
	const grace = 2 * time.Millisecond
	f := newFixture(t, nil)
	f.add("late", "late", func(s *setup) {
		s.args, s.PoolSpec.Plugins = []string{grace.String()}, []string{"late"}
		s.Options.Concurrency, s.CancelGrace, s.DrainGrace = 8, grace, patience
	})
	f.add("echo", "echo", plugins("quick"))
	f.settled()
	for i := range 30 {
		sibling := f.start(jobs.Spec{Plugin: "late"}) // without it the process would be ended
		var late []*call
		for range 6 {
			late = append(late, f.start(jobs.Spec{Plugin: "late"}))
		}
		for _, c := range late {
			c.cancel(protocol.ByCaller, false)
		}
		for n := range 20 {
			params := fmt.Sprintf(`{"n":%d}`, 100*i+n)
			f.start(jobs.Spec{Plugin: "quick", Params: []byte(params)}).succeed(params)
		}
		for _, c := range append(late, sibling) {
			c.cancel(protocol.ByCaller, false)
			c.refused(protocol.CodeCancelled)
		}
	}
}

// The owner of a worker may find that a job has ignored its cancel just when the reader brings its result. What it then
// says comes when the job has ended and others run, and must reach none of them.
func TestUnresponsiveTooLate(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "concurrent", func(s *setup) { s.Options.Concurrency = 2 })
	f.settled()
	c := f.run(`{"hold":true}`)
	late := c.job.Handle.(workers.Job) //nolint:forcetypeassert // what its worker knows it as
	c.cancel(protocol.ByCaller, false)
	c.cancelled(protocol.CodeCancelled, protocol.ByCaller, protocol.HowCooperative)
	f.run("{}").succeed("{}") // the reader has done with c
	next := f.run(`{"hold":true}`)
	var set outq.Set
	late.Unresponsive(&set)
	set.Flush()
	next.cancel(protocol.ByCaller, false)
	next.cancelled(protocol.CodeCancelled, protocol.ByCaller, protocol.HowCooperative)
}

package dispatch_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"supervisord/internal/dispatch"
	"supervisord/internal/jobs"
	"supervisord/protocol"
)

// noted is how many lines a file has.
func noted(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

func attempts(n int) func(*setup) { return func(s *setup) { s.attempts = n } }

// A worker that exits after each answer, with the next call sent already, costs nobody a call: that was never read, so it
// runs again, which is no second attempt.
func TestUnreadRunsAgain(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "answers-and-exits", nil)
	f.settled()
	var calls []*call
	for range 10 {
		calls = append(calls, f.run("{}"))
	}
	for i, c := range calls {
		c.succeed("{}")
		if a := c.job.Record().Attempts; len(a) != 1 || a[0].Incarnation != uint64(i+1) || a[0].EndedBy != protocol.EndedByResult {
			t.Errorf("call %d was tried as %+v", i, a)
		}
	}
}

// A call may meet three workers that die without reading it, and no more.
func TestUnreadIsBounded(t *testing.T) {
	for _, c := range []struct {
		role string // never-reads in so many incarnations
		ok   bool
	}{{"3", true}, {"4", false}} {
		t.Run(c.role, func(t *testing.T) {
			f := newFixture(t, nil)
			f.add("text", "never-reads", func(s *setup) { s.args = []string{c.role} })
			call := f.run("{}")
			if c.ok {
				call.succeed("{}")
			} else if err := call.fail(protocol.CodeWorkerDied); len(err.Data.Attempts) != 1 || err.Data.Attempts[0].Incarnation != 4 {
				t.Errorf("error %v of %+v", err, err.Data)
			}
			if a := call.job.Record().Attempts; len(a) != 1 || a[0].Incarnation != 4 {
				t.Errorf("attempts %+v", a)
			}
			f.run("{}").succeed("{}")
		})
	}
}

// With max_attempts 2 a call whose worker dies before its first chunk runs once more; the record has both attempts.
func TestSecondAttempt(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", attempts(2))
	notes := t.TempDir() + "/notes"
	params := `{"note":"` + notes + `","upto":1,"exit":3}`
	c := f.run(params)
	c.succeed(params)
	a := c.job.Record().Attempts
	if len(a) != 2 || a[0].Incarnation != 1 || a[0].EndedBy != "exit" || a[0].EndedAt == nil || a[1].Incarnation != 2 ||
		a[1].EndedBy != protocol.EndedByResult || a[0].PID == a[1].PID {
		t.Errorf("attempts %+v", a)
	}
	if n := noted(t, notes); n != 2 {
		t.Errorf("it ran %d times", n)
	}
}

// At most once is what a call gets that did not ask for more, and one of which its caller has seen something.
func TestNoSecondAttempt(t *testing.T) {
	for name, c := range map[string]struct {
		attempts int
		chunks   string
	}{
		"by default":            {0, "0"},
		"with one attempt":      {1, "0"},
		"after its first chunk": {2, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.add("text", "actor", attempts(c.attempts))
			notes := t.TempDir() + "/notes"
			call := f.run(`{"note":"` + notes + `","chunks":` + c.chunks + `,"upto":1,"exit":3}`)
			err := call.fail(protocol.CodeWorkerDied)
			if len(err.Data.Attempts) != 1 || !err.Data.Retryable {
				t.Errorf("error %v of %+v", err, err.Data)
			}
			f.run("{}").succeed("{}")
			if n := noted(t, notes); n != 1 {
				t.Errorf("it ran %d times", n)
			}
		})
	}
}

// A call that waits for its second attempt, or has begun it, can be cancelled.
func TestCancelBetweenAttempts(t *testing.T) {
	for _, started := range []bool{false, true} {
		f := newFixture(t, nil)
		ready := t.TempDir() + "/ready"
		m := manner{From: 2, Wait: ready}
		f.add("text", "model", func(s *setup) { s.args, s.attempts = m.arg(), 2 })
		f.settled()
		g := newGate(t)
		c := f.run(`{"gate":"` + string(g) + `","exit":3}`)
		g.open(t)
		f.eventually("the second start", func() bool { return f.d.Workers()[0].Incarnation == 2 })
		how, goOn := protocol.HowQueued, func() {}
		if started {
			how = protocol.HowTerminated
			if err := os.WriteFile(ready, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			goOn = g.reached(t)
		}
		c.cancel(protocol.ByCaller, false)
		c.cancelled(protocol.CodeCancelled, protocol.ByCaller, how)
		if a := c.job.Record().Attempts; len(a) != 1 && !started || len(a) != 2 && started || a[0].EndedBy != "exit" {
			t.Errorf("attempts %+v", a)
		}
		goOn()
		f.close()
	}
}

// A call each of whose attempts has killed its worker is told so, and not taken again under the same id.
func TestQuarantine(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", attempts(3))
	params := []byte(`{"exit":3}`)
	c := f.start(jobs.Spec{ID: "poison", Params: params})
	err := c.fail(protocol.CodeQuarantined)
	if a := err.Data.Attempts; len(a) != 3 || a[2].Incarnation != 3 || err.Data.Retryable || *err.Data.Chunks != 0 ||
		!strings.Contains(err.Message, "each of 3 attempts has killed its worker") || !strings.Contains(err.Message, "exited with status 3") {
		t.Errorf("error %v of %+v", err, err.Data)
	}
	_, again := f.registry.Make(jobs.Spec{ID: "poison", Plugin: "echo", Params: params, UID: 1000, Created: time.Now()}, nil)
	if again == nil || again.Code != protocol.CodeQuarantined || len(again.Data.Attempts) != 3 || again.Data.JobID != "poison" {
		t.Errorf("again: %v", again)
	}
	f.run("{}").succeed("{}")
}

// Who was ended by somebody else is not to blame for the death of each of its workers.
func TestNoQuarantineForOthersDoing(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", attempts(2))
	g := newGate(t)
	c := f.run(`{"gate":"` + string(g) + `","exit":3}`)
	goOn := g.reached(t)
	if _, err := f.d.StopWorker(t.Context(), "text/0", true); err != nil {
		t.Fatal(err)
	}
	goOn()
	f.eventually("the second attempt", func() bool { return c.job.Attempts() == 2 })
	g.open(t)
	if err := c.fail(protocol.CodeWorkerDied); len(err.Data.Attempts) != 2 {
		t.Errorf("error %v of %+v", err, err.Data)
	}
}

// A call beside another one that kills their worker is told that it may try again, or does so itself.
func TestSiblingDies(t *testing.T) {
	for _, most := range []int{1, 2} {
		f := newFixture(t, nil)
		f.add("text", "concurrent", func(s *setup) { s.Options.Concurrency, s.attempts = 4, most })
		f.settled()
		held := f.run(`{"hold":true}`)
		f.run("{}").succeed("{}") // so the one before has been read
		bad := f.run(`{"exit":true}`)
		if most == 1 {
			bad.refused(protocol.CodeWorkerDied)
			if err := held.fail(protocol.CodeWorkerDied); !err.Data.Retryable || len(err.Data.Attempts) != 1 {
				t.Errorf("error %v of %+v", err, err.Data)
			}
		} else { // both run again, and the bad one takes the other with it once more
			bad.refused(protocol.CodeQuarantined)
			held.refused(protocol.CodeQuarantined)
		}
		f.close()
	}
}

// Attempts are those of the pool that the call runs in, as it is then.
func TestAttemptsAreTuned(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", attempts(1))
	g := newGate(t)
	params := `{"gate":"` + string(g) + `","upto":1,"exit":3}`
	c := f.run(params)
	goOn := g.reached(t)
	f.d.Change("text", func(o *dispatch.PoolOptions) bool { o.MaxAttempts = 2; return true })
	goOn()
	f.eventually("the second attempt", func() bool { return c.job.Attempts() == 2 })
	g.open(t)
	c.succeed(params)
}

package dispatch_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/internal/workers"
	"supervisord/protocol"
)

// With room for a second process the successor is ready before the old one goes: no call waits for a start or a stop, and
// the worker keeps its place.
func TestRecycleBefore(t *testing.T) {
	f := newFixture(t, nil)
	ready, stop := t.TempDir()+"/ready", newGate(t)
	m := manner{From: 2, Wait: ready, StopGate: []string{string(stop)}}
	f.add("text", "model", func(s *setup) {
		s.args, s.MaxJobs, s.PoolSpec.MaxWorkers, s.ReplaceBefore = m.arg(), 3, 2, true
	})
	f.settled()
	for range 8 { // the third makes it due; while its successor starts it goes on
		c := f.run("{}")
		c.succeed("{}")
		if a := c.at(); a.Worker != "text/0" || a.Incarnation != 1 {
			t.Fatalf("answered by %+v", a)
		}
	}
	if err := os.WriteFile(ready, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	goOn := stop.reached(t) // the old one is told to stop, and does not end
	for range 8 {
		c := f.run("{}")
		c.succeed("{}")
		if a := c.at(); a.Worker != "text/0" || a.Incarnation != 2 {
			t.Fatalf("answered by %+v", a)
		}
	}
	goOn() // now there is room for the successor of the second, which is due, too
	f.eventually("the third process", func() bool {
		c := f.run("{}")
		c.succeed("{}")
		return c.at().Incarnation == 3
	})
	if exit := f.d.Workers()[0].LastExit; exit == nil || exit.Cause != string(protocol.ExitStopped) {
		t.Errorf("last exit %+v", exit)
	}
}

// A worker that is due while its predecessor still stops is replaced when that has ended, whatever asks for it.
func TestRecycleBesidePredecessor(t *testing.T) {
	for name, ask := range map[string]func(*fixture){
		"max_jobs_per_worker": nil,
		"roll":                func(f *fixture) { f.roll(manner{}, nil) },
		"restart":             func(f *fixture) { f.restart() },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			stop := newGate(t)
			m := manner{StopGate: []string{string(stop)}}
			f.add("text", "model", func(s *setup) {
				s.args, s.PoolSpec.MaxWorkers, s.ReplaceBefore = m.arg(), 3, true
				if ask == nil {
					s.MaxJobs = 1
				}
			})
			f.settled()
			if err := f.d.Restart(t.Context(), "text"); err != nil {
				t.Fatal(err)
			}
			goOn := stop.reached(t)
			for range 3 {
				c := f.run("{}")
				c.succeed("{}")
				if a := c.at(); a.Worker != "text/0" || a.Incarnation != 2 {
					t.Fatalf("answered by %+v", a)
				}
			}
			if ask != nil {
				ask(f)
			}
			f.eventually("the wish", func() bool { return f.d.Rolls("text") > 0 || f.d.Due("text/0") })
			goOn()
			f.eventually("the third process", func() bool {
				c := f.run("{}")
				c.succeed("{}")
				return c.at().Incarnation >= 3
			})
		})
	}
}

// A worker that dies while its successor starts is followed by that, for which the calls wait, and can be replaced again.
func TestDiesBeforeSuccessor(t *testing.T) {
	f := newFixture(t, nil)
	ready := t.TempDir() + "/ready"
	m := manner{From: 3, Wait: ready}
	f.add("text", "model", func(s *setup) { s.args, s.PoolSpec.MaxWorkers, s.ReplaceBefore = m.arg(), 2, true })
	f.settled()
	f.restarted(f.restart())
	f.eventually("the end of the first", func() bool { return len(f.exited()) == 1 })
	done := f.restart()
	f.eventually("the third", func() bool { return f.logs.FilterMessage("worker started").Len() == 3 })
	if err := unix.Kill(f.d.Workers()[0].PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.restarted(done)
	c := f.run("{}")
	f.eventually("the end of the second", func() bool { return len(f.exited()) == 2 })
	if err := os.WriteFile(ready, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.succeed("{}")
	if a := c.at(); a.Worker != "text/0" || a.Incarnation != 3 {
		t.Errorf("answered by %+v", a)
	}
	f.restarted(f.restart())
	c = f.run("{}")
	c.succeed("{}")
	if a := c.at(); a.Worker != "text/0" || a.Incarnation != 4 {
		t.Errorf("answered by %+v", a)
	}
}

// restart begins to restart the pool "text".
func (f *fixture) restart() <-chan *protocol.Error {
	done := make(chan *protocol.Error, 1)
	go func() { done <- f.d.Restart(context.Background(), "text") }()
	return done
}

// restarted waits until a restart has succeeded.
func (f *fixture) restarted(done <-chan *protocol.Error) {
	f.t.Helper()
	select {
	case err := <-done:
		if err != nil {
			f.t.Error(err)
		}
	case <-time.After(patience):
		f.t.Fatal("waited in vain for a restart")
	}
}

// Without room one process goes before the other comes; a call that comes meanwhile waits, none is lost, and no worker is
// stopped that has a job.
func TestRecycleAfter(t *testing.T) {
	const callers, each = 4, 10
	f := newFixture(t, nil)
	f.add("text", "actor", func(s *setup) { s.MaxJobs, s.ReplaceBefore = 5, true })
	f.settled()
	var calls sync.WaitGroup
	for range callers {
		calls.Go(func() {
			for range each {
				c := f.run(`{"chunks":2}`)
				<-c.done
				if n := len(c.job.Record().Attempts); c.err != nil || n != 1 {
					t.Errorf("error %v, %d attempts", c.err, n)
				}
			}
		})
	}
	calls.Wait()
	c := f.run("{}")
	c.succeed("{}")
	if n := c.at().Incarnation; n < 3 || n > callers*each/5+1 { // the daemon may see late that it is time
		t.Errorf("incarnation %d after %d calls", n, callers*each)
	}
}

// A worker that is too old, or too large, is replaced, but not while it has a job.
func TestRecycleAgeAndMemory(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*setup)
		params string
	}{
		"age":    {func(s *setup) { s.MaxAge = 50 * time.Millisecond }, "{}"},
		"memory": {func(s *setup) { s.MaxMemory = 200 << 20 }, `{"grow":300000000}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.add("text", "actor", c.change)
			f.run(c.params).succeed(c.params)
			f.eventually("another process", func() bool {
				g := newGate(t)
				running := f.run(g.params())
				running.produced(1)
				waiting := f.run("{}")
				g.open(t)
				running.succeed(g.params())
				waiting.succeed("{}")
				return waiting.at().Incarnation > 1
			})
		})
	}
}

// Two workers that are due at once are never down together.
func TestRecycleOneByOne(t *testing.T) {
	f := newFixture(t, nil)
	stops := []gate{newGate(t), newGate(t)}
	m := manner{StopGate: []string{string(stops[0]), string(stops[1])}}
	f.add("text", "model", func(s *setup) {
		s.args, s.MaxJobs, s.ReplaceBefore = m.arg(), 1, true
		s.MinWorkers, s.PoolSpec.MaxWorkers = 2, 2
	})
	f.settled()
	one, g1 := f.occupy(t)
	two, g2 := f.occupy(t)
	slots := map[string]int{"text/0": 0, "text/1": 1}
	first, second := slots[one.at().Worker], slots[two.at().Worker]
	if first == second {
		t.Fatal("both ran on the same worker")
	}
	g1.open(t)
	one.succeed(g1.params())
	goOn := stops[first].reached(t)
	g2.open(t)
	two.succeed(g2.params())
	for range 5 {
		c := f.run("{}")
		c.succeed("{}")
		if a := c.at(); slots[a.Worker] != second || a.Incarnation != 1 {
			t.Fatalf("answered by %+v", a)
		}
	}
	goOn()
	goOn = stops[second].reached(t)
	for range 5 {
		c := f.run("{}")
		c.succeed("{}")
		if a := c.at(); slots[a.Worker] != first || a.Incarnation != 2 {
			t.Fatalf("answered by %+v", a)
		}
	}
	goOn()
}

// A successor that does not become ready leaves the old one serving, which is no failure of the pool, and is tried again.
func TestRecycleFails(t *testing.T) {
	f := newFixture(t, nil)
	weights := t.TempDir() + "/weights"
	m := manner{From: 2, Missing: weights}
	f.add("text", "model", func(s *setup) {
		s.args, s.MaxJobs, s.PoolSpec.MaxWorkers, s.ReplaceBefore = m.arg(), 1, 2, true
		s.Policy, s.RestartBackoffMax = workers.PolicyNever, 20*time.Millisecond
	})
	f.settled()
	f.eventually("two attempts at a successor", func() bool {
		c := f.run("{}")
		c.succeed("{}")
		if a := c.at(); a.Worker != "text/0" || a.Incarnation != 1 {
			t.Fatalf("answered by %+v", a)
		}
		return f.logs.FilterMessage("worker exited").Len() >= 2
	})
	if s := f.d.Pools()[0]; s.State != protocol.PoolReady || s.Workers.Failed != 0 {
		t.Errorf("pool %+v", s)
	}
	if err := os.WriteFile(weights, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.eventually("the successor", func() bool {
		c := f.run("{}")
		c.succeed("{}")
		return c.at().Incarnation > 1
	})
}

// Recycles are no failures: under the strictest policy the pool goes on.
func TestRecycleIsNoFailure(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", func(s *setup) { s.MaxJobs, s.Policy, s.MaxRestartAttempts = 1, workers.PolicyNever, 0 })
	f.eventually("the tenth process", func() bool {
		c := f.run("{}")
		c.succeed("{}")
		return c.at().Incarnation == 10
	})
}

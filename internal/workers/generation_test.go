package workers_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"supervisord/internal/workers"
	"supervisord/internal/workers/workertest"
	"supervisord/protocol"
)

// as is the options of the fixture with another role.
func (f *fixture) as(role string, args ...string) workers.Options {
	o := f.options
	o.Command, o.Env = workertest.Command(role, args...)
	return o
}

func (f *fixture) roll(o workers.Options) uint64 {
	f.t.Helper()
	n, err := f.pool.Roll(o)
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

func two(o *workers.Options) { o.MaxWorkers = 2 }

// The first process of a new generation decides for the pool.
func TestRoll(t *testing.T) {
	f := newFixture(t, two, "echo")
	first, second := f.up(0), f.up(1)
	if n := f.roll(f.as("stream")); n != 2 {
		t.Errorf("generation %d", n)
	}
	if !first.Current() || !second.Current() {
		t.Error("a generation is current before its first process is ready")
	}
	f.pool.Replace(0)
	pilot := f.nextUp()
	f.expect("rolled 2")
	if first.Current() || second.Current() || !pilot.Current() {
		t.Error("the wrong processes are of the current generation")
	}
	f.run(pilot, `{"count":1}`)
	f.expect(`j1 chunk {"i":0,"pad":""} {} false`, `j1 success {"streamed":true}`)
	f.pool.Retire(first)
	f.expect("down 1", "retired 0")
	f.pool.Retire(second) // one after the other, where there is no room for both
	f.expect("down 1", "ended free")
	if inc := f.up(1); !inc.Current() {
		t.Error("a start has old options")
	}
}

// A generation whose first process does not get ready is given up. Nobody is without a worker because of it.
func TestRollFails(t *testing.T) {
	t.Run("before the old one goes", func(t *testing.T) {
		f := newFixture(t, nil, "echo")
		old := f.up(0)
		f.roll(f.as("exit-at-start", "3"))
		f.pool.Replace(0)
		f.expectAll("not rolled 2", "replace failed start_failed")
		var failed *workers.RollError
		if !errors.As(f.rollErr, &failed) || failed.Generation != 2 || failed.Exit == nil || *failed.Exit.Code != 3 ||
			!strings.Contains(failed.Error(), "pool p: the old workers stay: worker p/0: exited with status 3 before it was ready") {
			t.Errorf("error %+v", f.rollErr)
		}
		f.run(old, "{}")
		f.expect("j1 success {}")
		f.pool.Replace(0) // with the old options again
		if inc := f.nextUp(); !inc.Current() || !old.Current() {
			t.Error("not current")
		}
	})
	t.Run("in an empty slot", func(t *testing.T) {
		f := newFixture(t, nil, "echo") // policy never: a failure would be the end
		old := f.up(0)
		f.roll(f.as("exit-at-start", "3"))
		f.pool.Retire(old)
		f.expect("down 1", "ended free")
		f.pool.Start(0)
		f.expect("not rolled 2", "ended coming")
		f.run(f.nextUp(), "{}")
		f.expect("j1 success {}")
	})
	t.Run("no such program", func(t *testing.T) {
		f := newFixture(t, nil, "echo")
		f.up(0)
		o := f.options
		o.Command = []string{"no-such-program"}
		f.roll(o)
		f.pool.Replace(0)
		f.expectAll("not rolled 2", "replace failed start_failed")
	})
}

// A crash before or beside a pilot is mended with the options that are known to work.
func TestCrashBesidePilot(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	f := newFixture(t, func(o *workers.Options) { o.MaxWorkers, o.Policy = 2, workers.PolicyAlways }, "echo")
	f.up(0)
	other := f.up(1)
	f.roll(f.as("gated", "2", gate, "4"))
	kill(t, other)
	f.expect("down 1", "ended coming")
	other = f.nextUp()
	f.pool.Replace(0)
	kill(t, other)
	f.expect("down 2", "ended coming")
	f.run(f.nextUp(), "{}")
	f.expect("j1 success {}")
	touch(t, gate)
	f.expectAll("not rolled 2", "replace failed start_failed")
}

// A generation takes the place of one that is open, and its pilot that of the other's.
func TestRollReplacesRoll(t *testing.T) {
	t.Run("beside the old one", func(t *testing.T) {
		f := newFixture(t, nil, "echo")
		f.up(0)
		f.roll(f.as("never-ready"))
		f.pool.Replace(0)
		waitForLog(f, "worker started", 2)
		f.roll(f.as("stream"))
		f.expectAll("not rolled 2", "replace failed stopped")
		f.pool.Replace(0)
		f.nextUp()
		f.expect("rolled 3")
	})
	t.Run("in an empty slot", func(t *testing.T) {
		f := newFixture(t, two, "echo")
		f.up(0)
		f.roll(f.as("never-ready"))
		f.pool.Start(1)
		waitForLog(f, "worker started", 2)
		f.roll(f.as("stream"))
		f.expectAll("not rolled 2", "ended coming")
		f.nextUp()
		f.expect("rolled 3")
	})
	t.Run("without a pilot", func(t *testing.T) {
		f := newFixture(t, nil, "echo")
		f.up(0)
		f.roll(f.as("never-ready"))
		f.roll(f.as("stream"))
		f.expect("not rolled 2")
		f.pool.Replace(0)
		f.nextUp()
		f.expect("rolled 3")
	})
}

// Where nothing is to be lost, new options hold at once, and heal what the old ones could not.
func TestRollHeals(t *testing.T) {
	t.Run("nothing runs", func(t *testing.T) {
		f := newFixture(t, nil, "exit-at-start", "1")
		f.roll(f.as("echo"))
		f.expect("rolled 2")
		f.up(0)
	})
	t.Run("failed", func(t *testing.T) {
		f := newFixture(t, nil, "exit-at-start", "1")
		f.pool.Start(0)
		f.expect("ended gone")
		f.roll(f.as("echo"))
		f.upAmong(2, "rolled 2", "ended coming")
	})
	t.Run("spent", func(t *testing.T) {
		f := newFixture(t, func(o *workers.Options) { o.Policy, o.MaxRestartAttempts = workers.PolicyAlways, 0 }, "exit-at-start", "1")
		f.pool.Start(0)
		f.expect("ended gone")
		f.roll(f.as("echo"))
		f.upAmong(2, "rolled 2", "ended coming")
	})
	t.Run("in backoff", func(t *testing.T) {
		f := newFixture(t, func(o *workers.Options) {
			o.Policy, o.RestartBackoffBase, o.RestartBackoffMax = workers.PolicyBackoff, 1000*time.Hour, 1000*time.Hour
		}, "exit-at-start", "1")
		f.pool.Start(0)
		f.expect("ended coming", "ended coming")
		f.roll(f.as("echo"))
		f.upAmong(3, "rolled 2")
	})
	t.Run("the last old one dies", func(t *testing.T) {
		f := newFixture(t, nil, "never-ready")
		f.pool.Start(0)
		waitForLog(f, "worker started", 1)
		f.roll(f.as("echo"))
		killProcess(t, f.pool.List()[0].PID)
		f.upAmong(2, "ended coming", "rolled 2")
	})
}

// A generation with fewer workers empties the slots that are too many.
func TestTuneWorkers(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) { o.MaxWorkers, o.Concurrency = 3, 8 }, "concurrent")
	f.up(0)
	last := f.up(2)
	f.run(last, `{"hold":true}`)
	f.run(last, `{}`)
	f.expect("j2 success {}")
	o := f.options
	tune := func(n int) {
		o.MaxWorkers = n
		if err := f.pool.Tune(o); err != nil {
			t.Fatal(err)
		}
	}
	tune(1)
	f.expect("down 1")
	if w := f.pool.List(); len(w) != 2 || w[1].Worker != "p/2" || w[1].State != protocol.WorkerDraining {
		t.Errorf("workers %+v", w)
	}
	f.pool.Start(1) // there is none
	release(t, last)
	f.expect("j1 success {}", "ended free")
	if w := f.pool.List(); len(w) != 1 {
		t.Errorf("workers %+v", w)
	}
	tune(4)
	if w := f.pool.List(); len(w) != 4 || w[3].State != protocol.WorkerStopped {
		t.Errorf("workers %+v", w)
	}
	f.up(3)
	f.pool.Start(2)
	if inc := f.nextUp(); inc.Number() != 2 {
		t.Errorf("incarnation %d", inc.Number())
	}
}

// Times and policies change for the processes that are there, the rest at the next start; nonsense changes nothing.
func TestTune(t *testing.T) {
	f := newFixture(t, nil, "deaf")
	inc := f.up(0)
	o := f.as("echo")
	o.Policy, o.StopTimeout = workers.PolicyAlways, time.Millisecond
	bad := o
	bad.MaxMessage = 0
	if err := f.pool.Tune(bad); err == nil || !strings.Contains(err.Error(), `pool "p": a pool needs`) {
		t.Errorf("error %v", err)
	}
	if _, err := f.pool.Roll(bad); err == nil {
		t.Error("nonsense was taken")
	}
	if err := f.pool.Tune(o); err != nil {
		t.Fatal(err)
	}
	if !inc.Current() {
		t.Error("tuning made another generation")
	}
	kill(t, inc)
	f.expect("down 1", "ended coming")
	f.run(f.nextUp(), "{}")
	f.expect("j1 success {}")
	f.pool.Stop(t.Context())
	if err := f.pool.Tune(o); !errors.Is(err, workers.ErrStopped) {
		t.Errorf("after the stop: %v", err)
	}
	if _, err := f.pool.Roll(o); !errors.Is(err, workers.ErrStopped) {
		t.Errorf("after the stop: %v", err)
	}
}

// Who waits for the outcome of a roll gets it, also when the pool stops.
func TestStopWhileRolling(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) { o.StopTimeout = time.Millisecond }, "echo")
	f.up(0)
	f.roll(f.as("never-ready"))
	f.pool.Replace(0)
	f.pool.Stop(t.Context())
	if events := strings.Join(f.take(), "|"); strings.Count(events, "not rolled 2") != 1 || strings.Count(events, "ended gone") != 1 {
		t.Errorf("events %s", events)
	}
}

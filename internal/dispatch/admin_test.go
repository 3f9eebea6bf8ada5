package dispatch_test

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"supervisord/internal/jobs"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

// A restart replaces each worker, and says so when that is done; no call fails.
func TestRestart(t *testing.T) {
	for name, change := range map[string]func(*setup){
		"before": func(s *setup) { s.MinWorkers, s.PoolSpec.MaxWorkers, s.ReplaceBefore = 2, 3, true },
		"after":  func(s *setup) { s.MinWorkers, s.PoolSpec.MaxWorkers = 2, 2 },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.add("text", "model", change)
			f.settled()
			stop := f.keepCallingAny(t, "echo")
			if err := f.d.Restart(t.Context(), "text"); err != nil {
				t.Fatal(err)
			}
			stop()
			f.eventually("both workers", func() bool { return f.d.Pools()[0].Workers.Ready == 2 })
			for _, w := range f.d.Workers() {
				if w.State == protocol.WorkerReady && w.Incarnation < 2 {
					t.Errorf("worker %+v", w)
				}
			}
		})
	}
}

// A restart tries again to start what was given up.
func TestRestartHeals(t *testing.T) {
	f := newFixture(t, nil)
	weights := t.TempDir() + "/weights"
	f.add("text", "needs-file", func(s *setup) {
		s.args, s.Policy = []string{weights}, workers.PolicyNever
	})
	f.run("{}").refused(protocol.CodePoolUnavailable)
	if err := os.WriteFile(weights, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.run("{}").refused(protocol.CodePoolUnavailable) // it does not heal by itself
	if err := f.d.Restart(t.Context(), "text"); err != nil {
		t.Fatal(err)
	}
	f.eventually("an answer", func() bool { return f.run("{}").wait() == nil })
}

// A restart waits for what is busy; who leaves it does not end it.
func TestRestartIsLeft(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", nil)
	f.settled()
	busy, g := f.occupy(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan *protocol.Error, 1)
	go func() {
		_, err := f.d.StopWorker(ctx, "text/0", false)
		done <- err
	}()
	f.eventually("the worker to drain", func() bool { return f.d.Workers()[0].State == protocol.WorkerDraining })
	select {
	case err := <-done:
		t.Fatalf("stopped while it was busy: %v", err)
	default:
	}
	cancel()
	if err := <-done; err == nil || err.Code != protocol.CodeCancelled {
		t.Errorf("error %v", err)
	}
	next := f.run("{}")
	g.open(t)
	busy.succeed(g.params())
	next.succeed("{}")
	if a := next.at(); a.Incarnation != 2 {
		t.Errorf("the next call ran as %+v", a)
	}
}

// A restart or a stop whose successor does not become ready says so, and the old worker serves on. What went wrong earlier
// is not mistaken for it.
func TestRestartFails(t *testing.T) {
	f := newFixture(t, nil)
	weights := t.TempDir() + "/weights"
	m := manner{From: 2, Missing: weights}
	f.add("text", "model", func(s *setup) { s.args, s.PoolSpec.MaxWorkers, s.ReplaceBefore = m.arg(), 2, true })
	f.settled()
	errs := make(chan *protocol.Error, 2)
	go func() { errs <- f.d.Restart(t.Context(), "text") }()
	go func() {
		_, err := f.d.StopWorker(t.Context(), "text/0", false)
		errs <- err
	}()
	for range 2 {
		var err *protocol.Error
		select {
		case err = <-errs:
		case <-time.After(patience):
			t.Fatal("waited in vain for the failure")
		}
		if err == nil || err.Code != protocol.CodePoolUnavailable || !strings.Contains(err.Message, "worker text/0 stays") ||
			!strings.Contains(err.Message, "exited with status 3") || !slices.Contains(err.Data.StderrTail, "no weights yet") {
			t.Errorf("error %v", err)
		}
	}
	f.run("{}").succeed("{}")
	n := f.logs.FilterMessage("worker exited").Len()
	left, cancel := context.WithCancel(t.Context())
	cancel()
	_ = f.d.Restart(left, "text") // nobody waits for this one
	f.eventually("another failure", func() bool { return f.logs.FilterMessage("worker exited").Len() > n })
	if err := os.WriteFile(weights, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.eventually("a restart", func() bool { // the failure may be on its way still
		err := f.d.Restart(t.Context(), "text")
		return err == nil
	})
	if _, err := f.d.StopWorker(t.Context(), "text/0", false); err != nil {
		t.Errorf("error %v", err)
	}
}

// A restart is not forgotten where a roll fails meanwhile.
func TestRestartBesideRoll(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", spare(2))
	f.settled()
	one, g1 := f.occupy(t)
	two, g2 := f.occupy(t)
	if one.at().Worker != "text/0" { // whose turn it is first
		one, g1, two, g2 = two, g2, one, g1
	}
	rolled := f.roll(manner{From: 1, Missing: "/nowhere/weights"}, nil)
	f.eventually("the first to drain", func() bool { return f.d.Workers()[0].State == protocol.WorkerDraining })
	restarted := make(chan *protocol.Error, 1)
	go func() { restarted <- f.d.Restart(t.Context(), "text") }()
	f.eventually("the restart", func() bool { return f.d.Due("text/1") })
	g1.open(t)
	one.succeed(g1.params())
	if err := f.rolled(rolled); err == nil {
		t.Error("rolled")
	}
	g2.open(t)
	two.succeed(g2.params())
	select {
	case err := <-restarted:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the restart does not end")
	}
}

// An operator's stop lets a worker end its job, or with force does not; either way another takes its place.
func TestStopWorker(t *testing.T) {
	for name, c := range map[string]struct{ force, draining bool }{
		"graceful": {false, false}, "force": {true, false}, "force after graceful": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.add("text", "model", func(s *setup) { s.Policy, s.MaxRestartAttempts = workers.PolicyNever, 0 })
			f.settled()
			busy, g := f.occupy(t)
			waiting := f.run("{}")
			done := make(chan protocol.Worker, 2)
			stop := func(force bool) {
				w, err := f.d.StopWorker(t.Context(), "text/0", force)
				if err != nil {
					t.Errorf("error %v", err)
				}
				done <- w
			}
			if !c.force || c.draining {
				go stop(false)
				f.eventually("the worker to drain", func() bool { return f.d.Workers()[0].State == protocol.WorkerDraining })
			}
			if c.force {
				go stop(true)
				if err := busy.fail(protocol.CodeWorkerDied); err.Data.Cause != protocol.CauseSignal || err.Data.Signal != "SIGKILL" {
					t.Errorf("error %v of %+v", err, err.Data)
				}
			} else {
				g.open(t)
				busy.succeed(g.params())
			}
			select {
			case w := <-done:
				if w.Worker != "text/0" || w.Pool != "text" {
					t.Errorf("worker %+v", w)
				}
			case <-time.After(patience):
				t.Fatal("the stop does not end")
			}
			waiting.succeed("{}")
			if exit := f.d.Workers()[0].LastExit; exit == nil || exit.Cause != string(protocol.ExitStopped) {
				t.Errorf("last exit %+v", exit)
			}
		})
	}
}

// A worker that has no process is stopped already.
func TestStopStopped(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", func(s *setup) { s.MinWorkers = 0 })
	for range 2 {
		w, err := f.d.StopWorker(t.Context(), "text/0", true)
		if err != nil || w.State != protocol.WorkerStopped || w.PID != 0 {
			t.Errorf("worker %+v, error %v", w, err)
		}
	}
	f.run("{}").succeed("{}")
}

// An idle worker says itself what its state is; of one that is busy it is known what it said last, and when.
func TestWorkerState(t *testing.T) {
	f := newFixture(t, nil)
	config := setting{Value: "v"}
	pool := modelPool(manner{}, 1, "a")
	f.add("text", "model", func(s *setup) {
		pool(s)
		s.config = map[string]json.RawMessage{"a": config.json()}
	})
	f.settled()
	f.who("a")
	began := time.Now()
	first, err := f.d.WorkerState(t.Context(), "text/0")
	if err != nil || first.AsOf.Before(began) || !strings.Contains(string(first.CurrentConfig), `"Value":"v"`) ||
		first.CurrentPlugin != "a" || first.State != protocol.WorkerReady || !slices.Equal(first.LoadedPlugins, []string{"a"}) {
		t.Errorf("state %+v, error %v", first, err)
	}
	busy, g := f.occupyPlugin(t, "a")
	second, err := f.d.WorkerState(t.Context(), "text/0")
	if err != nil || !second.AsOf.Equal(first.AsOf) || string(second.CurrentConfig) != string(first.CurrentConfig) ||
		!slices.Equal(second.JobIDs, []string{busy.job.ID}) {
		t.Errorf("state %+v, error %v", second, err)
	}
	g.open(t)
	busy.succeed(g.params())
	third, err := f.d.WorkerState(t.Context(), "text/0")
	if err != nil || !third.AsOf.After(first.AsOf) {
		t.Errorf("state %+v, error %v", third, err)
	}
}

// A worker that does not answer costs whoever asks no more than its time, and its place.
func TestWorkerStateTimesOut(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "deaf", func(s *setup) { s.UnloadTimeout = 100 * time.Millisecond })
	f.settled()
	w, err := f.d.WorkerState(t.Context(), "text/0")
	if err != nil || w.Worker.Worker != "text/0" {
		t.Errorf("state %+v, error %v", w, err)
	}
	f.eventually("another process", func() bool { return f.d.Workers()[0].Incarnation > 1 })
}

// The names of workers that are not there are told with those that may have been meant.
func TestUnknownWorker(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", spare(2))
	f.settled()
	for _, id := range []string{"text/2", "tex/1", "text", ""} {
		_, stop := f.d.StopWorker(t.Context(), id, true)
		_, state := f.d.WorkerState(t.Context(), id)
		for _, err := range []*protocol.Error{stop, state} {
			if err == nil || err.Code != protocol.CodeUnknownWorker || id != "" && !slices.Contains(err.Data.Known, "text/1") {
				t.Errorf("%q: error %+v", id, err)
			}
		}
	}
	if err := f.d.Restart(t.Context(), "texd"); err == nil || err.Code != protocol.CodeUnknownPool || !slices.Contains(err.Data.Known, "text") {
		t.Errorf("error %+v", err)
	}
	f.start(jobs.Spec{}).succeed("{}")
}

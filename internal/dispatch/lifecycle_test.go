package dispatch_test

import (
	"context"
	"encoding/json"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"supervisord/internal/dispatch"
	"supervisord/internal/jobs"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

// A roll is given up where the options of before come back while it waits for a busy worker: none of its processes serves.
func TestRollIsReverted(t *testing.T) {
	f := newFixture(t, nil)
	old := manner{Tag: "old"}
	f.add("text", "model", func(s *setup) { s.args = old.arg() })
	f.settled()
	before := f.changed(old, func(o *dispatch.PoolOptions) { o.Source = "old" })
	busy, g := f.occupy(t)
	done := f.roll(manner{Tag: "new"}, func(o *dispatch.PoolOptions) { o.Source = "new" })
	f.eventually("the worker to drain", func() bool { return f.d.Workers()[0].State == protocol.WorkerDraining })
	f.d.Tune(before)
	if err := f.rolled(done); err == nil {
		t.Error("rolled")
	}
	g.open(t)
	busy.succeed(g.params())
	for range 5 {
		if a := f.who("echo"); a.Tag != "old" {
			t.Errorf("answer %+v", a)
		}
	}
	if _, o, _ := f.d.Pool("text"); o.Source != "old" {
		t.Errorf("the pool is made from %v", o.Source)
	}
}

// Where the first new worker is ready and the second is not at once, that is tried again until no old one is left.
func TestRollGoesOnAfterFailure(t *testing.T) {
	f := newFixture(t, nil)
	weights := t.TempDir() + "/weights"
	provide := func() {
		if err := os.WriteFile(weights, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	provide()
	stop := newGate(t)
	old := manner{Tag: "old", StopGate: []string{string(stop)}}
	f.add("text", "model", func(s *setup) {
		s.args, s.MinWorkers, s.PoolSpec.MaxWorkers, s.ReplaceBefore = old.arg(), 2, 3, true
		s.RestartBackoffMax = 20 * time.Millisecond
	})
	f.settled()
	f.mustRoll(manner{Tag: "new", From: 1, Missing: weights}, nil)
	goOn := stop.reached(t) // until it has ended there is no room for the second
	if err := os.Remove(weights); err != nil {
		t.Fatal(err)
	}
	goOn()
	f.eventually("the end of the first old one and two failures", func() bool { return len(f.exited()) >= 3 })
	if w := f.d.Workers()[1]; w.State != protocol.WorkerReady || w.Incarnation != 1 {
		t.Errorf("worker %+v", w)
	}
	provide()
	f.allAre("new", 2)
}

// A pool of which all workers are down and that is rolled to fewer serves on when its only one has been stopped.
func TestRollToFewer(t *testing.T) {
	f := newFixture(t, nil)
	bad := manner{From: 1, Missing: "/nowhere/weights"}
	f.add("text", "model", func(s *setup) {
		s.args, s.MinWorkers, s.PoolSpec.MaxWorkers = bad.arg(), 4, 4
		s.Policy, s.MaxRestartAttempts, s.RestartBackoffBase = workers.PolicyBackoff, 5, time.Hour
	})
	f.eventually("all to be down", func() bool { return len(f.exited()) == 4 })
	f.mustRoll(manner{Tag: "new"}, func(o *dispatch.PoolOptions) {
		o.Spec.MinWorkers, o.Spec.MaxWorkers, o.Workers.MaxWorkers = 1, 1, 1
	})
	for range 3 {
		if a := f.who("echo"); a.Tag != "new" || a.Worker != "text/0" {
			t.Errorf("answer %+v", a)
		}
		if _, err := f.d.StopWorker(t.Context(), "text/0", false); err != nil {
			t.Fatal(err)
		}
	}
	f.who("echo")
}

// removedBusy is a pool "text" that was removed while its only worker runs a job, and that was added again, which waits for
// the job's end at the gate.
func (f *fixture) removedBusy(t *testing.T) (*call, gate) {
	t.Helper()
	f.add("text", "model", nil)
	f.settled()
	busy, g := f.occupy(t)
	o := f.changed(manner{}, nil)
	f.d.Remove("text")
	if err := f.d.Add(o); err != nil {
		t.Fatal(err)
	}
	return busy, g
}

// A pool that was removed, added and removed again does not come back.
func TestRemoveAddRemove(t *testing.T) {
	f := newFixture(t, nil)
	busy, g := f.removedBusy(t)
	f.d.Remove("text")
	g.open(t)
	busy.succeed(g.params())
	f.eventually("the end of the pool", func() bool { return len(f.d.Pools()) == 0 })
	f.start(jobs.Spec{Pool: "text"}).refused(protocol.CodeUnknownPool)
}

// A pool that waits for the end of a removed one of its name is not begun when the daemon stops.
func TestCloseBeforeAddedAgain(t *testing.T) {
	f := newFixture(t, nil)
	busy, _ := f.removedBusy(t)
	f.close()
	if err := busy.wait(); err == nil {
		t.Error("succeeded")
	}
	if n := f.logs.FilterMessage("worker started").Len(); n != 1 {
		t.Errorf("%d processes were started", n)
	}
}

// The end of a removed pool whose process does not heed its stop costs the daemon no more time than it has.
func TestCloseDuringProbeOfRemoved(t *testing.T) {
	f := newFixture(t, nil)
	dir := t.TempDir()
	f.add("text", "model", func(s *setup) {
		// It fails until it is there, and from then on it is never ready.
		s.Command = []string{"/bin/sh", "-c", `test -e "$0/hang" || exit 1; : >"$0/hangs"; exec sleep 1000`, dir}
		s.Policy, s.MaxRestartAttempts, s.RestartBackoffMax = workers.PolicyBackoff, 1, 20*time.Millisecond
		s.StopTimeout, s.StartTimeout = time.Hour, time.Hour
	})
	f.settled() // it is given up
	if err := os.WriteFile(dir+"/hang", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.eventually("a probe", func() bool {
		_, err := os.Stat(dir + "/hangs")
		return err == nil
	})
	f.d.Remove("text")
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		f.close()
	}()
	await(t, closed, "the end of the daemon")
}

// A config that a reload brings reaches the workers of a pool that has no plugins in its configuration.
func TestReloadConfigOfBuiltIn(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", func(s *setup) { s.ReloadTimeout = patience })
	f.settled()
	config := setting{Value: "new"}
	list, err := f.d.ReloadPlugin(t.Context(), "echo", "", config.json())
	f.allWell(told{list, err}, 1)
	if a := f.who("echo"); a.Value != "new" {
		t.Errorf("answer %+v", a)
	}
}

// Of those who want a worker for themselves while it loads a plugin one waits for that; the others are not left waiting, and
// take nothing from that one.
func TestCommandsBesideLoad(t *testing.T) {
	const others = 3
	f := newFixture(t, nil)
	load := newGate(t)
	slow := setting{Gates: []string{string(load)}}
	pool := modelPool(manner{Without: []string{"b"}}, 1, "a", "b")
	f.add("text", "model", func(s *setup) {
		pool(s)
		s.config = map[string]json.RawMessage{"b": slow.json()}
	})
	f.settled()
	loading := f.start(jobs.Spec{Plugin: "b", Params: []byte(whoParams)})
	goOn := load.reached(t)
	// A model's state does not name what it has loaded since its start, so it may be told to load that again, then at once.
	if err := os.Rename(emptyFile(t), string(load)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan *protocol.Error, others+1)
	go func() {
		config := setting{Value: "new"}
		_, err := f.d.ReloadPlugin(t.Context(), "a", "", config.json())
		ended <- err
	}()
	for range others {
		go func() {
			_, err := f.d.WorkerState(t.Context(), "text/0")
			ended <- err
		}()
	}
	for i := range others + 1 {
		if i == others {
			goOn()
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatalf("%d of %d commands have ended", i, others+1)
		}
	}
	if a := loading.who(); a.Plugin != "b" {
		t.Errorf("answer %+v", a)
	}
}

func emptyFile(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/empty"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// While the daemon keeps a worker from writing nothing can be heard of its job, which has all of stall_timeout from then on
// when it may write again.
func TestStallCountsFromRelease(t *testing.T) {
	const limit = 600 * time.Millisecond
	f := newFixture(t, nil)
	f.add("text", "actor", stallTimeout(limit))
	f.settled()
	g := newGate(t)
	// The last chunk is the one that fills the backlog: nothing is left that could be heard later.
	params := `{"chunks":7,"pad":` + strconv.Itoa(backlog/7) + `,"gate":"` + string(g) + `"}`
	c := f.startWithRoom(jobs.Spec{Params: []byte(params), Stream: true}, 0)
	f.eventually("the worker to be held", c.job.Held)
	select {
	case <-c.done:
		t.Fatalf("ended while it was held: %v", c.err)
	case <-time.After(limit * 3 / 2): // half of it has passed since the scheduler has asked last
	}
	released := time.Now()
	c.feed(-1)
	if err := c.fail(protocol.CodeWorkerDied); err.Data.Cause != protocol.CauseStalled {
		t.Errorf("error %v of %+v", err, err.Data)
	}
	if took := time.Since(released); took < limit {
		t.Errorf("stalled %s after it could be heard", took)
	}
}

// Pools that are removed while the daemon stops end with it, whichever comes first.
func TestCloseBesideRemove(t *testing.T) {
	for range 5 {
		f := newFixture(t, nil)
		var names []string
		for i := range 24 {
			name := "p" + strconv.Itoa(i)
			names = append(names, name)
			f.add(name, "actor", func(s *setup) {
				if i > 4 {
					s.MinWorkers = 0
				}
			})
		}
		f.settled()
		var removal sync.WaitGroup
		removal.Go(func() {
			for _, name := range names {
				f.d.Remove(name)
			}
		})
		f.eventually("the first to go", func() bool { return len(f.d.Pools()) < len(names) })
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		f.d.Close(ctx)
		cancel()
		f.closed = true
		removal.Wait()
		for _, w := range f.d.Workers() {
			if w.PID != 0 {
				t.Errorf("worker %+v", w)
			}
		}
		f.host.Close()
	}
}

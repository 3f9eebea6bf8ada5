package workers_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"supervisord/internal/workers"
	"supervisord/protocol"
)

// touch makes the file that processes wait for.
func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func kill(t *testing.T, inc *workers.Incarnation) {
	t.Helper()
	killProcess(t, inc.PID())
}

// While the successor starts, and until it is retired, the old process serves; its end is no failure.
func TestReplace(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	f := newFixture(t, nil, "gated", "2", gate)
	old := f.up(0)
	if !f.pool.Replace(0) || f.pool.Replace(0) {
		t.Fatal("the slot is to have two processes, not three")
	}
	f.run(old, `{"a":1}`)
	f.expect(`j1 success {"a":1}`)
	if w := f.pool.List(); len(w) != 1 || w[0].PID != old.PID() || w[0].State != protocol.WorkerReady {
		t.Errorf("listed while the successor comes: %+v", w)
	}
	touch(t, gate)
	successor := f.nextUp()
	if successor.Number() != 2 || successor.Slot() != 0 || successor.WorkerID() != "p/0" {
		t.Errorf("successor %d of %s", successor.Number(), successor.WorkerID())
	}
	if w := f.pool.List(); w[0].PID != successor.PID() || w[0].Incarnation != 2 || w[0].Restarts != 1 {
		t.Errorf("listed when the successor is ready: %+v", w)
	}
	f.run(old, `{"a":2}`) // until it is retired
	f.expect(`j2 success {"a":2}`)
	f.pool.Retire(old)
	f.expect("down 1", "retired 0")
	f.run(successor, `{"a":3}`)
	f.expect(`j3 success {"a":3}`)
	if last := f.pool.List()[0].LastExit; last == nil || last.Cause != protocol.ExitStopped || last.Message != "retired: exited with status 0" {
		t.Errorf("last exit %+v", last)
	}
}

// A process that is retired ends its jobs first; then the slot is empty, whatever the policy says.
func TestRetire(t *testing.T) {
	for _, policy := range []workers.Policy{workers.PolicyNever, workers.PolicyAlways} {
		t.Run(string(policy), func(t *testing.T) {
			f := newFixture(t, func(o *workers.Options) { o.Concurrency, o.Policy = 8, policy }, "concurrent")
			inc := f.up(0)
			f.run(inc, `{"hold":true}`)
			f.run(inc, `{"hold":true}`)
			f.run(inc, `{}`)
			f.expect("j3 success {}") // the others have arrived too
			f.pool.Retire(inc)
			f.pool.Retire(inc)
			f.expect("down 1")
			if s := f.pool.List()[0].State; s != protocol.WorkerDraining {
				t.Errorf("state %s", s)
			}
			release(t, inc)
			f.expect("j1 success {}", "j2 success {}", "ended free")
			if s := f.pool.Status(); s.State != protocol.PoolReady || s.Workers.Failed != 0 {
				t.Errorf("status %+v", s)
			}
			f.up(0)
		})
	}
	t.Run("dies before", func(t *testing.T) {
		f := newFixture(t, func(o *workers.Options) { o.Policy = workers.PolicyAlways }, "deaf")
		inc := f.up(0)
		f.run(inc, `{}`)
		f.pool.Retire(inc)
		f.expect("down 1")
		kill(t, inc)
		f.expect("j1 lost signal", "ended free")
	})
	t.Run("ignores stop", func(t *testing.T) {
		f := newFixture(t, func(o *workers.Options) { o.StopTimeout = time.Millisecond }, "deaf")
		f.pool.Retire(f.up(0))
		f.expect("down 1", "ended free")
	})
}

// A successor that does not get ready changes nothing, and counts for nothing.
func TestReplaceFails(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	f := newFixture(t, func(o *workers.Options) { o.Policy = workers.PolicyNever }, "gated", "2", gate, "4")
	old := f.up(0)
	touch(t, gate)
	for range 2 { // one may be asked for again
		if !f.pool.Replace(0) {
			t.Fatal("not replaced")
		}
		f.expect("replace failed start_failed")
		f.run(old, `{}`)
		f.expect("j*")
	}
	if w := f.pool.List()[0]; w.PID != old.PID() || w.LastExit != nil {
		t.Errorf("worker %+v", w)
	}
	if n := f.logs.FilterMessage("worker exited").Len(); n != 2 {
		t.Errorf("%d exits were logged", n)
	}
}

// Where the old process dies before, the successor is the worker as any other.
func TestReplacedDiesBefore(t *testing.T) {
	begin := func(t *testing.T, policy workers.Policy, args ...string) (f *fixture, gate string) {
		gate = filepath.Join(t.TempDir(), "gate")
		f = newFixture(t, func(o *workers.Options) { o.Policy, o.MaxRestartAttempts = policy, 1 }, "gated", append([]string{"2", gate}, args...)...)
		old := f.up(0)
		f.pool.Replace(0)
		kill(t, old)
		f.expect("down 1", "retired 0")
		if w := f.pool.List()[0]; w.Incarnation != 2 || w.LastExit.Signal != "SIGKILL" {
			t.Errorf("worker %+v", w)
		}
		return f, gate
	}
	t.Run("ready", func(t *testing.T) {
		f, gate := begin(t, workers.PolicyNever)
		touch(t, gate)
		inc := f.nextUp()
		f.run(inc, "{}")
		f.expect("j1 success {}")
	})
	t.Run("fails, which is the second failure", func(t *testing.T) {
		f, gate := begin(t, workers.PolicyAlways, "4")
		touch(t, gate)
		f.expect("ended gone")
		if r := f.pool.Unavailable().Data.Reason; r != "worker p/0: died 2 times in a row: exited with status 4 before it was ready" {
			t.Errorf("reason %q", r)
		}
	})
}

// A pool stops whatever its processes are about.
func TestStopWhileReplacing(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	f := newFixture(t, func(o *workers.Options) { o.StopTimeout, o.MaxWorkers = time.Millisecond, 2 }, "gated", "2", gate)
	f.up(0)
	old := f.up(1)
	f.pool.Replace(0)
	f.pool.Replace(1)
	touch(t, gate)
	f.nextUp()
	f.nextUp()
	f.pool.Replace(0) // refused: the old ones are still there
	f.pool.Retire(old)
	f.pool.Stop(t.Context())
	counts := map[string]int{}
	for _, e := range f.take() {
		counts[e]++
	}
	if counts["ended gone"] != 2 || counts["retired 0"] != 1 || counts["retired 1"] != 1 || counts["down 1"] != 2 || counts["down 2"] != 2 {
		t.Errorf("events %v", counts)
	}
	if f.pool.Replace(0) {
		t.Error("replaced after the stop")
	}
}

// What stands on a slot without a ready process cannot be replaced.
func TestReplaceNothing(t *testing.T) {
	f := newFixture(t, nil, "never-ready")
	if f.pool.Replace(0) || f.pool.Replace(7) {
		t.Error("replaced what is not there")
	}
	f.pool.Start(0)
	if f.pool.Replace(0) {
		t.Error("replaced what is not ready")
	}
}

package schedule_test

import (
	"testing"
	"time"

	"supervisord/internal/schedule"
)

func TestSetMaxWorkers(t *testing.T) {
	spec := schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MaxWorkers: 1}
	h := newHarness(t, 0, spec)
	a := h.submit("a", "x")
	h.submit("b", "x")
	h.submit("c", "x")
	h.want("start p/0")
	spec.MaxWorkers = 3
	h.m.SetPool(spec, h.now)
	h.want("start p/1", "start p/2")
	h.up("p", 1, 1, "x")
	h.want("grant a p/1")
	spec.MaxWorkers = 1
	h.m.SetPool(spec, h.now)
	h.want("retire p/1")
	h.ended(a)
	h.want()
	h.up("p", 2, 1, "x") // it was coming, and is not needed any more
	h.want("retire p/2")
	h.m.SlotFree("p", 1)
	h.m.SlotGone("p", 2)
	h.want()
	h.up("p", 0, 1, "x")
	h.want("grant b p/0")
	spec.MaxWorkers = 2
	h.m.SetPool(spec, h.now) // a slot is as good as new
	h.want("start p/1")
}

// A slot that nobody knows any more may still have a process, as when one of a failed slot succeeds late.
func TestWorkerBeyondMaxWorkers(t *testing.T) {
	h := newHarness(t, 0, one())
	h.forget()
	h.up("p", 4, 1, "x", "y")
	h.want("retire p/4")
	h.m.SlotFree("p", 4)
	h.m.SlotComing("p", 2)
	h.m.SlotGone("p", 0)
	h.submit("a", "x")
	h.want("reject a unavailable")
}

func TestSetMinWorkers(t *testing.T) {
	spec := idling(0, 3)
	h := newHarness(t, 0, spec)
	spec.MinWorkers = 2
	h.m.SetPool(spec, h.now)
	h.want("start p/0", "start p/1")
	h.up("p", 0, 1, "x")
	h.up("p", 1, 1, "x")
	h.pass(time.Hour)
	h.want()
	spec.MinWorkers = 1
	h.m.SetPool(spec, h.now)
	h.pass(0)
	h.want("retire p/0")
	spec.IdleTimeout = 0
	spec.MinWorkers = 0
	h.m.SetPool(spec, h.now)
	h.pass(time.Hour)
	h.want()
	spec.IdleTimeout = time.Second
	h.m.SetPool(spec, h.now)
	h.pass(0)
	h.want("retire p/1")
}

func TestSetBounds(t *testing.T) {
	spec := one()
	spec.QueueWait = time.Hour
	h := newHarness(t, 0, spec)
	h.submit("a", "x")
	h.submit("b", "x", in("p"))
	h.forget()
	spec.QueueWait, spec.QueueSize, spec.RunTimeout = time.Second, 2, time.Minute
	h.m.SetPool(spec, h.now)
	h.submit("c", "x")
	h.want("reject c queue_full")
	if want := h.now.Add(time.Second); !h.m.Next().Equal(want) {
		t.Errorf("the next tick is at %v, want %v", h.m.Next(), want)
	}
	h.up("p", 0, 1, "x")
	h.pass(time.Second)
	h.want("grant a p/0", "reject b expired 1s")
	spec.RunTimeout = time.Second // tasks that run keep what they were told
	h.m.SetPool(spec, h.now)
	h.pass(58 * time.Second)
	h.want()
	h.pass(time.Second)
	h.want("expire a p/0 1m0s")
}

func TestSetPlugins(t *testing.T) {
	spec := two(1, 1)
	h := newHarness(t, 0, spec, schedule.PoolSpec{Name: "q", Plugins: []string{"y"}, MinWorkers: 1, MaxWorkers: 1})
	h.submit("a", "x")
	b := h.submit("b", "y")
	h.submit("c", "y", in("p"))
	h.forget()
	if b.PoolName() != "p" {
		t.Fatalf("the task counts in %s", b.PoolName())
	}
	spec.Plugins = []string{"z"}
	h.m.SetPool(spec, h.now)
	h.want("reject a unknown_plugin", "reject c unknown_plugin")
	if b.PoolName() != "q" || h.m.QueuedIn("p") != 0 || h.m.QueuedIn("q") != 1 {
		t.Errorf("the task counts in %s", b.PoolName())
	}
	h.submit("d", "x")
	h.submit("e", "z")
	h.want("reject d unknown_plugin")
	h.up("p", 0, 2, "x", "y", "z")
	h.want("grant e p/0")
	spec.Plugins = []string{"y"} // which it has loaded
	h.m.SetPool(spec, h.now)
	h.want("grant b p/0")
}

// A pool whose plugins are no longer configured offers what its workers name.
func TestSetNoPlugins(t *testing.T) {
	spec := two(1, 2)
	h := newHarness(t, 0, spec)
	w := h.up("p", 0, 1, "x", "z")
	h.forget()
	spec.Plugins = nil
	h.m.SetPool(spec, h.now)
	h.submit("a", "y")
	h.submit("b", "z")
	h.want("reject a unknown_plugin", "grant b p/0")
	spec.Plugins = []string{"y"}
	h.m.SetPool(spec, h.now)
	h.m.WorkerDown(w)
	spec.Plugins = nil
	h.m.SetPool(spec, h.now)
	h.submit("c", "y") // nobody can say now
	h.want()
	h.up("p", 0, 1, "x")
	h.want("reject c unknown_plugin")
}

func TestGuessKnowsPoolsThatAreAdded(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", MinWorkers: 1, MaxWorkers: 1})
	h.submit("a", "x")
	h.forget()
	h.m.AddPool(schedule.PoolSpec{Name: "q", MinWorkers: 1, MaxWorkers: 1})
	h.up("p", 0, 1, "y")
	h.want("start q/0")
	h.up("q", 0, 1, "x")
	h.want("grant a q/0")
}

func TestPause(t *testing.T) {
	spec := one()
	spec.MaxWorkers = 2
	h := newHarness(t, 0, spec)
	h.up("p", 0, 1, "x")
	a := h.submit("a", "x")
	b := h.submit("b", "x")
	h.want("start p/0", "grant a p/0", "start p/1")
	h.up("p", 1, 1, "x")
	h.want("grant b p/1")
	c := h.submit("c", "x")
	spec.Paused = true
	h.m.SetPool(spec, h.now)
	h.ended(a)
	h.submit("d", "x")
	h.submit("e", "x", noWait)
	h.want("reject d paused", "reject e paused")
	h.m.Retry(b, h.now) // it was admitted once
	h.want()
	h.counts(2, 0)
	h.pass(time.Hour)
	spec.Paused = false
	h.m.SetPool(spec, h.now)
	h.want("grant b p/0")
	if c.Worker() != nil {
		t.Error("a task runs on a dead worker")
	}
}

// What waits for a pool that is paused, too, is the other pools' to run.
func TestPausedBesideAnother(t *testing.T) {
	p := schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MaxWorkers: 1}
	q := schedule.PoolSpec{Name: "q", Plugins: []string{"x"}, MaxWorkers: 1}
	h := newHarness(t, 0, p, q)
	h.submit("a", "x")
	h.want("start p/0")
	p.Paused = true
	h.m.SetPool(p, h.now)
	h.want("start q/0")
	h.up("p", 0, 1, "x")
	h.submit("b", "x")
	h.want()
	h.up("q", 0, 1, "x")
	h.want("grant a q/0")
}

func TestResumeSharesOut(t *testing.T) {
	spec := schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 2, MaxWorkers: 2}
	h := newHarness(t, 0, spec)
	for _, name := range []string{"a", "b", "c", "d"} {
		h.submit(name, "x", h.within(time.Minute))
	}
	late := h.submit("late", "x", h.within(time.Second))
	spec.Paused = true
	h.m.SetPool(spec, h.now)
	h.up("p", 0, 4, "x")
	h.up("p", 1, 4, "x")
	h.forget()
	h.now = h.now.Add(time.Second)
	spec.Paused = false
	h.m.SetPool(spec, h.now)
	h.want("grant a p/1", "grant b p/0", "grant c p/0", "grant d p/1", "reject late expired 1s")
	if late.Worker() != nil {
		t.Error("the rejected task has a worker")
	}
}

func TestRemovePool(t *testing.T) {
	h := newHarness(t, 0,
		schedule.PoolSpec{Name: "p", Plugins: []string{"x", "y"}, MinWorkers: 2, MaxWorkers: 3},
		schedule.PoolSpec{Name: "q", Plugins: []string{"x"}, MaxWorkers: 1})
	h.up("p", 0, 1, "x", "y")
	a := h.submit("a", "x")
	b := h.submit("b", "x")
	h.submit("c", "y")
	h.submit("d", "x", in("p"))
	h.want("start p/0", "start p/1", "grant a p/0", "start p/2")
	if b.PoolName() != "p" {
		t.Fatalf("the task counts in %s", b.PoolName())
	}
	h.m.RemovePool("p")
	h.want("reject c removed", "reject d removed", "retire p/0", "start q/0")
	if b.PoolName() != "q" || h.m.QueuedIn("p") != 0 {
		t.Errorf("the task counts in %s", b.PoolName())
	}
	h.submit("e", "y")
	h.submit("f", "x", in("p"))
	h.want("reject e unknown_plugin", "reject f unknown_pool")
	h.up("p", 1, 1, "x")
	h.want("retire p/1")
	h.ended(a)
	h.m.SlotGone("p", 2)
	h.m.SlotFree("p", 0)
	h.want()
	h.m.SlotComing("p", 1)
	h.want()
	h.m.SlotFree("p", 1)
	h.want("gone p")
	h.m.SlotFree("p", 1)
	h.want()
	h.m.AddPool(schedule.PoolSpec{Name: "p", Plugins: []string{"y"}, MinWorkers: 1, MaxWorkers: 1})
	h.submit("g", "y", in("p"))
	h.want("start p/0")
}

func TestRemovePoolDuringARecycle(t *testing.T) {
	h := newHarness(t, 0, rolling(1, 3))
	first, second := h.upAs("first", "p", 0, 1, "x"), h.upAs("second", "p", 1, 1, "x")
	h.m.Recycle(first)
	h.m.Recycle(second)
	h.want("start p/0", "replace first in p/0")
	h.m.RemovePool("p")
	h.want("retire first", "retire second")
	h.upAs("new", "p", 0, 1, "x")
	h.want("retire new")
	h.m.SlotFree("p", 1)
	h.m.SlotFree("p", 0)
	h.want()
	h.m.Retired("p", 0)
	h.want("gone p")
}

func TestRemovePoolWithoutProcesses(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "kit", MaxWorkers: 1})
	h.m.RemovePool("kit")
	h.want("gone kit")
	h.m.AddPool(schedule.PoolSpec{Name: "kit", MaxWorkers: 1})
	h.submit("a", "x")
	h.want("start kit/0")
	h.m.RemovePool("kit") // which may have offered it
	h.want("reject a removed")
	h.m.ReplaceFailed("kit", 0)
	h.m.SlotGone("kit", 0)
	h.want("gone kit")
}

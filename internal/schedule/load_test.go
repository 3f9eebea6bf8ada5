package schedule_test

import (
	"testing"
	"time"

	"supervisord/internal/schedule"
)

func two(least, most int) schedule.PoolSpec {
	return schedule.PoolSpec{Name: "p", Plugins: []string{"x", "y"}, MinWorkers: least, MaxWorkers: most}
}

func TestLoadOnDemand(t *testing.T) {
	h := newHarness(t, 0, two(1, 1))
	w := h.up("p", 0, 1, "x")
	h.forget()
	a := h.submit("a", "y")
	h.want("load p/0 y")
	b := h.submit("b", "x")
	c := h.submit("c", "y")
	h.want() // it is loading
	h.m.Loaded(w, "y", true, []string{"y"}, h.now)
	h.want("grant a p/0")
	h.ended(a)
	h.want("load p/0 x")                 // loading y has cost it x, which b needs and has waited for longer
	h.m.Loaded(w, "x", true, nil, h.now) // to have loaded it is to have it
	h.want("grant b p/0")
	h.ended(b)
	h.want("load p/0 y")
	h.m.Loaded(w, "y", true, []string{"x", "y"}, h.now)
	h.want("grant c p/0")
	h.ended(c)
	h.m.Loaded(w, "y", false, nil, h.now) // nobody has asked
	h.submit("d", "x")
	h.want("grant d p/0")
}

// A plugin that no worker could load is rejected at once, until one of them has it.
func TestNotLoaded(t *testing.T) {
	h := newHarness(t, 0, two(2, 3))
	first, second := h.up("p", 0, 1, "x"), h.up("p", 1, 1, "x")
	h.forget()
	h.submit("a", "y")
	h.want("load p/0 y") // that which was used least recently
	h.m.Loaded(first, "y", false, []string{"x"}, h.now)
	h.want("load p/1 y")
	h.m.Loaded(second, "y", false, []string{"x"}, h.now)
	h.want("reject a not_loaded") // a third worker could not either
	h.submit("b", "y")
	h.submit("c", "x")
	h.want("reject b not_loaded", "grant c p/1")
}

func TestNotLoadedUntilItsOwnerHasDoneIt(t *testing.T) {
	h := newHarness(t, 0, two(1, 1))
	first := h.up("p", 0, 1, "x")
	h.submit("a", "y")
	h.m.Loaded(first, "y", false, []string{"x"}, h.now)
	h.forget()
	h.m.Reserve(first)
	h.submit("d", "y") // whoever has reserved it may load it
	h.want("reserved p/0")
	h.m.Release(first, []string{"x"}, h.now)
	h.want("reject d not_loaded")
	h.m.Reserve(first)
	h.m.Release(first, []string{"x", "y"}, h.now)
	h.ended(h.submit("e", "y"))
	h.want("reserved p/0", "grant e p/0")
	h.m.Reserve(first)
	h.m.Release(first, []string{"x"}, h.now)
	h.submit("f", "y") // it has had it, so it may have it again
	h.want("reserved p/0", "load p/0 y")
}

// A successor knows nothing of what its predecessor has refused.
func TestRefusedUntilReplaced(t *testing.T) {
	h := newHarness(t, 0, two(1, 1))
	w := h.up("p", 0, 1, "x")
	h.submit("a", "y")
	h.m.Loaded(w, "y", false, []string{"x"}, h.now)
	h.forget()
	h.m.WorkerDown(w)
	h.submit("b", "y")
	h.want()
	h.up("p", 0, 1, "x")
	h.want("load p/0 y")
}

// One that comes may have the plugin when it is ready.
func TestNotLoadedWhenTheLastHopeFails(t *testing.T) {
	h := newHarness(t, 0, two(2, 2))
	w := h.up("p", 0, 1, "x")
	h.submit("a", "y")
	h.forget()
	h.m.Loaded(w, "y", false, []string{"x"}, h.now)
	h.want()
	h.m.SlotGone("p", 1)
	h.want("reject a not_loaded")
}

// A worker loads when it has no task, and only what no other worker serves.
func TestLoadWaitsForAnIdleWorker(t *testing.T) {
	h := newHarness(t, 0, two(2, 2))
	h.up("p", 0, 2, "x")
	h.up("p", 1, 1, "x")
	a, b, c := h.submit("a", "x"), h.submit("b", "x"), h.submit("c", "x")
	h.forget()
	h.submit("d", "y")
	h.ended(a)
	h.want("load p/1 y")
	h.submit("e", "y")
	h.ended(b, c)
	h.want() // p/1 is about to serve it
}

// The workers of other pools, and workers that are paused or reserved, are what they are for every other task.
func TestLoadInAnotherPool(t *testing.T) {
	q := two(1, 1)
	q.Name = "q"
	h := newHarness(t, 0, two(1, 1), q)
	p := h.up("p", 0, 1, "x", "y")
	h.up("q", 0, 1, "x")
	h.forget()
	h.m.Reserve(p)
	h.submit("a", "y")
	h.want("reserved p/0") // it will be back
	h.m.Release(p, []string{"x"}, h.now)
	h.want("load p/0 y")
	h.m.WorkerDown(p)
	h.want("load q/0 y")
}

func TestPausedPoolLoadsNothing(t *testing.T) {
	q := two(1, 1)
	q.Name, q.Paused = "q", true
	h := newHarness(t, 0, two(1, 1), q)
	w := h.up("p", 0, 1, "x")
	h.up("q", 0, 1, "x", "y")
	h.forget()
	h.submit("a", "y")
	h.want("load p/0 y") // that of q does not serve it now
	h.m.Loaded(w, "y", false, []string{"x"}, h.now)
	h.want() // but will
	q.Paused = false
	h.m.SetPool(q, h.now)
	h.want("grant a q/0")
}

// A pool that is not configured to offer the plugin cannot be told to load it: its workers say what they are.
func TestKitLoadsNothing(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", MinWorkers: 2, MaxWorkers: 2})
	w := h.up("p", 0, 1, "x", "y")
	h.up("p", 1, 1, "x")
	h.forget()
	h.m.WorkerDown(w)
	h.submit("a", "y")
	h.want()
	h.m.SlotGone("p", 0)
	h.want("reject a not_loaded")
}

// A task for what is loaded may pass one for what is not, for a while.
func TestCollationWait(t *testing.T) {
	spec := two(1, 1)
	spec.CollationWait = 2 * time.Second
	h := newHarness(t, 0, spec)
	h.up("p", 0, 1, "x")
	a := h.submit("a", "x")
	h.submit("b", "y")
	c := h.submit("c", "x")
	h.submit("d", "x")
	h.forget()
	h.now = h.now.Add(2*time.Second - 1)
	h.ended(a)
	h.want("grant c p/0")
	h.now = h.now.Add(1)
	h.ended(c)
	h.want("load p/0 y")
}

// A worker that comes is one the fewer to start.
func TestLoadCountsAsAWorkerThatComes(t *testing.T) {
	h := newHarness(t, 0, two(1, 2))
	h.up("p", 0, 1, "x")
	h.forget()
	h.submit("a", "y")
	h.want("load p/0 y")
	h.submit("b", "y")
	h.want("start p/1")
}

func TestReserveWhileItLoads(t *testing.T) {
	h := newHarness(t, 0, two(1, 1))
	w := h.up("p", 0, 1, "x")
	h.submit("a", "y")
	h.forget()
	if !h.m.Reserve(w) || h.m.Reserve(w) {
		t.Error("a worker that loads is reserved once")
	}
	h.want()
	h.m.Loaded(w, "y", true, []string{"x", "y"}, h.now)
	h.want("reserved p/0")
	h.m.Release(w, []string{"x", "y"}, h.now)
	h.want("grant a p/0")
}

func TestReserveWhileItLoadsIsTakenBack(t *testing.T) {
	h := newHarness(t, 0, two(1, 1))
	w := h.up("p", 0, 1, "x")
	h.submit("a", "y")
	h.m.Reserve(w)
	h.forget()
	h.m.Release(w, nil, h.now)
	h.m.Loaded(w, "y", true, []string{"x", "y"}, h.now)
	h.want("grant a p/0")
}

func TestWorkerDiesWhileItLoads(t *testing.T) {
	h := newHarness(t, 0, two(1, 2))
	w := h.up("p", 0, 1, "x")
	h.submit("a", "y")
	h.forget()
	h.m.WorkerDown(w)
	h.m.Loaded(w, "y", true, []string{"y"}, h.now)
	h.want()
	h.m.SlotGone("p", 0)
	h.want("start p/1")
}

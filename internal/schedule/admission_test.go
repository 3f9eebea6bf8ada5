package schedule_test

import (
	"testing"
	"time"

	"supervisord/internal/schedule"
)

func TestUnknownNames(t *testing.T) {
	h := newHarness(t, 0, one(), schedule.PoolSpec{Name: "q", Plugins: []string{"y"}, MinWorkers: 1, MaxWorkers: 1})
	h.forget()
	h.submit("a", "none")
	h.submit("b", "x", in("none"))
	h.submit("c", "x", in("q"))
	h.want("reject a unknown_plugin", "reject b unknown_pool", "reject c unknown_plugin")
	h.counts(0, 0)
}

// A pool without configured plugins offers what its workers name. Until one has, nobody can say that a plugin is unknown.
func TestUndeterminedPool(t *testing.T) {
	h := newHarness(t, 0, one(), schedule.PoolSpec{Name: "kit", MinWorkers: 1, MaxWorkers: 1})
	h.forget()
	h.submit("a", "y")
	h.submit("b", "z", in("kit"))
	h.submit("c", "y", in("kit"))
	h.submit("d", "z", in("p"))
	h.want("reject d unknown_plugin")
	h.submit("e", "z", noWait)
	h.want("reject e expired")
	h.up("kit", 0, 2, "y", "more")
	h.want("reject b unknown_plugin", "grant a kit/0", "grant c kit/0")
	h.submit("f", "z")
	h.want("reject f unknown_plugin")
	h.submit("g", "more")
	h.want()
	h.counts(1, 2)
}

func TestUndeterminedPoolsNameThemselvesOneByOne(t *testing.T) {
	h := newHarness(t, 0,
		schedule.PoolSpec{Name: "k", MaxWorkers: 1, QueueWait: time.Second},
		schedule.PoolSpec{Name: "l", MaxWorkers: 1, QueueWait: time.Minute},
		schedule.PoolSpec{Name: "m", MaxWorkers: 1})
	a := h.submit("a", "x")
	h.want("start k/0")
	h.up("k", 0, 1, "y")
	h.want("start l/0")
	if a.PoolName() != "l" || h.m.QueuedIn("k") != 0 || h.m.QueuedIn("l") != 1 {
		t.Errorf("the task counts in pool %s, with %d in k and %d in l", a.PoolName(), h.m.QueuedIn("k"), h.m.QueuedIn("l"))
	}
	if want := h.now.Add(time.Minute); !h.m.Next().Equal(want) {
		t.Errorf("the next tick is at %v, want %v", h.m.Next(), want)
	}
	h.up("l", 0, 1, "x")
	h.want("grant a l/0")
	b := h.submit("b", "x")
	h.submit("c", "nothing")
	h.want("start m/0") // it, too, may offer x or nothing
	h.m.SlotGone("m", 0)
	h.want("reject c unavailable")
	h.ended(a)
	h.want("grant b l/0")
	h.ended(b)
	h.counts(0, 0)
}

// Names that clients make up leave nothing behind.
func TestGuessEndsWithItsLastTask(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "kit", MaxWorkers: 1})
	a := h.submit("a", "x")
	h.submit("b", "x", h.within(time.Second))
	h.want("start kit/0")
	h.m.Cancel(a)
	h.pass(time.Second)
	h.want("reject b expired 1s")
	c := h.submit("c", "x")
	h.up("kit", 0, 1, "x")
	h.want("grant c kit/0")
	h.ended(c)
	h.counts(0, 0)
}

func TestFailedPoolThatNeverNamedItsPlugins(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "kit", MinWorkers: 1, MaxWorkers: 1})
	h.submit("a", "x")
	h.forget()
	h.m.SlotGone("kit", 0)
	h.want("reject a unavailable")
	h.submit("b", "x")
	h.submit("c", "x", in("kit"))
	h.want("reject b unavailable", "reject c unavailable")
}

func TestQueueBoundPerPool(t *testing.T) {
	h := newHarness(t, 0,
		schedule.PoolSpec{Name: "p", Plugins: []string{"x", "y"}, MinWorkers: 1, MaxWorkers: 1, QueueSize: 2},
		schedule.PoolSpec{Name: "q", Plugins: []string{"x"}, MinWorkers: 1, MaxWorkers: 1, QueueSize: 1})
	h.forget()
	h.submit("a", "y")
	b := h.submit("b", "x")
	c := h.submit("c", "x") // p is full: it counts in q
	h.want()
	if b.PoolName() != "p" || c.PoolName() != "q" || h.m.QueuedIn("p") != 2 || h.m.QueuedIn("q") != 1 {
		t.Fatalf("b counts in %s, c in %s", b.PoolName(), c.PoolName())
	}
	h.submit("d", "x")
	h.submit("e", "y")
	h.submit("f", "x", in("q"))
	h.want("reject d queue_full", "reject e queue_full", "reject f queue_full")
	h.m.Cancel(b)
	h.submit("g", "y")
	h.want()
	h.counts(3, 0)
}

func TestNoQueueBound(t *testing.T) {
	h := newHarness(t, 0, one())
	h.forget()
	for range 5000 {
		h.submit("a", "x")
	}
	h.want()
	h.counts(5000, 0)
}

func TestBytesBound(t *testing.T) {
	h := newHarness(t, 100, one())
	h.forget()
	a := h.submit("a", "x", holding(60))
	h.submit("b", "x", holding(41))
	h.submit("c", "x", holding(40))
	h.want("reject b bytes_full")
	h.m.Cancel(a)
	h.submit("d", "x", holding(60))
	h.want()
	h.up("p", 0, 1, "x") // what runs does not count
	h.submit("e", "x", holding(40))
	h.submit("f", "x", holding(1))
	h.want("grant c p/0", "reject f bytes_full")
}

func TestNoWait(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 1, MaxWorkers: 2})
	h.want("start p/0")
	h.submit("a", "x", noWait) // a worker that is merely coming up is no worker
	h.want("reject a expired")
	w := h.up("p", 0, 1, "x")
	b := h.submit("b", "x", noWait)
	h.submit("c", "x", noWait) // nor is one that could be started
	h.want("grant b p/0", "reject c expired")

	// A grant that was not delivered starts elsewhere at once, or not at all.
	h.m.Requeue(b, h.now)
	h.want("reject b expired")
	h.m.WorkerDown(w)
	h.m.SlotGone("p", 0)
	h.m.SlotGone("p", 1)
	h.submit("d", "x", noWait)
	h.want("reject d unavailable")
	h.counts(0, 0)
}

// When another pool turns out to offer the plugin, the task counts there.
func TestTaskCountsWhereThePluginIs(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "k", MinWorkers: 1, MaxWorkers: 1}, schedule.PoolSpec{Name: "l", MinWorkers: 1, MaxWorkers: 1})
	h.submit("a", "x")
	b := h.submit("b", "x")
	h.forget()
	if b.PoolName() != "k" {
		t.Fatalf("the task counts in pool %s, want k", b.PoolName())
	}
	h.up("l", 0, 1, "x")
	h.want("grant a l/0")
	if b.PoolName() != "l" || h.m.QueuedIn("k") != 0 || h.m.QueuedIn("l") != 1 {
		t.Errorf("the task counts in pool %s, with %d in k and %d in l", b.PoolName(), h.m.QueuedIn("k"), h.m.QueuedIn("l"))
	}
	h.m.SlotGone("k", 0)
	h.want()
}

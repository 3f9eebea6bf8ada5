package schedule_test

import (
	"testing"

	"supervisord/internal/schedule"
)

func TestMinWorkersAreStartedAtOnce(t *testing.T) {
	newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 2, MaxWorkers: 3}).want("start p/0", "start p/1")
	newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 3, MaxWorkers: 2}).want("start p/0", "start p/1")
	newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MaxWorkers: 2}).want()
}

func TestStartOnDemand(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MaxWorkers: 3})
	a := h.submit("a", "x")
	h.want("start p/0")
	b := h.submit("b", "x")
	h.want("start p/1")
	h.up("p", 0, 1, "x")
	h.want("grant a p/0")
	h.ended(a)
	h.submit("c", "x") // b waits for its worker no longer, but one that comes is enough for whoever waits
	h.want("grant b p/0")
	h.submit("d", "x")
	h.want("start p/2")
	h.submit("e", "x") // that was the last slot
	h.want()
	h.up("p", 2, 1, "x")
	h.up("p", 1, 1, "x")
	h.want("grant c p/2", "grant d p/1")
	h.ended(b)
	h.want("grant e p/0")
}

func TestStartCountsWhatAWorkerTakes(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MaxWorkers: 3, Concurrency: 4})
	for _, name := range []string{"a", "b", "c", "d"} {
		h.submit(name, "x")
	}
	h.want("start p/0")
	h.submit("e", "x")
	h.want("start p/1")
	h.up("p", 0, 1, "x") // it says that it takes one at a time
	h.want("grant a p/0", "start p/2")
	h.up("p", 1, 4, "x")
	h.want("grant b p/1", "grant c p/1", "grant d p/1", "grant e p/1")
}

func TestStartInTheFirstPoolThatHasASlot(t *testing.T) {
	h := newHarness(t, 0,
		schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MaxWorkers: 1},
		schedule.PoolSpec{Name: "q", Plugins: []string{"x"}, MaxWorkers: 1})
	h.submit("a", "x")
	h.submit("b", "x")
	h.submit("c", "x")
	h.want("start p/0", "start q/0")
}

func TestSlotFreeIsStartedAgainWhenTasksWait(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x", "y"}, MaxWorkers: 2})
	w := h.up("p", 0, 1, "x", "y")
	a := h.submit("a", "x")
	h.submit("b", "y")
	h.want("grant a p/0", "start p/1")
	h.m.SlotFree("p", 1)
	h.want("start p/1")
	h.m.WorkerDown(w)
	h.ended(a)
	h.m.SlotFree("p", 0)
	h.want() // the one that comes is enough
	h.up("p", 1, 1, "x", "y")
	h.want("grant b p/1")
	h.m.SlotFree("p", 0)
	h.want()
}

// One failed start must not leave the other slots unused.
func TestSlotGoneStartsAnother(t *testing.T) {
	h := newHarness(t, 0,
		schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MaxWorkers: 1},
		schedule.PoolSpec{Name: "q", Plugins: []string{"x"}, MaxWorkers: 1})
	a := h.submit("a", "x")
	h.want("start p/0")
	h.m.SlotGone("p", 0)
	h.want("start q/0")
	h.up("q", 0, 1, "x")
	h.want("grant a q/0")
	h.ended(a)
	h.counts(0, 0)
}

// A worker that came up without the plugin is not the one that its task waited for.
func TestWorkerWithoutThePluginStartsAnother(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", MaxWorkers: 2})
	h.m.WorkerDown(h.up("p", 0, 1, "x", "y"))
	h.m.SlotFree("p", 0)
	h.up("p", 0, 1, "x")
	h.forget()
	h.submit("b", "y")
	h.want("start p/1")
	h.up("p", 1, 1, "y")
	h.want("grant b p/1")
}

// A failed pool rejects what is hopeless, and only that.
func TestSlotGone(t *testing.T) {
	h := newHarness(t, 0,
		schedule.PoolSpec{Name: "p", Plugins: []string{"x", "y"}, MinWorkers: 2, MaxWorkers: 2},
		schedule.PoolSpec{Name: "q", Plugins: []string{"x"}, MinWorkers: 1, MaxWorkers: 1})
	a, b, c := h.submit("a", "x"), h.submit("b", "y"), h.submit("c", "x", in("p"))
	h.forget()
	h.m.SlotGone("p", 0)
	h.want()
	h.counts(3, 0)
	h.m.SlotGone("p", 1)
	h.want("reject b unavailable", "reject c unavailable")
	h.counts(1, 0)
	if a.PoolName() != "p" || b.Worker() != nil || c.Worker() != nil {
		t.Errorf("the task that q will run counts in pool %q", a.PoolName())
	}
	h.up("q", 0, 1, "x")
	h.want("grant a q/0")
	if h.m.QueuedIn("p") != 0 {
		t.Errorf("%d tasks count in p", h.m.QueuedIn("p"))
	}
	h.submit("d", "y")
	h.submit("e", "x")
	h.want("reject d unavailable")
	h.counts(1, 1)
}

func TestSlotGoneWhileAWorkerIsUp(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 2, MaxWorkers: 2})
	h.up("p", 0, 1, "x")
	a := h.submit("a", "x")
	h.submit("b", "x")
	h.forget()
	h.m.SlotGone("p", 1)
	h.want()
	h.ended(a)
	h.want("grant b p/0")
}

// A pool whose only slot has failed comes back by a probe, by being allowed to start again, and by being restarted.
func TestGoneSlotComesBack(t *testing.T) {
	gone := func(t *testing.T) *harness {
		h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MaxWorkers: 1})
		h.submit("a", "x")
		h.want("start p/0")
		h.m.SlotGone("p", 0)
		h.want("reject a unavailable")
		h.submit("b", "x")
		h.want("reject b unavailable")
		return h
	}
	t.Run("WorkerUp", func(t *testing.T) {
		h := gone(t)
		h.up("p", 0, 1, "x")
		h.submit("c", "x")
		h.want("grant c p/0")
	})
	t.Run("SlotFree", func(t *testing.T) {
		h := gone(t)
		h.m.SlotFree("p", 0)
		h.want()
		h.submit("c", "x")
		h.want("start p/0")
		h.up("p", 0, 1, "x")
		h.want("grant c p/0")
	})
	t.Run("SlotComing", func(t *testing.T) {
		h := gone(t)
		h.m.SlotComing("p", 0)
		h.submit("c", "x")
		h.want()
		h.up("p", 0, 1, "x")
		h.want("grant c p/0")
	})
}

func TestPoolAddedWhileTasksWait(t *testing.T) {
	h := newHarness(t, 0, one())
	h.forget()
	h.submit("a", "x")
	h.submit("b", "x")
	h.want()
	h.m.AddPool(schedule.PoolSpec{Name: "q", Plugins: []string{"x"}, MaxWorkers: 2})
	h.want("start q/0")
	h.up("q", 0, 2, "x")
	h.want("grant a q/0", "grant b q/0")
}

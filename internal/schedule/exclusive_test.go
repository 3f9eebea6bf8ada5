package schedule_test

import (
	"testing"

	"supervisord/internal/schedule"
)

func TestReserve(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", MinWorkers: 1, MaxWorkers: 1})
	w := h.up("p", 0, 2, "x")
	a := h.submit("a", "x")
	h.forget()
	if !h.m.Reserve(w) || h.m.Reserve(w) {
		t.Fatal("a worker is reserved once")
	}
	h.submit("b", "x")
	h.want() // there is room, but not for tasks
	h.ended(a)
	h.want("reserved p/0")
	if h.m.Reserve(w) {
		t.Fatal("a reserved worker was reserved again")
	}
	h.m.Release(w, []string{"x", "y"}, h.now)
	h.want("grant b p/0")
	h.submit("c", "y") // what its owner has loaded meanwhile
	h.want("grant c p/0")
	h.m.Release(w, nil, h.now) // nobody has it
	h.counts(0, 2)
}

func TestReserveIdle(t *testing.T) {
	h := newHarness(t, 0, one())
	w := h.up("p", 0, 1, "x")
	h.forget()
	h.m.Reserve(w)
	h.want("reserved p/0")
	h.submit("a", "x", noWait)
	h.want("reject a expired")
	h.m.Release(w, []string{"x"}, h.now)
	h.submit("b", "x")
	h.want("grant b p/0")
}

func TestReleaseBeforeReserved(t *testing.T) {
	h := newHarness(t, 0, one())
	w := h.up("p", 0, 1, "x")
	a := h.submit("a", "x")
	h.forget()
	h.m.Reserve(w)
	h.m.Release(w, []string{"x"}, h.now)
	h.submit("b", "x")
	h.ended(a)
	h.want("grant b p/0")
}

func TestReservedWorkerDies(t *testing.T) {
	h := newHarness(t, 0, one())
	w := h.up("p", 0, 1, "x")
	a := h.submit("a", "x")
	h.forget()
	h.m.Reserve(w)
	h.m.WorkerDown(w)
	h.ended(a)
	h.m.Release(w, []string{"x"}, h.now)
	if h.m.Reserve(w) {
		t.Error("a dead worker was reserved")
	}
	h.submit("b", "x")
	h.want()
}

// What its owner did to it may have cost the only worker that served a plugin.
func TestReleasedWithoutThePlugin(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", MinWorkers: 1, MaxWorkers: 1})
	w := h.up("p", 0, 1, "x")
	h.m.Reserve(w)
	h.submit("a", "x")
	h.forget()
	h.m.Release(w, nil, h.now)
	h.want("reject a not_loaded")
}

// A worker that its owner holds is left alone, whatever was to become of it.
func TestReservedIsNotRetired(t *testing.T) {
	spec := idling(0, 3)
	spec.ReplaceBefore = true
	held := func(t *testing.T) (*harness, *schedule.Worker) {
		h := newHarness(t, 0, spec)
		w := h.up("p", 1, 1, "x")
		h.m.Reserve(w)
		h.want("reserved p/1")
		return h, w
	}
	t.Run("idle", func(t *testing.T) {
		h, w := held(t)
		h.pass(spec.IdleTimeout)
		h.want()
		h.m.Release(w, []string{"x"}, h.now)
		h.pass(spec.IdleTimeout - 1)
		h.want()
		h.pass(1)
		h.want("retire p/1")
	})
	t.Run("recycle", func(t *testing.T) {
		h, w := held(t)
		h.m.Recycle(w)
		h.want()
		h.m.Recycle(h.up("p", 0, 1, "x")) // whoever is not held does not wait for it
		h.want("replace p/0 in p/0")
		h.m.ReplaceFailed("p", 0)
		h.want()
		h.m.Release(w, []string{"x"}, h.now)
		h.want("replace p/1 in p/1")
	})
	t.Run("successor", func(t *testing.T) {
		h := newHarness(t, 0, spec)
		w := h.upAs("old", "p", 0, 1, "x")
		h.m.Recycle(w)
		h.m.Reserve(w)
		h.up("p", 0, 1, "x")
		h.want("replace old in p/0", "reserved old")
		h.m.Release(w, []string{"x"}, h.now)
		h.want("retire old")
	})
	t.Run("successor while it has tasks", func(t *testing.T) {
		h := newHarness(t, 0, spec)
		w := h.upAs("old", "p", 0, 1, "x")
		a := h.submit("a", "x")
		h.m.Recycle(w)
		h.m.Reserve(w)
		h.up("p", 0, 1, "x")
		h.want("grant a old", "replace old in p/0")
		h.ended(a)
		h.want("reserved old") // its owner may wait for that
		h.m.Release(w, []string{"x"}, h.now)
		h.want("retire old")
	})
	t.Run("fewer workers", func(t *testing.T) {
		h, w := held(t)
		less := spec
		less.MaxWorkers = 1
		h.m.SetPool(less, h.now)
		h.want()
		h.m.Release(w, []string{"x"}, h.now)
		h.want("retire p/1")
	})
	t.Run("pool removed", func(t *testing.T) {
		h, w := held(t)
		h.m.RemovePool("p")
		h.m.RemovePool("p")
		h.want()
		h.m.Release(w, []string{"x"}, h.now)
		h.want("retire p/1")
		h.m.SlotFree("p", 1)
		h.want("gone p")
	})
}

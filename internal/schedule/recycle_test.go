package schedule_test

import (
	"testing"

	"supervisord/internal/schedule"
)

func rolling(least, most int) schedule.PoolSpec {
	return schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: least, MaxWorkers: most, ReplaceBefore: true}
}

func TestReplaceBefore(t *testing.T) {
	h := newHarness(t, 0, rolling(1, 2))
	old := h.upAs("old", "p", 0, 1, "x")
	h.forget()
	h.m.Recycle(old)
	h.m.Recycle(old)
	h.want("replace old in p/0")
	a := h.submit("a", "x")
	h.want("grant a old") // it serves on
	fresh := h.upAs("new", "p", 0, 1, "x")
	h.want("retire old")
	h.m.Recycle(old) // it is being retired already
	h.ended(a)
	h.submit("b", "x")
	h.want("grant b new")
	h.m.Retired("p", 0)
	h.want()
	h.m.Recycle(fresh)
	h.want("replace new in p/0")
}

func TestReplaceFailed(t *testing.T) {
	h := newHarness(t, 0, rolling(2, 3))
	first, second := h.upAs("first", "p", 0, 1, "x"), h.upAs("second", "p", 1, 1, "x")
	h.forget()
	h.m.Recycle(first)
	h.m.Recycle(second)
	h.want("replace first in p/0")
	h.m.ReplaceFailed("p", 0)
	h.want("replace second in p/1") // the next one has its own try
	h.m.Recycle(first)
	h.submit("a", "x")
	h.submit("b", "x")
	h.want("grant a second", "grant b first")
	h.m.Keep("p") // first is due no more
	h.m.ReplaceFailed("p", 1)
	h.want()
	h.m.Recycle(first)
	h.want("replace first in p/0")
}

// Workers are recycled one at a time, in the order in which they became due.
func TestOneRecycleAtATime(t *testing.T) {
	h := newHarness(t, 0, rolling(3, 5))
	w := []*schedule.Worker{h.up("p", 0, 1, "x"), h.up("p", 1, 1, "x"), h.up("p", 2, 1, "x")}
	h.forget()
	for _, i := range []int{2, 0, 1} {
		h.m.Recycle(w[i])
	}
	h.want("replace p/2 in p/2")
	h.m.WorkerDown(w[0]) // it is gone before its turn
	h.m.SlotGone("p", 0)
	h.up("p", 2, 1, "x")
	h.want("retire p/2", "replace p/1 in p/1")
	h.up("p", 1, 1, "x")
	h.want("retire p/1")
}

// The process that was retired makes room for the next successor, which is worth waiting for.
func TestRecycleWaitsForRoom(t *testing.T) {
	h := newHarness(t, 0, rolling(2, 3))
	first, second := h.upAs("first", "p", 0, 1, "x"), h.upAs("second", "p", 1, 1, "x")
	h.forget()
	h.m.Recycle(first)
	h.m.Recycle(second)
	h.upAs("new", "p", 0, 1, "x")
	h.want("replace first in p/0", "retire first")
	h.submit("a", "x")
	h.submit("b", "x")
	h.want("grant a new", "grant b second")
	h.m.Retired("p", 0)
	h.want("replace second in p/1")
}

// Without room the worker goes first, and comes back in its slot.
func TestReplaceAfter(t *testing.T) {
	for _, before := range []bool{false, true} {
		spec := rolling(1, 2)
		spec.ReplaceBefore = before
		h := newHarness(t, 0, spec)
		w := []*schedule.Worker{h.up("p", 0, 1, "x"), h.up("p", 1, 1, "x")}
		a, b := h.submit("a", "x"), h.submit("b", "x")
		h.want("start p/0", "grant a p/1", "grant b p/0")
		h.m.Recycle(w[0])
		h.m.Recycle(w[1])
		h.want("retire p/0")
		h.submit("c", "x")
		h.ended(b)
		h.want() // it takes no more
		h.ended(a)
		h.want("grant c p/1")
		h.m.WorkerDown(w[0])
		h.want()
		h.m.SlotFree("p", 0)
		h.want("start p/0") // though there are as many as there have to be
		h.up("p", 0, 1, "x")
		h.want("retire p/1") // the next one
	}
}

// A recycled worker does not come back where another one was started in its place.
func TestRecycledWorkerIsNotMissed(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MaxWorkers: 2})
	w := h.up("p", 0, 1, "x")
	h.submit("a", "x")
	h.m.Recycle(w)
	h.want("grant a p/0", "retire p/0")
	h.submit("b", "x")
	h.want("start p/1")
	other := h.up("p", 1, 1, "x")
	h.want("grant b p/1")
	h.m.SlotFree("p", 0)
	h.want()
	h.m.Recycle(other)
	h.want("retire p/1")
}

func TestRecycleEndsWithItsSlot(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 2, MaxWorkers: 2})
	w := []*schedule.Worker{h.up("p", 0, 1, "x"), h.up("p", 1, 1, "x")}
	h.m.Recycle(w[0])
	h.m.Recycle(w[1])
	h.forget()
	h.m.SlotComing("p", 0)
	h.want()
	h.m.SlotGone("p", 0) // it does not come back, and the other one is as old as before
	h.want("retire p/1")
}

func TestKeep(t *testing.T) {
	h := newHarness(t, 0, rolling(2, 3))
	first, second := h.up("p", 0, 1, "x"), h.up("p", 1, 1, "x")
	h.m.Recycle(first)
	h.m.Recycle(second)
	h.forget()
	h.m.Keep("p")
	h.up("p", 0, 1, "x")
	h.m.Retired("p", 0)
	h.want("retire p/0") // the one whose turn it was
	h.m.Recycle(second)
	h.want("replace p/1 in p/1")
}

// A roll of one pool has no part in another's.
func TestPoolsRecycleApart(t *testing.T) {
	h := newHarness(t, 0, one(), schedule.PoolSpec{Name: "q", Plugins: []string{"x"}, MinWorkers: 1, MaxWorkers: 1})
	p, q := h.up("p", 0, 1, "x"), h.up("q", 0, 1, "x")
	h.forget()
	h.m.Recycle(p)
	h.m.Recycle(q)
	h.want("retire p/0", "retire q/0")
}

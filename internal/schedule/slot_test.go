package schedule_test

import (
	"testing"

	"supervisord/internal/schedule"
)

// A worker that comes up beside another one in its slot takes its place, whoever has asked for it.
func TestSuccessorTakesTheSlot(t *testing.T) {
	h := newHarness(t, 0, one())
	old := h.upAs("old", "p", 0, 2, "x")
	a := h.submit("a", "x")
	h.forget()
	h.upAs("new", "p", 0, 1, "x")
	h.want("retire old")
	h.submit("b", "x")
	h.want("grant b new")
	c := h.submit("c", "x")
	h.ended(a) // room where nobody looks for it any more
	h.want()
	h.m.WorkerDown(old)
	h.m.Retired("p", 0)
	h.want() // the slot is up all the time
	if c.Worker() != nil {
		t.Error("a task runs on a worker that has a successor")
	}
	h.counts(1, 1)
}

// One process of two ends, and its slot is started again only when the other one leaves room.
func TestNeverMoreProcessesThanMayBe(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MaxWorkers: 2, ReplaceBefore: true})
	h.submit("a", "x")
	old := h.upAs("old", "p", 0, 1, "x")
	h.want("start p/0", "grant a old")
	h.m.Recycle(old)
	h.want("replace old in p/0")
	h.submit("b", "x")
	h.want() // slot 1 is free, but old and its successor are all the processes that may be
	h.upAs("new", "p", 0, 1, "x")
	h.want("retire old", "grant b new")
	h.submit("c", "x")
	h.want()
	h.m.Retired("p", 0)
	h.want("start p/1")
	h.m.Retired("p", 0) // there is none left
	h.submit("d", "x")
	h.want()
}

// When a worker dies while its successor comes, either of the two may be told first.
func TestDeathWhileTheSuccessorComes(t *testing.T) {
	dying := func(t *testing.T) (*harness, *schedule.Task) {
		h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 1, MaxWorkers: 2, ReplaceBefore: true})
		old := h.upAs("old", "p", 0, 1, "x")
		a := h.submit("a", "x")
		h.m.Recycle(old)
		h.want("start p/0", "grant a old", "replace old in p/0")
		h.m.WorkerDown(old)
		h.want()
		return h, a
	}
	t.Run("its end first", func(t *testing.T) {
		h, a := dying(t)
		h.m.SlotComing("p", 0) // the successor is what the slot waits for
		h.m.Retry(a, h.now)
		h.want()
		h.submit("b", "x")
		h.want("start p/1") // there is one process, not two
		h.upAs("new", "p", 0, 1, "x")
		h.want("grant a new")
	})
	t.Run("its successor first", func(t *testing.T) {
		h, a := dying(t)
		h.upAs("new", "p", 0, 1, "x")
		h.m.Retry(a, h.now)
		h.want("grant a new")
		h.submit("b", "x")
		h.want() // the dead one's process counts until its end is told
		h.m.Retired("p", 0)
		h.want("start p/1")
	})
	t.Run("no successor", func(t *testing.T) {
		h, a := dying(t)
		h.m.ReplaceFailed("p", 0)
		h.m.Retry(a, h.now)
		h.want()
		h.m.SlotFree("p", 0)
		h.want("start p/0")
	})
	t.Run("nothing comes at all", func(t *testing.T) {
		h, a := dying(t)
		h.m.SlotGone("p", 0)
		h.m.Retry(a, h.now)
		h.want("start p/1")
	})
}

func TestWhatNobodyKnows(t *testing.T) {
	h := newHarness(t, 0, one())
	h.forget()
	h.m.SlotFree("none", 0)
	h.m.SlotGone("p", 7)
	h.m.Retired("none", 0)
	h.m.Keep("none")
	h.m.RemovePool("none")
	h.m.ReplaceFailed("none", 0)
	h.m.ReplaceFailed("p", 0)
	h.m.ReplaceFailed("p", 7)
	h.want()
}

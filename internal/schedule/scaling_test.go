package schedule_test

import (
	"testing"
	"time"

	"supervisord/internal/schedule"
)

func idling(least, most int) schedule.PoolSpec {
	return schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: least, MaxWorkers: most, IdleTimeout: 10 * time.Second}
}

func TestMinWorkersAreKept(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 2, MaxWorkers: 3})
	h.forget()
	w := h.up("p", 0, 1, "x")
	h.m.WorkerDown(w)
	h.want() // it may come back by itself
	h.m.SlotFree("p", 0)
	h.want("start p/0")
	h.m.SlotGone("p", 0)
	h.want() // one that fails is not replaced by one that would fail, too
	h.m.SlotFree("p", 0)
	h.want("start p/0")
}

func TestIdleWorkersAreRetired(t *testing.T) {
	h := newHarness(t, 0, idling(1, 3))
	for slot := range 3 {
		h.up("p", slot, 1, "x")
		h.pass(time.Second)
	}
	h.want("start p/0")
	a := h.submit("a", "x")
	h.want("grant a p/2")
	h.pass(7*time.Second - 1)
	h.want()
	h.pass(1) // that which was used least recently has been idle for ten seconds
	h.want("retire p/0")
	h.ended(a)
	h.pass(time.Second)
	h.want("retire p/1")
	h.pass(time.Hour) // one has to be there
	h.want()
	h.m.SlotFree("p", 0)
	h.m.SlotFree("p", 1)
	h.want()
	if !h.m.Next().IsZero() {
		t.Errorf("a tick is due at %v", h.m.Next())
	}
	b := h.submit("b", "x")
	h.submit("c", "x")
	h.want("grant b p/2", "start p/0")
	h.ended(b)
	h.up("p", 0, 1, "x")
	h.pass(10 * time.Second) // which of the two is the one beyond does not matter
	h.want("grant c p/2", "retire p/0")
}

// A job costs no timer: it is enough to look again when the one that is set has fired.
func TestIdleTimerIsSetOnce(t *testing.T) {
	h := newHarness(t, 0, idling(0, 1))
	h.up("p", 0, 1, "x")
	first := h.m.Next()
	for range 9 {
		h.now = h.now.Add(time.Second)
		h.ended(h.submit("a", "x"))
		if !h.m.Next().Equal(first) {
			t.Fatalf("the next tick is at %v, was at %v", h.m.Next(), first)
		}
	}
	h.forget()
	h.pass(time.Second)
	h.want()
	if want := h.now.Add(9 * time.Second); !h.m.Next().Equal(want) {
		t.Errorf("the next tick is at %v, want %v", h.m.Next(), want)
	}
	a := h.submit("a", "x")
	h.pass(9 * time.Second) // it is busy, and there is nothing to look at again
	if !h.m.Next().IsZero() {
		t.Errorf("the next tick is at %v", h.m.Next())
	}
	h.forget()
	h.ended(a)
	h.pass(10 * time.Second)
	h.want("retire p/0")
}

// While a successor comes its predecessor is needed, busy or not.
func TestNoneIsIdleDuringARecycle(t *testing.T) {
	spec := idling(0, 2)
	spec.ReplaceBefore = true
	h := newHarness(t, 0, spec)
	w := h.upAs("old", "p", 0, 1, "x")
	h.m.Recycle(w)
	h.pass(time.Minute)
	h.want("replace old in p/0")
	h.m.ReplaceFailed("p", 0)
	h.pass(0)
	h.want("retire old")
}

func TestDemandWaitsForNoRetiredWorker(t *testing.T) {
	h := newHarness(t, 0, idling(0, 2))
	h.up("p", 0, 1, "x")
	h.pass(10 * time.Second)
	h.want("retire p/0")
	h.submit("a", "x")
	h.want("start p/1") // slot 0 may take its time to stop
}

package schedule_test

import (
	"testing"
	"time"

	"supervisord/internal/schedule"
)

func TestRetryKeepsItsPlace(t *testing.T) {
	spec := one()
	spec.QueueSize = 1
	h := newHarness(t, 0, spec)
	w := h.up("p", 0, 2, "x")
	a, b := h.submit("a", "x"), h.submit("b", "x")
	h.submit("c", "x")
	h.forget()
	h.m.WorkerDown(w)
	h.m.Retry(b, h.now)
	h.m.Retry(a, h.now)
	h.m.Retry(a, h.now) // does nothing
	h.want()
	h.counts(3, 0)
	h.up("p", 0, 3, "x")
	h.want("grant a p/0", "grant b p/0", "grant c p/0")
}

// What bounded the time until it started has no meaning any more. What bounds all of it has.
func TestRetryHasStarted(t *testing.T) {
	spec := one()
	spec.QueueWait = 5 * time.Second
	h := newHarness(t, 0, spec)
	w := h.up("p", 0, 3, "x")
	a := h.submit("a", "x", noWait)
	b := h.submit("b", "x", h.startBy(time.Second))
	c := h.submit("c", "x", h.within(12*time.Second))
	h.forget()
	h.pass(10 * time.Second)
	for _, task := range []*schedule.Task{a, c} {
		h.m.Retry(task, h.now)
	}
	h.pass(time.Second)
	h.m.Retry(b, h.now)
	h.want()
	h.pass(time.Second)
	h.want("reject c expired 12s")
	h.pass(3 * time.Second) // QueueWait counts from when it came back
	h.want("reject a expired 5s")
	h.pass(time.Second)
	h.want("reject b expired 5s")
	h.m.WorkerDown(w)

	h.up("p", 0, 1, "x")
	a = h.submit("a", "x", h.within(time.Second))
	h.now = h.now.Add(time.Second)
	h.m.Retry(a, h.now)
	h.want("grant a p/0", "reject a expired 1s")
	h.m.Submit(a, h.now) // another life
	h.want("reject a expired")
}

// A task that was requeued after a retry has started, too; one that is submitted again has not.
func TestStartedUntilSubmittedAgain(t *testing.T) {
	h := newHarness(t, 0, one())
	h.up("p", 0, 1, "x")
	a := h.submit("a", "x", noWait)
	h.m.Retry(a, h.now)
	h.up("p", 0, 1, "x")
	h.m.Requeue(a, h.now)
	h.want("start p/0", "grant a p/0", "grant a p/0")
	h.m.Cancel(a)
	h.up("p", 0, 1, "x")
	b := h.submit("b", "x")
	a.NoWait, a.StartBy = false, h.now.Add(time.Second)
	h.m.Submit(a, h.now)
	h.pass(time.Second)
	h.want("grant b p/0", "reject a expired 1s")
	h.ended(b)
}

func TestRetryWhenNothingCanServe(t *testing.T) {
	h := newHarness(t, 0, one())
	w := h.up("p", 0, 1, "x")
	a := h.submit("a", "x")
	h.forget()
	h.m.WorkerDown(w)
	h.m.SlotGone("p", 0)
	h.m.Retry(a, h.now)
	h.want("reject a unavailable")
	h.counts(0, 0)
}

func TestRetryAfterItsPoolWasRemoved(t *testing.T) {
	h := newHarness(t, 0, one(), schedule.PoolSpec{Name: "q", Plugins: []string{"x"}, MinWorkers: 1, MaxWorkers: 1})
	w := h.up("p", 0, 2, "x")
	a, b := h.submit("a", "x"), h.submit("b", "x", in("p"))
	h.m.RemovePool("p")
	h.forget()
	h.m.WorkerDown(w)
	h.m.Retry(a, h.now)
	h.m.Retry(b, h.now)
	h.want("reject b removed")
	h.up("q", 0, 1, "x")
	h.want("grant a q/0")
}

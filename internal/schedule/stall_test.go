package schedule_test

import (
	"testing"
	"time"

	"supervisord/internal/schedule"
)

func stalling(run time.Duration) schedule.PoolSpec {
	spec := one()
	spec.StallTimeout, spec.RunTimeout = 10*time.Second, run
	return spec
}

func TestStall(t *testing.T) {
	h := newHarness(t, 0, stalling(0))
	h.up("p", 0, 1, "x")
	a := h.submit("a", "x")
	heard := h.now.Add(7 * time.Second)
	h.forget()
	h.pass(10*time.Second - 1)
	h.want()
	h.m.Heard(a, heard, h.now) // nobody has asked
	h.pass(1)
	h.want("quiet a p/0")
	h.pass(time.Second) // and asks once
	h.want()
	h.m.Heard(a, heard, h.now)
	if want := heard.Add(10 * time.Second); !h.m.Next().Equal(want) {
		t.Errorf("the next tick is at %v, want %v", h.m.Next(), want)
	}
	h.pass(6 * time.Second)
	h.want("quiet a p/0")
	h.m.Heard(a, heard, h.now)
	h.want("stalled a p/0 10s")
	h.pass(time.Hour)
	h.m.Heard(a, heard, h.now)
	h.want() // it comes once, and the task stays granted
	h.counts(0, 1)
	h.ended(a)
	h.m.Heard(a, h.now, h.now)
	if !h.m.Next().IsZero() {
		t.Errorf("a tick is due at %v", h.m.Next())
	}
}

func TestStallAndDeadline(t *testing.T) {
	h := newHarness(t, 0, stalling(25*time.Second))
	h.up("p", 0, 1, "x")
	a := h.submit("a", "x")
	due, limit := a.Due()
	h.forget()
	h.pass(10 * time.Second)
	h.want("quiet a p/0")
	if again, bound := a.Due(); !again.Equal(due) || bound != limit || limit != 25*time.Second {
		t.Errorf("the task is due at %v by %v, was at %v by %v", again, bound, due, limit)
	}
	h.m.Heard(a, h.now.Add(-10*time.Second), h.now)
	h.want("stalled a p/0 10s")
	h.pass(15 * time.Second) // whoever does nothing about it hears of the deadline
	h.want("expire a p/0 25s")
	h.ended(a)

	b := h.submit("b", "x")
	h.forget()
	h.pass(25 * time.Second)
	h.want("expire b p/0 25s") // at once: it does not matter any more whether it is quiet
	h.m.Heard(b, h.now, h.now)
	h.pass(time.Hour)
	h.want()
	h.ended(b)

	c := h.submit("c", "x", h.within(15*time.Second))
	h.pass(10 * time.Second)
	h.m.Heard(c, h.now, h.now)
	h.pass(5 * time.Second) // before it could be quiet again
	h.want("grant c p/0", "quiet c p/0", "expire c p/0 15s")
	h.ended(c)

	d := h.submit("d", "x")
	h.pass(10 * time.Second)
	h.m.Requeue(d, h.now) // it begins again
	h.up("p", 0, 1, "x")
	h.m.Heard(d, h.now.Add(-time.Hour), h.now)
	h.want("grant d p/0", "quiet d p/0", "grant d p/0")
}

// A task that waits for its answer to Quiet may expire, and one that waits in a queue is never quiet.
func TestQuietThenExpired(t *testing.T) {
	h := newHarness(t, 0, stalling(0))
	h.submit("a", "x")
	h.pass(time.Hour)
	h.want("start p/0")
	h.up("p", 0, 1, "x")
	h.want("grant a p/0")
	h.m = schedule.New(0)
	h.m.AddPool(stalling(0))
	h.up("p", 0, 1, "x")
	b := h.submit("b", "x", h.within(15*time.Second))
	h.forget()
	h.pass(10 * time.Second)
	h.pass(5 * time.Second)
	h.want("quiet b p/0", "expire b p/0 15s")
	h.m.Heard(b, h.now.Add(-time.Hour), h.now)
	h.want()
}

func TestStallTimeoutTakenAway(t *testing.T) {
	h := newHarness(t, 0, stalling(0))
	h.up("p", 0, 1, "x")
	a := h.submit("a", "x")
	h.m.SetPool(one(), h.now)
	h.forget()
	h.pass(10 * time.Second)
	h.want("quiet a p/0")
	h.m.Heard(a, h.now.Add(-time.Hour), h.now)
	h.pass(time.Hour)
	h.want()
}

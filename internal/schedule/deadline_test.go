package schedule_test

import (
	"testing"
	"time"

	"supervisord/internal/schedule"
)

// While a task waits, the earliest of three bounds counts, and is the one that is reported.
func TestEarliestBoundWhileQueued(t *testing.T) {
	const never = 0
	for _, test := range []struct {
		name                         string
		deadline, startBy, queueWait time.Duration
		want                         time.Duration
	}{
		{"deadline alone", 3 * time.Second, never, never, 3 * time.Second},
		{"start by alone", never, 3 * time.Second, never, 3 * time.Second},
		{"queue wait alone", never, never, 3 * time.Second, 3 * time.Second},
		{"deadline first", time.Second, 2 * time.Second, 3 * time.Second, time.Second},
		{"start by first", 3 * time.Second, time.Second, 2 * time.Second, time.Second},
		{"queue wait first", 3 * time.Second, 2 * time.Second, time.Second, time.Second},
		{"none", never, never, never, never},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := one()
			spec.QueueWait = test.queueWait
			h := newHarness(t, 0, spec)
			h.forget()
			h.submit("a", "x", func(task *schedule.Task) {
				if test.deadline > 0 {
					h.within(test.deadline)(task)
				}
				if test.startBy > 0 {
					h.startBy(test.startBy)(task)
				}
			})
			if test.want == never {
				if !h.m.Next().IsZero() {
					t.Errorf("a tick is due at %v", h.m.Next())
				}
				h.pass(1000 * time.Hour)
				h.want()
				return
			}
			if due := h.now.Add(test.want); !h.m.Next().Equal(due) {
				t.Errorf("the next tick is due at %v, want %v", h.m.Next(), due)
			}
			h.pass(test.want - 1)
			h.want()
			h.pass(1)
			h.want("reject a expired " + test.want.String())
			if !h.m.Next().IsZero() {
				t.Errorf("a tick is due at %v when nothing waits", h.m.Next())
			}
			h.counts(0, 0)
		})
	}
}

func TestEarliestBoundWhileRunning(t *testing.T) {
	for _, test := range []struct {
		name                      string
		deadline, run, after, due time.Duration // due is counted from the grant
		limit                     time.Duration
	}{
		{"deadline alone", 3 * time.Second, 0, time.Second, 2 * time.Second, 3 * time.Second},
		{"run timeout alone", 0, 3 * time.Second, time.Second, 3 * time.Second, 3 * time.Second},
		{"deadline first", 3 * time.Second, 3 * time.Second, time.Second, 2 * time.Second, 3 * time.Second},
		{"run timeout first", 5 * time.Second, 3 * time.Second, time.Second, 3 * time.Second, 3 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := one()
			spec.RunTimeout, spec.QueueWait = test.run, 2*time.Second
			h := newHarness(t, 0, spec)
			h.forget()
			a := h.submit("a", "x", h.startBy(2*time.Second), func(task *schedule.Task) {
				if test.deadline > 0 {
					h.within(test.deadline)(task)
				}
			})
			h.pass(test.after)
			h.up("p", 0, 1, "x")
			h.want("grant a p/0")
			h.pass(test.due - 1) // what bounded the waiting is over, and has no meaning any more
			h.want()
			h.pass(1)
			h.want("expire a p/0 " + test.limit.String())
			h.pass(time.Hour) // it comes once, and the task stays granted
			h.want()
			h.counts(0, 1)
			h.ended(a)
			h.counts(0, 0)
		})
	}
}

func TestEndedInTime(t *testing.T) {
	h := newHarness(t, 0, one())
	h.up("p", 0, 1, "x")
	a := h.submit("a", "x", h.within(time.Second))
	b := h.submit("b", "x", h.within(2*time.Second))
	h.forget()
	h.ended(a)
	h.want("grant b p/0")
	h.pass(time.Second)
	h.want()
	h.ended(b)
	h.pass(time.Second)
	h.want()
	if !h.m.Next().IsZero() {
		t.Errorf("a tick is due at %v", h.m.Next())
	}
}

func TestTicksComeInOrder(t *testing.T) {
	h := newHarness(t, 0, one())
	h.forget()
	for _, d := range []time.Duration{5, 3, 8, 1, 9, 2, 7, 4, 6} {
		h.submit(d.String(), "x", h.within(d))
	}
	h.pass(4)
	h.want("reject 1ns expired 1ns", "reject 2ns expired 2ns", "reject 3ns expired 3ns", "reject 4ns expired 4ns")
	h.pass(5)
	h.want("reject 5ns expired 5ns", "reject 6ns expired 6ns", "reject 7ns expired 7ns", "reject 8ns expired 8ns", "reject 9ns expired 9ns")
}

// A task whose time is over does not get a worker, only to be killed on it.
func TestOverAtSubmit(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 1, MaxWorkers: 2})
	h.up("p", 0, 1, "x")
	h.forget()
	h.submit("a", "x", h.within(0))
	h.want("reject a expired")
	h.submit("b", "x", h.startBy(0)) // it can start now
	h.want("grant b p/0")
	h.submit("c", "x", h.startBy(0))
	h.want("reject c expired")
	h.counts(0, 1)
}

func TestOverWhenAWorkerIsFreeBeforeTheTick(t *testing.T) {
	h := newHarness(t, 0, one())
	h.submit("a", "x", h.within(time.Second))
	b := h.submit("b", "x")
	h.forget()
	h.now = h.now.Add(time.Second)
	h.up("p", 0, 1, "x")
	h.want("reject a expired 1s", "grant b p/0")
	c := h.submit("c", "x", h.startBy(time.Second))
	h.now = h.now.Add(2 * time.Second)
	h.ended(b)
	h.want("reject c expired 1s")
	if c.Worker() != nil {
		t.Error("the rejected task has a worker")
	}
	h.counts(0, 0)
}

func TestRequeueKeepsItsBounds(t *testing.T) {
	spec := one()
	spec.QueueWait = 3 * time.Second
	h := newHarness(t, 0, spec)
	h.up("p", 0, 2, "x")
	a, b := h.submit("a", "x"), h.submit("b", "x", h.within(time.Second))
	h.forget()
	h.pass(time.Second)
	h.want("expire b p/0 1s")
	h.m.Requeue(a, h.now)
	h.m.Requeue(b, h.now)
	h.want("reject b expired 1s")
	h.pass(2 * time.Second)
	h.want("reject a expired 3s")
}

package schedule_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"supervisord/internal/schedule"
)

// harness plays events on a machine and compares its effects, written as text.
type harness struct {
	*testing.T
	m   *schedule.Machine
	now time.Time
}

func newHarness(t *testing.T, maxBytes int64, pools ...schedule.PoolSpec) *harness {
	t.Helper()
	h := &harness{T: t, m: schedule.New(maxBytes), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for _, p := range pools {
		h.m.AddPool(p)
	}
	return h
}

// want takes the effects since the last call and compares them.
func (h *harness) want(effects ...string) {
	h.Helper()
	got := []string{}
	for _, e := range h.m.Effects() {
		got = append(got, describe(e))
	}
	if !slices.Equal(got, effects) {
		h.Fatalf("effects are\n\t%q, want\n\t%q", got, effects)
	}
}

// forget takes the effects since the last call without a look at them.
func (h *harness) forget() { h.m.Effects() }

func (h *harness) submit(name, plugin string, options ...func(*schedule.Task)) *schedule.Task {
	t := &schedule.Task{Plugin: plugin, Owner: name}
	for _, o := range options {
		o(t)
	}
	h.m.Submit(t, h.now)
	return t
}

func (h *harness) up(pool string, slot, capacity int, loaded ...string) *schedule.Worker {
	w := h.m.WorkerUp(pool, slot, capacity, loaded, h.now)
	w.Owner = fmt.Sprintf("%s/%d", pool, slot)
	return w
}

// upAs is up for a worker that has a name of its own in the effects.
func (h *harness) upAs(name, pool string, slot, capacity int, loaded ...string) *schedule.Worker {
	w := h.up(pool, slot, capacity, loaded...)
	w.Owner = name
	return w
}

func (h *harness) ended(tasks ...*schedule.Task) {
	for _, t := range tasks {
		h.m.Ended(t, h.now)
	}
}

func (h *harness) counts(queued, running int) {
	h.Helper()
	if h.m.Queued() != queued || h.m.Running() != running {
		h.Fatalf("%d queued and %d running, want %d and %d", h.m.Queued(), h.m.Running(), queued, running)
	}
}

// pass advances the clock and ticks.
func (h *harness) pass(d time.Duration) {
	h.now = h.now.Add(d)
	h.m.Tick(h.now)
}

func in(pool string) func(*schedule.Task) { return func(t *schedule.Task) { t.Pool = pool } }

func noWait(t *schedule.Task) { t.NoWait = true }

func holding(bytes int64) func(*schedule.Task) { return func(t *schedule.Task) { t.Bytes = bytes } }

func (h *harness) within(d time.Duration) func(*schedule.Task) {
	return func(t *schedule.Task) { t.Deadline = h.now.Add(d) }
}

func (h *harness) startBy(d time.Duration) func(*schedule.Task) {
	return func(t *schedule.Task) { t.StartBy = h.now.Add(d) }
}

func describe(e schedule.Effect) string {
	switch e.Kind {
	case schedule.Grant:
		return fmt.Sprintf("grant %v %v", e.Task.Owner, e.Worker.Owner)
	case schedule.Reject:
		if e.Limit != 0 {
			return fmt.Sprintf("reject %v %s %v", e.Task.Owner, reasonName(e.Reason), e.Limit)
		}
		return fmt.Sprintf("reject %v %s", e.Task.Owner, reasonName(e.Reason))
	case schedule.Start:
		return fmt.Sprintf("start %s/%d", e.Pool, e.Slot)
	case schedule.Expire:
		return fmt.Sprintf("expire %v %v %v", e.Task.Owner, e.Worker.Owner, e.Limit)
	case schedule.Quiet:
		return fmt.Sprintf("quiet %v %v", e.Task.Owner, e.Worker.Owner)
	case schedule.Stalled:
		return fmt.Sprintf("stalled %v %v %v", e.Task.Owner, e.Worker.Owner, e.Limit)
	case schedule.Replace:
		return fmt.Sprintf("replace %v in %s/%d", e.Worker.Owner, e.Pool, e.Slot)
	case schedule.Retire:
		return fmt.Sprintf("retire %v", e.Worker.Owner)
	case schedule.Reserved:
		return fmt.Sprintf("reserved %v", e.Worker.Owner)
	case schedule.Load:
		return fmt.Sprintf("load %v %s", e.Worker.Owner, e.Plugin)
	case schedule.PoolGone:
		return fmt.Sprintf("gone %s", e.Pool)
	}
	return fmt.Sprintf("unknown effect %d", e.Kind)
}

func reasonName(r schedule.Reason) string {
	switch r {
	case schedule.UnknownPlugin:
		return "unknown_plugin"
	case schedule.UnknownPool:
		return "unknown_pool"
	case schedule.QueueFull:
		return "queue_full"
	case schedule.BytesFull:
		return "bytes_full"
	case schedule.Unavailable:
		return "unavailable"
	case schedule.NotLoaded:
		return "not_loaded"
	case schedule.Expired:
		return "expired"
	case schedule.Paused:
		return "paused"
	case schedule.Removed:
		return "removed"
	}
	return fmt.Sprintf("reason %d", r)
}

// one is a pool of one worker that offers plugin x.
func one() schedule.PoolSpec {
	return schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 1, MaxWorkers: 1}
}

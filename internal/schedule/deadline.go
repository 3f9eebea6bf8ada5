package schedule

import "time"

// armWait arms the earliest of the bounds on a task that waits.
func (m *Machine) armWait(t *Task) {
	t.due, t.limit = t.Deadline, t.allowed
	if !t.started {
		t.bound(t.StartBy)
	}
	if wait := t.home.spec.QueueWait; wait > 0 {
		t.bound(t.since.Add(wait))
	}
	t.limit = max(0, t.limit)
	m.arm(t, t.due)
}

// bound lowers the bound of a task that waits, where the given one comes earlier; zero is none.
func (t *Task) bound(due time.Time) {
	if !due.IsZero() && (t.due.IsZero() || due.Before(t.due)) {
		t.due, t.limit = due, due.Sub(t.since)
	}
}

// armRun arms the earliest of the bounds on a task that starts to run.
func (m *Machine) armRun(t *Task, now time.Time) {
	spec := &t.worker.pool.spec
	t.due, t.limit = t.Deadline, t.allowed
	if run := spec.RunTimeout; run > 0 {
		if end := now.Add(run); t.due.IsZero() || end.Before(t.due) {
			t.due, t.limit = end, run
		}
	}
	at := t.due
	if stall := spec.StallTimeout; stall > 0 {
		at = earliest(at, now.Add(stall))
	}
	m.arm(t, at)
}

// arm sets the task's timer; zero is never.
func (m *Machine) arm(t *Task, at time.Time) {
	if !at.IsZero() {
		t.timer.task = t
		m.timers.push(&t.timer, at)
	}
}

// overrun is called when the timer of a task that runs has fired.
func (m *Machine) overrun(t *Task, now time.Time) {
	if past(t.due, now) {
		t.quiet = false // it is to be ended, quiet or not
		m.emit(Effect{Kind: Expire, Task: t, Worker: t.worker, Limit: t.limit})
		return
	}
	t.quiet = true
	m.arm(t, t.due)
	m.emit(Effect{Kind: Quiet, Task: t, Worker: t.worker})
}

// Due is when a granted task must have ended, and the bound that says so; zero for never. It does not change until Ended.
func (t *Task) Due() (time.Time, time.Duration) { return t.due, t.limit }

// past reports whether a bound is over; a zero one never is.
func past(due, now time.Time) bool { return !due.IsZero() && !due.After(now) }

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

package schedule

import "time"

// Heard answers Quiet: something was heard of the task at a time, its grant included. What a worker says of a task never
// enters the machine, which asks only when the time is over. Where it is over since that time, too, Stalled follows,
// once; else Quiet comes again when it may be. Heard does nothing for a task that has ended or expired meanwhile.
func (m *Machine) Heard(t *Task, at, now time.Time) {
	if t.phase != phaseRunning || !t.quiet {
		return
	}
	t.quiet = false
	stall := t.worker.pool.spec.StallTimeout
	if stall == 0 { // not any more
		return
	}
	if over := at.Add(stall); over.After(now) {
		m.timers.remove(&t.timer)
		m.arm(t, earliest(t.due, over))
		return
	}
	m.emit(Effect{Kind: Stalled, Task: t, Worker: t.worker, Limit: stall})
}

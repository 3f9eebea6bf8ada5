package schedule

import "time"

// armWait arms the earliest of the bounds on a task that waits.
func (m *Machine) armWait(t *Task) {
	due := earliest(t.Deadline, t.StartBy)
	if wait := t.home.spec.QueueWait; wait > 0 {
		due = earliest(due, t.submitted.Add(wait))
	}
	m.arm(t, due, t.submitted)
}

// armRun arms the earliest of the bounds on a task that runs.
func (m *Machine) armRun(t *Task, now time.Time) {
	due, since := t.Deadline, t.submitted
	if run := t.worker.pool.spec.RunTimeout; run > 0 {
		if end := now.Add(run); due.IsZero() || end.Before(due) {
			due, since = end, now
		}
	}
	m.arm(t, due, since)
}

// arm sets the task's one bound, zero for none; it has held since the given time.
func (m *Machine) arm(t *Task, due, since time.Time) {
	t.due, t.limit = due, 0
	if due.IsZero() {
		return
	}
	t.limit = max(0, due.Sub(since))
	m.due.push(t)
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

// Next is when Tick has something to do next; zero when nothing is armed.
func (m *Machine) Next() time.Time {
	if len(m.due) == 0 {
		return time.Time{}
	}
	return m.due[0].due
}

// Tick rejects the tasks that have waited, and reports those that have run, past their bounds. Expire comes once for a
// task.
func (m *Machine) Tick(now time.Time) {
	for len(m.due) > 0 && !m.due[0].due.After(now) {
		t := m.due[0]
		if t.phase == phaseQueued {
			m.dequeue(t)
			m.reject(t, Expired, t.limit)
			continue
		}
		m.due.remove(t)
		m.emit(Effect{Kind: Expire, Task: t, Worker: t.worker, Limit: t.limit})
	}
}

// dueHeap is a binary heap of tasks by due; each knows its index plus one, so that zero is none.
type dueHeap []*Task

func (h *dueHeap) push(t *Task) {
	*h = append(*h, t)
	t.dueIndex = len(*h)
	h.up(len(*h) - 1)
}

func (h *dueHeap) remove(t *Task) {
	i := t.dueIndex - 1
	if i < 0 {
		return
	}
	last := len(*h) - 1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	t.dueIndex = 0
	if i < last {
		h.up(i)
		h.down(i)
	}
}

func (h *dueHeap) swap(i, j int) {
	s := *h
	s[i], s[j] = s[j], s[i]
	s[i].dueIndex, s[j].dueIndex = i+1, j+1
}

func (h *dueHeap) up(i int) {
	s := *h
	for i > 0 {
		parent := (i - 1) / 2
		if !s[i].due.Before(s[parent].due) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *dueHeap) down(i int) {
	s := *h
	for {
		child := 2*i + 1
		if child >= len(s) {
			return
		}
		if child+1 < len(s) && s[child+1].due.Before(s[child].due) {
			child++
		}
		if !s[child].due.Before(s[i].due) {
			return
		}
		h.swap(i, child)
		i = child
	}
}

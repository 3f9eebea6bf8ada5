package schedule

import "time"

// timer is when Tick has something to do about a task or a pool. It knows its index in the heap plus one, so that zero is
// not armed.
type timer struct {
	at    time.Time
	index int
	task  *Task
	pool  *pool
}

func (t *timer) armed() bool { return t.index > 0 }

// timers is a binary heap of those that are armed.
type timers []*timer

func (h *timers) push(t *timer, at time.Time) {
	t.at = at
	*h = append(*h, t)
	t.index = len(*h)
	h.up(len(*h) - 1)
}

func (h *timers) remove(t *timer) {
	i := t.index - 1
	if i < 0 {
		return
	}
	last := len(*h) - 1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = 0
	if i < last {
		h.up(i)
		h.down(i)
	}
}

func (h *timers) swap(i, j int) {
	s := *h
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i+1, j+1
}

func (h *timers) up(i int) {
	s := *h
	for i > 0 {
		parent := (i - 1) / 2
		if !s[i].at.Before(s[parent].at) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *timers) down(i int) {
	s := *h
	for {
		child := 2*i + 1
		if child >= len(s) {
			return
		}
		if child+1 < len(s) && s[child+1].at.Before(s[child].at) {
			child++
		}
		if !s[child].at.Before(s[i].at) {
			return
		}
		h.swap(i, child)
		i = child
	}
}

// Next is when Tick may have something to do next; zero when nothing is armed.
func (m *Machine) Next() time.Time {
	if len(m.timers) == 0 {
		return time.Time{}
	}
	return m.timers[0].at
}

// Tick rejects the tasks that have waited, reports those that have run, past their bounds, asks about those that are
// quiet, and retires workers that have been idle for too long. Expire comes once for a task.
func (m *Machine) Tick(now time.Time) {
	for len(m.timers) > 0 && !m.timers[0].at.After(now) {
		due := m.timers[0]
		switch t := due.task; {
		case t == nil:
			m.timers.remove(due)
			m.scaleDown(due.pool, now)
		case t.phase == phaseQueued:
			m.dequeue(t)
			m.reject(t, Expired, t.limit)
		default:
			m.timers.remove(due)
			m.overrun(t, now)
		}
	}
}

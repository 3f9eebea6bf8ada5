package schedule_test

import (
	"slices"
	"time"
)

// check holds the machine's state against the model's after an event.
func (m *model) check() {
	m.checkTasks()
	for _, p := range m.pools {
		m.checkPool(p)
	}
	for _, w := range m.workers {
		if w.Running() != w.running {
			m.fail("worker %s runs %d tasks, should be %d", name(w), w.Running(), w.running)
		}
		if w.hold == asked && w.running == 0 {
			m.fail("worker %s is empty, and nobody is told", name(w))
		}
		if w.owed && w.hold == unheld {
			m.fail("worker %s has a successor and is not retired", name(w))
		}
	}
	m.checkNext()
}

func (m *model) checkTasks() {
	alike := map[string]int{}
	tasks := m.waiting()
	for _, t := range m.tasks {
		if t.state == running {
			if t.Worker() != t.worker.Worker || t.PoolName() != t.worker.pool.Name {
				m.fail("task %s does not know its worker", t.name)
			}
			continue
		}
		alike[t.Plugin+" "+t.Pool]++
		m.checkWaiting(t)
	}
	for _, t := range tasks {
		pools, _ := m.candidates(t)
		if expected, more := m.hope(pools); more && expected < alike[t.Plugin+" "+t.Pool] {
			m.fail("task %s waits, and no worker is started for it", t.name)
		}
	}
	sum := 0
	for _, p := range m.pools {
		sum += m.m.QueuedIn(p.Name)
	}
	if sum != len(tasks) || m.m.Queued() != len(tasks) || m.m.Running() != len(m.tasks)-len(tasks) {
		m.fail("%d tasks wait, %d in pools, and %d run; should be %d and %d",
			m.m.Queued(), sum, m.m.Running(), len(tasks), len(m.tasks)-len(tasks))
	}
}

func (m *model) checkWaiting(t *modelTask) {
	pools, known := m.candidates(t)
	for _, w := range m.workers {
		if w.running < w.capacity && m.suits(w, t) {
			m.fail("task %s waits while worker %s has room", t.name, name(w))
		}
	}
	if why := m.hopeless(t); why != "" {
		m.fail("task %s waits without hope: %s", t.name, why)
	}
	if t.Worker() != nil || !slices.Contains(pools, m.pool(t.PoolName())) {
		m.fail("task %s counts in pool %q", t.name, t.PoolName())
	}
	if !known || m.attended(t) {
		return
	}
	for _, w := range m.workers {
		if w.up && w.running == 0 && w.hold == unheld && !w.pool.Paused && len(w.pool.Plugins) > 0 &&
			slices.Contains(pools, w.pool) && !slices.Contains(w.refused, t.Plugin) {
			m.fail("task %s waits while worker %s could load its plugin", t.name, name(w))
		}
	}
}

func (m *model) checkPool(p *modelPool) {
	if p.removed {
		if p.gone != (p.processes() == 0) {
			m.fail("pool %s has %d processes and is gone: %v", p.Name, p.processes(), p.gone)
		}
		for _, w := range m.upIn(p) {
			if w.hold == unheld {
				m.fail("worker %s outlives its pool", name(w))
			}
		}
		return
	}
	room := p.processes() < p.MaxWorkers
	if p.count(free) > 0 && room && p.MaxWorkers-p.count(free) < p.least() {
		m.fail("pool %s has %d workers, should have %d", p.Name, p.MaxWorkers-p.count(free), p.least())
	}
	for _, w := range m.upIn(p) {
		if !p.open(w.slot) && w.hold == unheld {
			m.fail("worker %s stays beyond the most there may be", name(w))
		}
	}
	if p.rolling >= 0 && p.slots[p.rolling].phase == free {
		m.fail("worker %s/%d was recycled and does not come back", p.Name, p.rolling)
	}
	wait := p.ReplaceBefore && !room && p.making() > 0
	if w := p.next(); w != nil && p.rolling < 0 && !wait {
		m.fail("worker %s is due and is not recycled", name(w))
	}
}

// making is how many processes end and make room.
func (p *modelPool) making() int {
	n := len(p.leavers)
	for _, s := range p.slots {
		if s.phase == leaving {
			n++
		}
	}
	return n
}

// checkNext checks that the next tick comes when it must. It may come earlier where an idle worker has been busy since
// its timer was set.
func (m *model) checkNext() {
	var next, idle time.Time
	early := false
	for _, t := range m.tasks {
		if t.state == running {
			next = sooner(sooner(next, t.due), t.stall)
		} else {
			next = sooner(next, m.waitsUntil(t))
		}
	}
	for _, p := range m.pools {
		idle = sooner(idle, m.idleUntil(p))
		early = early || p.IdleTimeout > 0
	}
	got, latest := m.m.Next(), sooner(next, idle)
	switch {
	case got.Equal(next):
		if !next.Equal(latest) {
			m.fail("the next tick is at %v, should be at %v for an idle worker", got, latest)
		}
	case got.IsZero() || !early:
		m.fail("the next tick is at %v, should be at %v", got, latest)
	case !latest.IsZero() && got.After(latest):
		m.fail("the next tick is at %v, later than %v", got, latest)
	}
}

package schedule_test

import (
	"slices"
	"time"

	"supervisord/internal/schedule"
)

// apply takes the effects of the last event, holds each against the model, and then the state that they lead to.
func (m *model) apply() {
	m.carryOut(m.m.Effects())
	m.check()
}

// carryOut holds effects against the model, and answers those that ask for an answer at once.
func (m *model) carryOut(effects []schedule.Effect) {
	var quiet []*modelTask
	for _, e := range effects {
		m.note("  %s", describe(e))
		switch e.Kind {
		case schedule.Grant:
			m.granted(e)
		case schedule.Reject:
			m.rejected(e)
		case schedule.Start:
			m.needed(m.pool(e.Pool), e.Slot)
			m.started(e)
		case schedule.Expire:
			t := m.task(e.Task)
			if t.state != running || e.Worker != t.worker.Worker || t.due.IsZero() || t.due.After(m.now) || e.Limit <= 0 {
				m.fail("task %s expires in state %d", t.name, t.state)
			}
			t.due, t.stall = time.Time{}, time.Time{}
		case schedule.Quiet:
			t := m.task(e.Task)
			if t.state != running || e.Worker != t.worker.Worker || t.stall.IsZero() || t.stall.After(m.now) {
				m.fail("task %s is quiet in state %d", t.name, t.state)
			}
			quiet = append(quiet, t)
		case schedule.Stalled:
			t := m.task(e.Task)
			if t.state != running || !t.stall.IsZero() || e.Limit != t.worker.pool.StallTimeout {
				m.fail("task %s has stalled in state %d", t.name, t.state)
			}
		case schedule.Replace:
			m.replaced(e)
		case schedule.Retire:
			m.retired(m.worker(e))
		case schedule.Reserved:
			w := m.worker(e)
			if w.hold != asked || w.running > 0 {
				m.fail("worker %s is reserved with %d tasks", name(w), w.running)
			}
			w.hold = given
		case schedule.Load:
			m.loads(m.worker(e), e.Plugin)
		case schedule.PoolGone:
			p := m.pool(e.Pool)
			if !p.removed || p.gone || p.processes() > 0 {
				m.fail("pool %s is gone with %d processes", p.Name, p.processes())
			}
			p.gone = true
		default:
			m.fail("effect of kind %d", e.Kind)
		}
	}
	for _, t := range quiet {
		m.heard(t)
	}
}

func name(w *modelWorker) any { return w.Owner }

// heard answers Quiet: of every other task something was heard a moment ago.
func (m *model) heard(t *modelTask) {
	at, stall := m.now.Add(-time.Second), t.worker.pool.StallTimeout
	if t.seq%2 == 0 {
		at = m.now.Add(-time.Hour)
	}
	t.stall = time.Time{}
	over := stall > 0 && !at.Add(stall).After(m.now)
	if stall > 0 && !over {
		t.stall = at.Add(stall)
	}
	m.m.Heard(t.Task, at, m.now)
	effects := m.m.Effects()
	if over != (len(effects) == 1) {
		m.fail("%d effects follow when task %s was heard", len(effects), t.name)
	}
	m.carryOut(effects)
	m.m.Heard(t.Task, at, m.now) // nobody has asked
	if len(m.m.Effects()) > 0 {
		m.fail("task %s stalls twice", t.name)
	}
}

func (m *model) task(task *schedule.Task) *modelTask {
	for _, t := range m.tasks {
		if t.Task == task {
			return t
		}
	}
	m.fail("an effect names a task that is over or was never submitted")
	return nil
}

func (m *model) worker(e schedule.Effect) *modelWorker {
	i := slices.IndexFunc(m.workers, func(w *modelWorker) bool { return w.Worker == e.Worker })
	if i < 0 {
		m.fail("an effect names a worker that never was")
	}
	return m.workers[i]
}

func (m *model) end(t *modelTask) {
	t.state = over
	m.tasks = slices.DeleteFunc(m.tasks, func(other *modelTask) bool { return other == t })
}

func (m *model) rejected(e schedule.Effect) {
	t := m.task(e.Task)
	if t.state != waiting || e.Worker != nil || e.Limit < 0 {
		m.fail("task %s is rejected in state %d", t.name, t.state)
	}
	why := reasonName(e.Reason)
	if pools, _ := m.candidates(t); why == "removed" || why == "unknown_plugin" {
		if len(pools) > 0 {
			m.fail("task %s is rejected with %s while pools may run it", t.name, why)
		}
	}
	if hopeless := m.hopeless(t); (why == "unavailable" || why == "not_loaded") && why != hopeless {
		m.fail("task %s is rejected with %s, should be %q", t.name, why, hopeless)
	}
	over := func(due time.Time) bool { return !due.IsZero() && !due.After(m.now) }
	started := t.NoWait || over(t.StartBy) || over(t.Deadline) // or it would have been, in time
	if why == "expired" && !started && !over(m.waitsUntil(t)) {
		m.fail("task %s expires too early", t.name)
	}
	m.end(t)
}

func (m *model) granted(e schedule.Effect) {
	t, w := m.task(e.Task), m.worker(e)
	switch {
	case t.state != waiting:
		m.fail("task %s is granted in state %d", t.name, t.state)
	case !m.suits(w, t):
		m.fail("task %s does not suit its worker", t.name)
	case w.running == w.capacity:
		m.fail("task %s is granted to a worker that is full", t.name)
	}
	for _, other := range m.waiting() {
		if other.seq < t.seq && m.suits(w, other) {
			m.fail("task %s overtakes %s", t.name, other.name)
		}
	}
	for _, other := range m.workers {
		if other.running == 0 && w.running > 0 && m.suits(other, t) {
			m.fail("task %s goes to a busy worker while another is idle", t.name)
		}
		if w.running > other.running && other.running < other.capacity && m.suits(other, t) {
			m.fail("task %s goes to a busier worker than need be", t.name)
		}
	}
	if older := m.passedOver(w, t); older != nil && w.running == 0 && !m.setting {
		m.fail("task %s is passed over for %s", older.name, t.name)
	}
	w.running++
	t.state, t.worker = running, w
	t.due, t.stall = t.Deadline, time.Time{}
	if run := w.pool.RunTimeout; run > 0 {
		t.due = sooner(t.due, m.now.Add(run))
	}
	if stall := w.pool.StallTimeout; stall > 0 {
		t.stall = m.now.Add(stall)
	}
	if due, _ := t.Due(); !due.Equal(t.due) {
		m.fail("task %s is due at %v, should be at %v", t.name, due, t.due)
	}
}

// room says that p may have one process more.
func (m *model) room(p *modelPool) {
	if p.processes() >= p.MaxWorkers {
		m.fail("pool %s has %d processes and asks for another", p.Name, p.processes())
	}
}

func (m *model) started(e schedule.Effect) {
	p := m.pool(e.Pool)
	if !p.open(e.Slot) || p.slots[e.Slot].phase != free {
		m.fail("slot %s/%d is started and is not free", e.Pool, e.Slot)
	}
	m.room(p)
	p.slots[e.Slot].phase = coming
}

// replaced checks that the worker whose successor is to come is the next one that is due.
func (m *model) replaced(e schedule.Effect) {
	w := m.worker(e)
	p := w.pool
	m.room(p)
	if e.Pool != p.Name || e.Slot != w.slot || !p.ReplaceBefore || p.slots[w.slot].worker != w || p.slots[w.slot].successor {
		m.fail("worker %s is replaced", name(w))
	}
	m.recycled(w)
	p.slots[w.slot].successor = true
}

func (m *model) recycled(w *modelWorker) {
	p := w.pool
	if p.rolling >= 0 {
		m.fail("worker %s is recycled while %s/%d is", name(w), p.Name, p.rolling)
	}
	if next := p.next(); next != w {
		m.fail("worker %s is recycled before its turn", name(w))
	}
	p.due = slices.DeleteFunc(p.due, func(other *modelWorker) bool { return other == w })
	p.rolling, p.had = w.slot, p.live()
}

// next is the worker of p that is to be recycled next; nil for none.
func (p *modelPool) next() *modelWorker {
	for _, w := range p.due {
		if w.up && w.hold == unheld && !slices.Contains(p.leavers, w.slot) {
			return w
		}
	}
	return nil
}

// retired checks that there is a reason to retire w.
func (m *model) retired(w *modelWorker) {
	p := w.pool
	if w.hold != unheld {
		m.fail("worker %s is retired while it is held", name(w))
	}
	if w.owed {
		w.owed = false
		return
	}
	if !w.up {
		m.fail("worker %s is retired and is down", name(w))
	}
	until := m.idleUntil(p)
	before := p.ReplaceBefore && (p.processes() < p.MaxWorkers || p.making() > 0)
	switch {
	case !p.open(w.slot):
	case p.next() == w && p.rolling < 0 && !before:
		m.recycled(w)
	case w.running == 0 && !until.IsZero() && !until.After(m.now) && w.idle.Add(p.IdleTimeout).Equal(until):
	default:
		m.fail("worker %s is retired for no reason", name(w))
	}
	w.up = false
	p.slots[w.slot].phase, p.slots[w.slot].worker = leaving, nil
}

// loads checks that some task needs the plugin, and that w is the one to load it.
func (m *model) loads(w *modelWorker, plugin string) {
	p := w.pool
	if !w.up || w.hold != unheld || w.running > 0 || p.Paused || !slices.Contains(p.Plugins, plugin) ||
		slices.Contains(w.loaded, plugin) || slices.Contains(w.refused, plugin) {
		m.fail("worker %s is to load %s", name(w), plugin)
	}
	if !slices.ContainsFunc(m.waiting(), func(t *modelTask) bool {
		return t.Plugin == plugin && m.mayRunIn(t, p) && !m.attended(t)
	}) {
		m.fail("nothing needs %s in worker %s", plugin, name(w))
	}
	for _, t := range m.waiting() {
		if older := m.passedOver(w, t); m.suits(w, t) && (older == nil || older.Plugin != plugin) {
			m.fail("worker %s loads %s while task %s waits for it", name(w), plugin, t.name)
		}
	}
	w.hold, w.plugin = loading, plugin
}

// passedOver is the oldest task that waits for w to load its plugin, where that should come before t.
func (m *model) passedOver(w *modelWorker, t *modelTask) *modelTask {
	var oldest *modelTask
	for _, other := range m.waiting() {
		if m.mayRunIn(other, w.pool) && len(w.pool.Plugins) > 0 && !slices.Contains(w.refused, other.Plugin) &&
			!m.attended(other) && (oldest == nil || other.seq < oldest.seq) {
			oldest = other
		}
	}
	if oldest == nil || oldest.seq > t.seq || oldest.since.Add(w.pool.CollationWait).After(m.now) {
		return nil
	}
	return oldest
}

// attended reports whether a worker serves the plugin of t, or is about to.
func (m *model) attended(t *modelTask) bool {
	return slices.ContainsFunc(m.workers, func(w *modelWorker) bool {
		return w.up && !w.pool.Paused && m.mayRunIn(t, w.pool) &&
			(slices.Contains(w.loaded, t.Plugin) || (w.hold == loading && w.plugin == t.Plugin))
	})
}

// hope is how many tasks the workers that come will take in the given pools, and whether one more could be started.
func (m *model) hope(pools []*modelPool) (expected int, more bool) {
	for _, p := range pools {
		if p.Paused {
			continue
		}
		expected += p.count(coming, ending) * p.expected
		for _, w := range m.upIn(p) {
			if w.hold == loading {
				expected += p.expected
			}
		}
		more = more || (p.count(free) > 0 && p.processes() < p.MaxWorkers)
	}
	return expected, more
}

// needed says that a worker of p is about to be started: it must be one of those that there should be, or some task must
// need it.
func (m *model) needed(p *modelPool, slot int) {
	if p.MaxWorkers-p.count(free) < p.least() || (p.rolling == slot && p.live() < p.had) {
		return
	}
	for _, t := range m.waiting() {
		pools, _ := m.candidates(t)
		if p.Paused || !slices.Contains(pools, p) {
			continue
		}
		rivals := 0
		for _, other := range m.waiting() {
			if slices.ContainsFunc(pools, func(p *modelPool) bool { return m.mayRunIn(other, p) }) {
				rivals++
			}
		}
		if expected, _ := m.hope(pools); expected < rivals {
			return
		}
	}
	m.fail("nothing needs another worker of %s", p.Name)
}

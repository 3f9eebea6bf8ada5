package schedule_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"supervisord/internal/schedule"
)

// randomEvents is a story of n events, as play reads them.
func randomEvents(seed uint64, n int) []byte {
	random := rand.New(rand.NewPCG(seed, 1))
	data := make([]byte, 4*n)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}

// pick is the i-th of those that suit, counted round and round; zero where none does.
func pick[T any](all []T, i int, suits func(T) bool) (found T, ok bool) {
	fit := slices.DeleteFunc(slices.Clone(all), func(x T) bool { return !suits(x) })
	if len(fit) == 0 {
		return found, false
	}
	return fit[i%len(fit)], true
}

// event carries one event out, if it is one that may come now.
func (m *model) event(kind byte, a, b, c int) {
	isUp := func(w *modelWorker) bool { return w.up }
	p, slot := m.pools[a%len(m.pools)], b%modelSlots
	switch kind = kind % 40; {
	case kind < 16:
		m.taskEvent(kind, a, b, c)
	case kind < 21:
		m.workerUp(p, slot, 1+c%3, c/3)
	case kind < 23:
		if w, ok := pick(m.workers, a, isUp); ok {
			m.workerDown(w)
		}
	case kind < 24:
		if w, ok := pick(m.workers, a, func(w *modelWorker) bool { return !w.up }); ok {
			m.workerDown(w)
		}
	case kind < 28:
		m.slot(p, slot, []slotPhase{free, coming, gone, free}[c%4])
	case kind < 29:
		m.pass(time.Duration(a%16) * time.Second)
	case kind < 31:
		if w, ok := pick(m.workers, a, isUp); ok {
			m.recycle(w)
		}
	case kind < 32:
		m.replaceFailed(p, slot, c%2 == 0)
	case kind < 34:
		m.ends(p)
	case kind < 35:
		if w, ok := pick(m.workers, a, func(w *modelWorker) bool { return w.up || w.hold != unheld }); ok {
			m.reserve(w)
		}
	case kind < 36:
		if w, ok := pick(m.workers, a, func(w *modelWorker) bool { return w.hold == asked || w.hold == given || w.wanted }); ok {
			m.release(w, b)
		}
	case kind < 38:
		if w, ok := pick(m.workers, a, func(w *modelWorker) bool { return w.hold == loading }); ok {
			m.loaded(w, c%2 == 0, b)
		}
	case kind < 39:
		m.setPool(p, b, c)
	default:
		if c%2 == 0 {
			m.removePool(p)
		} else if p.gone {
			m.addPool(a%len(m.pools), modelPools[a%len(m.pools)])
		}
	}
}

func (m *model) taskEvent(kind byte, a, b, c int) {
	runs := func(t *modelTask) bool { return t.state == running }
	switch {
	case kind < 7:
		m.submit(a, b, c)
	case kind < 8:
		if t, ok := pick(m.tasks, a, func(*modelTask) bool { return true }); ok {
			m.cancel(t)
		}
	case kind < 14:
		if t, ok := pick(m.tasks, a, runs); ok {
			m.ended(t)
		}
	default:
		if t, ok := pick(m.tasks, a, runs); ok {
			m.again(t, kind == 14)
		}
	}
}

func (m *model) submit(a, b, c int) {
	m.seq++
	t := &modelTask{name: fmt.Sprint("t", m.seq), seq: m.seq, state: waiting, since: m.now}
	t.Task = &schedule.Task{
		Plugin: modelPlugins[a%len(modelPlugins)],
		Pool:   modelPoolNames[b%len(modelPoolNames)],
		NoWait: c%16 == 0,
		Bytes:  int64(c % 4),
		Owner:  t.name,
	}
	if c&16 != 0 {
		t.Deadline = m.now.Add(time.Duration(a%64-1) * time.Second)
	}
	if c&32 != 0 {
		t.StartBy = m.now.Add(time.Duration(b%32-1) * time.Second)
	}
	m.note("submit %s %s in %q no wait %v", t.name, t.Plugin, t.Pool, t.NoWait)
	want := m.expect(t)
	m.tasks = append(m.tasks, t)
	m.m.Submit(t.Task, m.now)
	effects := m.m.Effects()
	m.outcome(t, want, effects)
	m.carryOut(effects)
	m.check()
	if want == "wait" && t.state == waiting {
		if p := m.pool(t.PoolName()); p.Paused || (p.QueueSize > 0 && m.m.QueuedIn(p.Name) > p.QueueSize) {
			m.fail("task %s is admitted to pool %s, which is full or paused", t.name, p.Name)
		}
	}
}

// outcome compares what became of a submitted task with what should, before anything else is looked at.
func (m *model) outcome(t *modelTask, want string, effects []schedule.Effect) {
	got := "wait"
	for _, e := range effects {
		switch {
		case e.Task != t.Task:
		case e.Kind == schedule.Grant:
			got = "grant"
		default:
			got = reasonName(e.Reason)
		}
	}
	if got != want {
		m.fail("what becomes of task %s is %s, should be %s", t.name, got, want)
	}
}

func (m *model) cancel(t *modelTask) {
	m.note("cancel %s", t.name)
	if got := m.m.Cancel(t.Task); got != (t.state == waiting) {
		m.fail("cancel of task %s in state %d reports %v", t.name, t.state, got)
	}
	if t.state == waiting {
		m.end(t)
	}
	m.apply()
}

// leaves takes t from its worker.
func (m *model) leaves(t *modelTask) {
	if t.worker.running--; t.worker.running == 0 {
		t.worker.idle = m.now
	}
}

func (m *model) ended(t *modelTask) {
	m.note("ended %s", t.name)
	m.leaves(t)
	m.end(t)
	m.m.Ended(t.Task, m.now)
	m.apply()
}

func (m *model) again(t *modelTask, retry bool) {
	m.note("again %s retry %v", t.name, retry)
	w := t.worker
	m.leaves(t)
	m.dies(w)
	t.state, t.worker = waiting, nil
	if retry {
		t.started, t.since = true, m.now
		m.m.Retry(t.Task, m.now)
	} else {
		m.m.Requeue(t.Task, m.now)
	}
	for _, e := range m.m.Effects() {
		m.carryOut([]schedule.Effect{e})
		if e.Task == t.Task && e.Kind == schedule.Reject && e.Reason == schedule.Expired &&
			(t.Deadline.IsZero() || t.Deadline.After(m.now)) && (retry || t.started || !t.NoWait) {
			m.fail("task %s expires when it comes back", t.name)
		}
	}
	m.check()
}

// dies is what becomes of a worker that is down.
func (m *model) dies(w *modelWorker) {
	if w.up {
		s := &w.pool.slots[w.slot]
		s.phase, s.worker = ending, nil
	}
	w.up, w.owed, w.hold, w.wanted = false, false, unheld, false
}

func names(bits int) (found []string) {
	for i, name := range []string{"x", "y", "z"} {
		if bits>>i&1 != 0 {
			found = append(found, name)
		}
	}
	return found
}

// has notes what w has loaded.
func (m *model) has(w *modelWorker, loaded []string) {
	p := w.pool
	w.loaded = loaded
	w.refused = slices.DeleteFunc(w.refused, func(name string) bool { return slices.Contains(loaded, name) })
	if len(p.Plugins) > 0 || !p.open(w.slot) || !w.up {
		return
	}
	for _, name := range loaded {
		if !slices.Contains(p.offered, name) {
			p.offered = append(p.offered, name)
		}
	}
}

func (m *model) workerUp(p *modelPool, slot, capacity, loaded int) {
	s := &p.slots[slot]
	if p.gone || s.phase == free || (s.phase == up && !s.successor && capacity < 3) { // seldom one comes that nobody has asked for
		return
	}
	w := &modelWorker{pool: p, slot: slot, capacity: capacity, up: true, idle: m.now}
	m.note("up %s/%d takes %d of %v", p.Name, slot, capacity, names(loaded))
	old := s.worker
	if old != nil {
		old.up, old.owed = false, true
		p.leavers = append(p.leavers, slot)
	} else if s.successor && (s.phase == ending || s.phase == leaving) {
		p.leavers = append(p.leavers, slot)
	}
	*s = modelSlot{phase: up, worker: w}
	if p.rolling == slot {
		p.rolling = -1
	}
	m.workers = append(m.workers, w)
	m.has(w, names(loaded))
	if p.open(slot) {
		p.named, p.expected = true, capacity
	}
	w.Worker = m.m.WorkerUp(p.Name, slot, capacity, w.loaded, m.now)
	w.Owner = fmt.Sprintf("%s/%d.%d", p.Name, slot, len(m.workers))
	m.apply()
}

func (m *model) workerDown(w *modelWorker) {
	m.note("down %s", name(w))
	m.dies(w)
	m.m.WorkerDown(w.Worker)
	m.apply()
}

func (m *model) slot(p *modelPool, slot int, becomes slotPhase) {
	if p.gone || p.slots[slot].phase == up {
		return
	}
	m.note("slot %s/%d becomes %d", p.Name, slot, becomes)
	p.slots[slot] = modelSlot{phase: becomes}
	m.trim(p)
	back := becomes == coming || (becomes == free && p.open(slot) && p.live() < p.had && p.processes() < p.MaxWorkers)
	if p.rolling == slot && !back {
		p.rolling = -1
	}
	switch becomes {
	case free:
		m.m.SlotFree(p.Name, slot)
	case coming:
		m.m.SlotComing(p.Name, slot)
	case gone:
		m.m.SlotGone(p.Name, slot)
	case ending, up, leaving:
	}
	m.apply()
}

// trim forgets the empty slots beyond MaxWorkers.
func (m *model) trim(p *modelPool) {
	for i := modelSlots - 1; i >= p.MaxWorkers && !p.removed; i-- {
		if s := &p.slots[i]; s.successor || (s.phase != free && s.phase != gone) {
			return
		}
		p.slots[i] = modelSlot{}
	}
}

func (m *model) pass(d time.Duration) {
	m.now = m.now.Add(d)
	m.note("tick after %v", d)
	m.m.Tick(m.now)
	m.apply()
	if next := m.m.Next(); !next.IsZero() && !next.After(m.now) {
		m.fail("a tick leaves work for %v", next)
	}
}

func (m *model) recycle(w *modelWorker) {
	m.note("recycle %s", name(w))
	if p := w.pool; !slices.Contains(p.due, w) && (p.rolling != w.slot || !p.slots[w.slot].successor) {
		p.due = append(p.due, w)
	}
	m.m.Recycle(w.Worker)
	m.apply()
}

func (m *model) replaceFailed(p *modelPool, slot int, keep bool) {
	s := &p.slots[slot]
	if !s.successor {
		return
	}
	m.note("no successor in %s/%d, keep %v", p.Name, slot, keep)
	if keep {
		p.due = nil
		m.m.Keep(p.Name)
	}
	s.successor = false
	m.trim(p)
	if p.rolling == slot {
		p.rolling = -1
	}
	m.m.ReplaceFailed(p.Name, slot)
	m.apply()
}

// ends says that a process that had a successor has ended.
func (m *model) ends(p *modelPool) {
	if len(p.leavers) == 0 {
		return
	}
	slot := p.leavers[0]
	m.note("a retired worker of %s/%d has ended", p.Name, slot)
	p.leavers = p.leavers[1:]
	m.m.Retired(p.Name, slot)
	m.apply()
}

func (m *model) reserve(w *modelWorker) {
	m.note("reserve %s", name(w))
	want := w.up && !w.wanted && (w.hold == unheld || w.hold == loading)
	if got := m.m.Reserve(w.Worker); got != want {
		m.fail("reserve of worker %s in hold %d reports %v", name(w), w.hold, got)
	}
	switch {
	case !want:
	case w.hold == loading:
		w.wanted = true
	default:
		w.hold = asked
	}
	m.apply()
}

func (m *model) release(w *modelWorker, loaded int) {
	m.note("release %s with %v", name(w), names(loaded))
	m.m.Release(w.Worker, names(loaded), m.now)
	if w.wanted {
		w.wanted = false
	} else {
		w.hold, w.idle = unheld, m.now
		m.has(w, names(loaded))
	}
	m.apply()
}

func (m *model) loaded(w *modelWorker, ok bool, loaded int) {
	m.note("loaded %s %s %v with %v", name(w), w.plugin, ok, names(loaded))
	m.m.Loaded(w.Worker, w.plugin, ok, names(loaded), m.now)
	has := names(loaded)
	switch i := slices.Index(has, w.plugin); {
	case ok && i < 0:
		has = append(has, w.plugin)
	case !ok && i < 0:
		w.refused = append(w.refused, w.plugin)
	}
	w.hold, w.idle = unheld, m.now
	if w.wanted {
		w.wanted, w.hold = false, asked
	}
	m.has(w, has)
	m.apply()
}

func (m *model) addPool(i int, spec schedule.PoolSpec) {
	m.note("add %s", spec.Name)
	m.pools[i] = &modelPool{PoolSpec: spec, offered: slices.Clone(spec.Plugins), expected: max(1, spec.Concurrency), rolling: -1}
	if len(m.pools) == len(modelPools) && m.pools[len(m.pools)-1] != nil {
		m.m.AddPool(spec)
		m.apply()
		return
	}
	m.m.AddPool(spec)
	m.carryOut(m.m.Effects())
}

func (m *model) setPool(p *modelPool, b, c int) {
	if p.removed {
		return
	}
	old := p.PoolSpec
	p.MinWorkers, p.MaxWorkers = b%3, 1+b/3%modelSlots
	p.Paused, p.ReplaceBefore = c&3 == 3, c&4 != 0
	p.Plugins = old.Plugins
	if c&8 != 0 {
		p.Plugins = modelOffers[c>>4&3]
	}
	p.IdleTimeout = time.Duration(b>>4&1) * 20 * time.Second
	p.StallTimeout = time.Duration(b>>5&1) * 15 * time.Second
	p.QueueWait = time.Duration(b>>6&1) * 30 * time.Second
	p.Concurrency = 1 + c>>6&1
	m.note("set %s to %+v", p.Name, p.PoolSpec)
	if p.Concurrency != old.Concurrency {
		p.expected = p.Concurrency
	}
	if !slices.Equal(p.Plugins, old.Plugins) {
		p.offered = slices.Clone(p.Plugins)
		p.named = len(m.upIn(p)) > 0
		if len(p.Plugins) == 0 {
			for _, w := range m.upIn(p) {
				p.offered = append(p.offered, w.loaded...)
			}
		}
	}
	if old.Paused && !p.Paused {
		for _, w := range m.upIn(p) {
			w.idle = m.now
		}
	}
	m.trim(p)
	m.m.SetPool(p.PoolSpec, m.now)
	m.setting = true
	m.apply()
	m.setting = false
}

func (m *model) removePool(p *modelPool) {
	if p.removed {
		return
	}
	m.note("remove %s", p.Name)
	p.removed, p.rolling, p.due = true, -1, nil
	m.m.RemovePool(p.Name)
	m.apply()
}

// drain ends all that is left, and proves that nothing is counted any more.
func (m *model) drain() {
	for len(m.tasks) > 0 {
		if t := m.tasks[0]; t.state == running {
			m.ended(t)
		} else {
			m.cancel(t)
		}
	}
	if m.m.Queued() != 0 || m.m.Running() != 0 {
		m.fail("%d tasks wait and %d run when none is left", m.m.Queued(), m.m.Running())
	}
	// A task that takes all the bytes there are is admitted.
	spec := schedule.PoolSpec{Name: "last", Plugins: []string{"last"}, MinWorkers: 1, MaxWorkers: 1}
	m.m.AddPool(spec)
	m.m.Submit(&schedule.Task{Plugin: "last", Bytes: modelBytes}, m.now)
	if m.m.Queued() != 1 {
		m.fail("the bytes of tasks that are over still count")
	}
}

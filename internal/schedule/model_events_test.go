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
	runs := func(t *modelTask) bool { return t.state == running }
	switch kind % 16 {
	case 0, 1, 2, 3, 4:
		m.submit(a, b, c)
	case 5:
		if t, ok := pick(m.tasks, a, func(*modelTask) bool { return true }); ok {
			m.cancel(t)
		}
	case 6, 7, 8:
		if t, ok := pick(m.tasks, a, runs); ok {
			m.ended(t)
		}
	case 9:
		if t, ok := pick(m.tasks, a, runs); ok {
			m.requeue(t)
		}
	case 10, 11:
		p := m.pools[a%len(m.pools)]
		if slot := b % len(p.slots); p.slots[slot] != up && p.slots[slot] != free {
			m.workerUp(p, slot, 1+c%3, c/3)
		}
	case 12:
		if w, ok := pick(m.workers, a, func(w *modelWorker) bool { return w.up }); ok {
			m.workerDown(w)
		}
	case 13, 14:
		p := m.pools[a%len(m.pools)]
		if slot := b % len(p.slots); p.slots[slot] != up {
			m.slot(p, slot, []slotPhase{free, coming, gone}[c%3])
		}
	case 15:
		m.pass(time.Duration(a%16) * time.Second)
	}
}

func (m *model) submit(a, b, c int) {
	m.seq++
	t := &modelTask{name: fmt.Sprint("t", m.seq), seq: m.seq, state: waiting, submitted: m.now}
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
		if p := m.pool(t.PoolName()); p.QueueSize > 0 && m.m.QueuedIn(p.Name) > p.QueueSize {
			m.fail("task %s is admitted to pool %s, which is full", t.name, p.Name)
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

func (m *model) ended(t *modelTask) {
	m.note("ended %s", t.name)
	t.worker.running--
	m.end(t)
	m.m.Ended(t.Task, m.now)
	m.apply()
}

func (m *model) requeue(t *modelTask) {
	m.note("requeue %s", t.name)
	t.worker.running--
	if t.worker.up {
		t.worker.up = false
		t.worker.pool.slots[t.worker.slot] = ending
	}
	t.state, t.worker, t.expired = waiting, nil, false
	m.m.Requeue(t.Task, m.now)
	m.apply()
}

func (m *model) workerUp(p *modelPool, slot, capacity, loaded int) {
	w := &modelWorker{pool: p, slot: slot, capacity: capacity, up: true}
	for i, name := range []string{"x", "y", "z"} {
		if loaded>>i&1 != 0 {
			w.loaded = append(w.loaded, name)
		}
	}
	m.note("up %s/%d takes %d of %v", p.Name, slot, capacity, w.loaded)
	p.slots[slot], p.named, p.expected = up, true, capacity
	if len(p.Plugins) == 0 {
		for _, name := range w.loaded {
			if !slices.Contains(p.offered, name) {
				p.offered = append(p.offered, name)
			}
		}
	}
	m.workers = append(m.workers, w)
	w.Worker = m.m.WorkerUp(p.Name, slot, capacity, w.loaded, m.now)
	w.Owner = fmt.Sprintf("%s/%d", p.Name, slot)
	m.apply()
}

func (m *model) workerDown(w *modelWorker) {
	m.note("down %s/%d", w.pool.Name, w.slot)
	w.up = false
	w.pool.slots[w.slot] = ending
	m.m.WorkerDown(w.Worker)
	m.apply()
}

func (m *model) slot(p *modelPool, slot int, becomes slotPhase) {
	m.note("slot %s/%d becomes %d", p.Name, slot, becomes)
	p.slots[slot] = becomes
	switch becomes {
	case free:
		m.m.SlotFree(p.Name, slot)
	case coming:
		m.m.SlotComing(p.Name, slot)
	case gone:
		m.m.SlotGone(p.Name, slot)
	case ending, up:
	}
	m.apply()
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

// drain ends all that is left, and proves that nothing is counted any more.
func (m *model) drain() {
	for len(m.tasks) > 0 {
		if t := m.tasks[0]; t.state == running {
			m.ended(t)
		} else {
			m.cancel(t)
		}
	}
	if !m.m.Next().IsZero() {
		m.fail("a tick is due when no task is left")
	}
	// A task that takes all the bytes there are is admitted.
	spec := schedule.PoolSpec{Name: "last", Plugins: []string{"last"}, MinWorkers: 1, MaxWorkers: 1}
	m.m.AddPool(spec)
	m.m.Submit(&schedule.Task{Plugin: "last", Bytes: modelBytes}, m.now)
	if m.m.Queued() != 1 {
		m.fail("the bytes of tasks that are over still count")
	}
}

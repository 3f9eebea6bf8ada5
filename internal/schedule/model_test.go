package schedule_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"supervisord/internal/schedule"
)

// modelBytes is the bound on the bytes of the tasks that wait.
const modelBytes = 12

var (
	modelPools = []schedule.PoolSpec{
		{
			Name: "a", Plugins: []string{"x", "y"}, MinWorkers: 1, MaxWorkers: 2,
			QueueSize: 3, QueueWait: 50 * time.Second, RunTimeout: 70 * time.Second,
		},
		{Name: "b", Plugins: []string{"x"}, MaxWorkers: 2, Concurrency: 2, QueueSize: 4},
		{Name: "c", MinWorkers: 1, MaxWorkers: 1, QueueWait: 30 * time.Second},
		{Name: "d", MaxWorkers: 2, QueueSize: 2, RunTimeout: 20 * time.Second},
	}
	modelPoolNames = []string{"", "", "", "", "a", "b", "c", "d", "none"}
	modelPlugins   = []string{"x", "x", "y", "z", "none"}
)

type taskState uint8

const (
	waiting taskState = iota + 1
	running
	over
)

type slotPhase uint8

const (
	free slotPhase = iota
	coming
	ending // its worker takes no more, and nobody has said what becomes of it
	up
	gone
)

type modelTask struct {
	*schedule.Task
	name      string
	seq       int
	state     taskState
	submitted time.Time
	granted   time.Time
	expired   bool
	worker    *modelWorker
}

type modelWorker struct {
	*schedule.Worker
	pool     *modelPool
	slot     int
	capacity int
	loaded   []string
	running  int
	up       bool
}

type modelPool struct {
	schedule.PoolSpec
	slots    []slotPhase
	offered  []string
	named    bool
	expected int
}

// model is a second, simple and slow, account of what a Machine has been told and has asked for. It says what is wrong
// by panicking with a string, so that a fuzzer can shrink the events.
type model struct {
	m       *schedule.Machine
	now     time.Time
	pools   []*modelPool
	workers []*modelWorker
	tasks   []*modelTask // those that are not over
	seq     int
	log     strings.Builder
}

func newModel() *model {
	m := &model{m: schedule.New(modelBytes), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for _, spec := range modelPools {
		p := &modelPool{
			PoolSpec: spec, slots: make([]slotPhase, spec.MaxWorkers), offered: slices.Clone(spec.Plugins),
			expected: max(1, spec.Concurrency),
		}
		m.pools = append(m.pools, p)
		m.m.AddPool(spec)
		started := m.m.Effects()
		if len(started) != spec.MinWorkers {
			m.fail("pool %s starts %d workers", spec.Name, len(started))
		}
		for _, e := range started {
			m.started(e)
		}
	}
	return m
}

func (m *model) fail(format string, args ...any) {
	panic(fmt.Sprintf(format, args...) + "\nafter\n" + m.log.String())
}

func (m *model) note(format string, args ...any) { fmt.Fprintf(&m.log, format+"\n", args...) }

// candidates are the pools that a task may run in, as far as is known.
func (m *model) candidates(t *modelTask) []*modelPool {
	var offer, may []*modelPool
	for _, p := range m.pools {
		if t.Pool != "" && t.Pool != p.Name {
			continue
		}
		if slices.Contains(p.offered, t.Plugin) {
			offer = append(offer, p)
		}
		if len(p.Plugins) == 0 && !p.named {
			may = append(may, p)
		}
	}
	if len(offer) > 0 {
		return offer
	}
	return may
}

func (m *model) suits(w *modelWorker, t *modelTask) bool {
	return w.up && slices.Contains(w.loaded, t.Plugin) && slices.Contains(m.candidates(t), w.pool)
}

// served reports whether a worker of p may ever run t.
func (m *model) served(p *modelPool, t *modelTask) bool {
	if slices.ContainsFunc(p.slots, func(s slotPhase) bool { return s == free || s == coming || s == ending }) {
		return true
	}
	return slices.ContainsFunc(m.workers, func(w *modelWorker) bool { return w.pool == p && m.suits(w, t) })
}

func (m *model) waiting() []*modelTask {
	var found []*modelTask
	for _, t := range m.tasks {
		if t.state == waiting {
			found = append(found, t)
		}
	}
	return found
}

// due is when Tick has something to say about t; zero for never.
func (m *model) due(t *modelTask) time.Time {
	bounds := []time.Time{t.Deadline}
	switch {
	case t.state == running && t.expired:
		return time.Time{}
	case t.state == running:
		if run := t.worker.pool.RunTimeout; run > 0 {
			bounds = append(bounds, t.granted.Add(run))
		}
	default:
		bounds = append(bounds, t.StartBy)
		if wait := m.pool(t.PoolName()).QueueWait; wait > 0 {
			bounds = append(bounds, t.submitted.Add(wait))
		}
	}
	var due time.Time
	for _, b := range bounds {
		if due.IsZero() || (!b.IsZero() && b.Before(due)) {
			due = b
		}
	}
	return due
}

func (m *model) pool(name string) *modelPool {
	for _, p := range m.pools {
		if p.Name == name {
			return p
		}
	}
	m.fail("there is no pool %q", name)
	return nil
}

// expect is what Submit has to make of t: "grant", "wait" or the name of a reason.
func (m *model) expect(t *modelTask) string {
	pools := m.candidates(t)
	isPool := func(p *modelPool) bool { return p.Name == t.Pool }
	switch {
	case t.Pool != "" && !slices.ContainsFunc(m.pools, isPool):
		return "unknown_pool"
	case len(pools) == 0:
		return "unknown_plugin"
	case !t.Deadline.IsZero() && !t.Deadline.After(m.now):
		return "expired"
	}
	for _, w := range m.workers {
		if m.suits(w, t) && w.running < w.capacity {
			return "grant"
		}
	}
	serving := slices.DeleteFunc(slices.Clone(pools), func(p *modelPool) bool { return !m.served(p, t) })
	if len(serving) == 0 {
		for _, p := range pools {
			if slices.Contains(p.slots, up) {
				return "not_loaded"
			}
		}
		return "unavailable"
	}
	if t.NoWait || (!t.StartBy.IsZero() && !t.StartBy.After(m.now)) {
		return "expired"
	}
	bytes := t.Bytes
	for _, other := range m.waiting() {
		if other != t {
			bytes += other.Bytes
		}
	}
	if bytes > modelBytes {
		return "bytes_full"
	}
	for _, p := range serving {
		if p.QueueSize == 0 || m.m.QueuedIn(p.Name) < p.QueueSize {
			return "wait"
		}
	}
	return "queue_full"
}

// apply takes the effects of the last event, holds each against the model, and then the state that they lead to.
func (m *model) apply() {
	m.carryOut(m.m.Effects())
	m.check()
}

func (m *model) carryOut(effects []schedule.Effect) {
	for _, e := range effects {
		m.note("  %s", describe(e))
		switch e.Kind {
		case schedule.Grant:
			m.granted(e)
		case schedule.Reject:
			t := m.task(e.Task)
			if t.state != waiting || e.Reason == 0 || e.Worker != nil || e.Limit < 0 {
				m.fail("task %s is rejected in state %d with reason %d", t.name, t.state, e.Reason)
			}
			m.end(t)
		case schedule.Start:
			m.needed(m.pool(e.Pool))
			m.started(e)
		case schedule.Expire:
			t := m.task(e.Task)
			if due := m.due(t); t.state != running || e.Worker != t.worker.Worker || due.IsZero() || due.After(m.now) || e.Limit <= 0 {
				m.fail("task %s expires in state %d", t.name, t.state)
			}
			t.expired = true
		default:
			m.fail("effect of kind %d", e.Kind)
		}
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

func (m *model) end(t *modelTask) {
	t.state = over
	m.tasks = slices.DeleteFunc(m.tasks, func(other *modelTask) bool { return other == t })
}

func (m *model) granted(e schedule.Effect) {
	t := m.task(e.Task)
	i := slices.IndexFunc(m.workers, func(w *modelWorker) bool { return w.Worker == e.Worker })
	if i < 0 {
		m.fail("task %s is granted to nobody", t.name)
	}
	w := m.workers[i]
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
	w.running++
	t.state, t.worker, t.granted, t.expired = running, w, m.now, false
}

func (m *model) started(e schedule.Effect) {
	p := m.pool(e.Pool)
	if e.Slot < 0 || e.Slot >= len(p.slots) || p.slots[e.Slot] != free {
		m.fail("slot %s/%d is started and is not free", e.Pool, e.Slot)
	}
	p.slots[e.Slot] = coming
}

// hope is how many tasks the workers that come will take in the given pools, and whether one more could be started.
func hope(pools []*modelPool) (expected int, more bool) {
	for _, p := range pools {
		for _, s := range p.slots {
			switch s {
			case coming, ending:
				expected += p.expected
			case free:
				more = true
			case up, gone:
			}
		}
	}
	return expected, more
}

// needed says that a worker of p is about to be started: some task must need it.
func (m *model) needed(p *modelPool) {
	for _, t := range m.waiting() {
		pools := m.candidates(t)
		if !slices.Contains(pools, p) {
			continue
		}
		rivals := 0
		for _, other := range m.waiting() {
			if slices.ContainsFunc(m.candidates(other), func(p *modelPool) bool { return slices.Contains(pools, p) }) {
				rivals++
			}
		}
		if expected, _ := hope(pools); expected < rivals {
			return
		}
	}
	m.fail("nothing needs another worker of %s", p.Name)
}

// check holds the machine's state against the model's after an event.
func (m *model) check() {
	var next time.Time
	alike := map[string]int{}
	tasks := m.waiting()
	for _, t := range m.tasks {
		if due := m.due(t); !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
		if t.state == running {
			if t.Worker() != t.worker.Worker || t.PoolName() != t.worker.pool.Name {
				m.fail("task %s does not know its worker", t.name)
			}
			continue
		}
		alike[t.Plugin+" "+t.Pool]++
		pools := m.candidates(t)
		for _, w := range m.workers {
			if w.running < w.capacity && m.suits(w, t) {
				m.fail("task %s waits while worker %s/%d has room", t.name, w.pool.Name, w.slot)
			}
		}
		if !slices.ContainsFunc(pools, func(p *modelPool) bool { return m.served(p, t) }) {
			m.fail("task %s waits without hope", t.name)
		}
		if t.Worker() != nil || !slices.Contains(pools, m.pool(t.PoolName())) {
			m.fail("task %s counts in pool %q", t.name, t.PoolName())
		}
	}
	for _, t := range tasks {
		if expected, more := hope(m.candidates(t)); more && expected < alike[t.Plugin+" "+t.Pool] {
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
	for _, w := range m.workers {
		if w.Running() != w.running {
			m.fail("worker %s/%d runs %d tasks, should be %d", w.pool.Name, w.slot, w.Running(), w.running)
		}
	}
	if !m.m.Next().Equal(next) {
		m.fail("the next tick is at %v, should be at %v", m.m.Next(), next)
	}
}

// play reads events from data, carries them out, and returns the whole story.
func play(data []byte) string {
	m := newModel()
	for len(data) > 0 {
		var event [4]byte
		data = data[copy(event[:], data):]
		m.event(event[0], int(event[1]), int(event[2]), int(event[3]))
	}
	m.drain()
	return m.log.String()
}

func FuzzMachine(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomEvents(seed, 100))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		defer func() {
			if fault := recover(); fault != nil {
				t.Fatal(fault)
			}
		}()
		play(data)
	})
}

func TestMachineMatchesModel(t *testing.T) {
	runs := uint64(300)
	if testing.Short() {
		runs = 50
	}
	for seed := range runs {
		func() {
			defer func() {
				if fault := recover(); fault != nil {
					t.Fatalf("seed %d: %v", seed, fault)
				}
			}()
			play(randomEvents(seed, 400))
		}()
	}
}

// The same events have the same effects, so that a trace can be replayed.
func TestMachineIsDeterministic(t *testing.T) {
	for seed := range uint64(20) {
		events := randomEvents(seed, 400)
		first, again := play(events), play(events)
		if first != again {
			t.Fatalf("seed %d: the same events had other effects", seed)
		}
	}
}

package schedule

import "time"

// PoolSpec is what the scheduler needs to know of a pool.
type PoolSpec struct {
	Name string
	// Plugins are the names that the pool is configured to offer. With none, it offers what its workers name.
	Plugins []string
	// MinWorkers are started at once, up to MaxWorkers when tasks wait.
	MinWorkers, MaxWorkers int
	// Concurrency is how many tasks a worker is expected to take; 0 is one. Once a worker has come up, its own word counts.
	Concurrency int
	// QueueSize bounds the tasks that wait for this pool; 0 does not.
	QueueSize int
	// QueueWait bounds the time a task waits; 0 does not.
	QueueWait time.Duration
	// RunTimeout bounds the time a task runs; 0 does not.
	RunTimeout time.Duration
}

// Task is one job as the scheduler sees it. The caller sets the exported members before Submit and must not change them
// while the task is queued or running; a Task may be used again after it has ended.
type Task struct {
	Plugin string
	// Pool restricts the task to one pool; empty allows any that offers the plugin.
	Pool string
	// Deadline is when the task must have ended, waiting included; zero for never.
	Deadline time.Time
	// StartBy is when it must have started; zero for never.
	StartBy time.Time
	// NoWait rejects the task unless it can start now, on a worker that is up.
	NoWait bool
	// Bytes is what the task holds in memory while it waits.
	Bytes int64
	// Owner is the caller's.
	Owner any

	phase      phase
	seq        uint64
	route      *route
	home       *pool
	worker     *Worker
	prev, next *Task
	submitted  time.Time
	due        time.Time
	limit      time.Duration
	dueIndex   int
}

type phase uint8

const (
	phaseNone phase = iota
	phaseQueued
	phaseRunning
)

// Worker is one incarnation that takes tasks, from WorkerUp to WorkerDown.
type Worker struct {
	// Owner is the caller's.
	Owner any

	pool       *pool
	slot       int
	capacity   int
	running    int
	used       uint64 // Machine.used when it became idle last
	down       bool
	loaded     map[string]bool
	prev, next *Worker // in pool.idle
	listed     bool
}

// Running is the number of tasks granted to the worker and not ended.
func (w *Worker) Running() int { return w.running }

// Worker is the one that the task was granted to; nil while it waits.
func (t *Task) Worker() *Worker { return t.worker }

// PoolName is the pool of the worker that runs the task, else the pool in whose queue it counts.
func (t *Task) PoolName() string {
	switch {
	case t.worker != nil:
		return t.worker.pool.spec.Name
	case t.home != nil:
		return t.home.spec.Name
	}
	return t.Pool
}

// EffectKind says what an Effect asks for.
type EffectKind uint8

// The kinds of effects.
const (
	// Grant asks to send Task to Worker. A grant that cannot be delivered is answered by Ended or Requeue.
	Grant EffectKind = iota + 1
	// Reject says that Task will never run; Reason says why.
	Reject
	// Start asks to bring up a worker in Slot of Pool, to be answered by WorkerUp or SlotGone.
	Start
	// Expire says that Task, which runs, is past its deadline. It stays granted until Ended.
	Expire
)

// Reason is why a task was rejected.
type Reason uint8

// The reasons of Reject.
const (
	// UnknownPlugin: no pool offers it (or the named pool does not). A task that waited to see what a pool offers may
	// learn it late.
	UnknownPlugin Reason = iota + 1
	// UnknownPool: there is no pool of that name.
	UnknownPool
	// QueueFull: every pool that offers the plugin has its QueueSize of tasks waiting.
	QueueFull
	// BytesFull: the waiting tasks hold as many bytes as the machine may keep.
	BytesFull
	// Unavailable: no worker that could run it is up or will come by itself.
	Unavailable
	// NotLoaded: workers are up, and none of them could load the plugin.
	NotLoaded
	// Expired: its time to start is over.
	Expired
)

// Effect is one thing for the caller to do. Members without meaning for the kind are zero.
type Effect struct {
	Kind   EffectKind
	Task   *Task
	Worker *Worker
	Reason Reason
	Pool   string
	Slot   int
	// Limit is the bound that an Expired or Expire task ran into, counted from when it began to hold. Zero where the
	// task's time was over when it was submitted.
	Limit time.Duration
}

// keepEffects is how many effects the memory of one event may hold and still be used again.
const keepEffects = 1024

// Machine is the scheduler. It is not safe for concurrent use: its caller's lock guards it.
type Machine struct {
	maxBytes int64
	pools    map[string]*pool
	order    []*pool // as they were added, so that the same events have the same effects
	routes   map[routeKey]*route
	seq      uint64
	used     uint64 // counts the times that a worker became idle
	queued   int
	running  int
	bytes    int64
	due      dueHeap
	effects  []Effect
	taken    []Effect // what Effects returned last
}

// New makes a machine without pools. maxBytes bounds the Bytes of all tasks that wait; 0 does not.
func New(maxBytes int64) *Machine {
	return &Machine{maxBytes: maxBytes, pools: map[string]*pool{}, routes: map[routeKey]*route{}}
}

// Effects takes the effects since the last call, in order. The slice is valid until the next call, whatever events come
// before it.
func (m *Machine) Effects() []Effect {
	clear(m.taken) // or tasks that have long ended would live on
	if cap(m.taken) > keepEffects {
		m.taken = nil
	}
	m.taken, m.effects = m.effects, m.taken[:0]
	return m.taken
}

func (m *Machine) emit(e Effect) { m.effects = append(m.effects, e) }

// Queued is the number of tasks that wait.
func (m *Machine) Queued() int { return m.queued }

// Running is the number of tasks that are granted and have not ended.
func (m *Machine) Running() int { return m.running }

// AddPool adds a pool, whose name must be new, with all slots free, and asks for its MinWorkers.
func (m *Machine) AddPool(spec PoolSpec) {
	p := &pool{spec: spec, slots: make([]slotState, spec.MaxWorkers), offered: map[string]bool{}, expected: max(1, spec.Concurrency)}
	m.pools[spec.Name] = p
	m.order = append(m.order, p)
	for _, name := range spec.Plugins {
		m.offer(p, name)
	}
	for range min(spec.MinWorkers, spec.MaxWorkers) {
		m.start(p)
	}
	m.demandIn(p)
}

// Submit takes a new task. It is granted, rejected, or left waiting.
func (m *Machine) Submit(t *Task, now time.Time) {
	t.phase, t.worker, t.home, t.submitted = phaseNone, nil, nil, now
	m.seq++
	t.seq = m.seq
	r, reason := m.route(t)
	if r == nil {
		m.reject(t, reason, 0)
		return
	}
	t.route = r
	if past(t.Deadline, now) {
		m.reject(t, Expired, 0)
		return
	}
	if w := r.place(); w != nil {
		m.grant(t, w, now)
		return
	}
	if t.home, reason = m.admit(t, now); reason != 0 {
		m.reject(t, reason, 0)
		return
	}
	m.enqueue(t)
}

// Cancel removes a task that waits and reports true; false means that it runs or has ended.
func (m *Machine) Cancel(t *Task) bool {
	if t.phase != phaseQueued {
		return false
	}
	m.dequeue(t)
	return true
}

// Ended says that a granted task no longer occupies its worker. Ended of any other task does nothing.
func (m *Machine) Ended(t *Task, now time.Time) {
	if t.phase != phaseRunning {
		return
	}
	m.release(t)
	if w := t.worker; !w.down {
		m.settle(w)
		m.fill(w, now)
	}
}

// Requeue takes back a grant that reached no process: the task waits again, before all that came after it, whatever the
// bounds of the queue. Its worker counts as down from now on, as by WorkerDown, or it would be granted to it again.
func (m *Machine) Requeue(t *Task, now time.Time) {
	if t.phase != phaseRunning {
		return
	}
	m.WorkerDown(t.worker)
	m.release(t)
	home := t.worker.pool
	t.worker = nil
	if past(t.Deadline, now) {
		m.reject(t, Expired, t.Deadline.Sub(t.submitted))
		return
	}
	if w := t.route.place(); w != nil {
		m.grant(t, w, now)
		return
	}
	if reason := t.route.unserved(); reason != 0 {
		m.reject(t, reason, 0)
		return
	}
	if t.NoWait {
		m.reject(t, Expired, 0)
		return
	}
	if t.home = home; !home.mayServe(t.Plugin) {
		t.home = t.route.firstServing()
	}
	m.enqueue(t)
}

// release takes t from its worker.
func (m *Machine) release(t *Task) {
	t.phase = phaseNone
	m.due.remove(t)
	m.running--
	t.worker.running--
}

func (m *Machine) grant(t *Task, w *Worker, now time.Time) {
	t.phase, t.worker = phaseRunning, w
	m.running++
	w.running++
	m.settle(w)
	m.armRun(t, now)
	m.emit(Effect{Kind: Grant, Task: t, Worker: w})
}

func (m *Machine) reject(t *Task, reason Reason, limit time.Duration) {
	m.emit(Effect{Kind: Reject, Task: t, Reason: reason, Limit: limit})
}

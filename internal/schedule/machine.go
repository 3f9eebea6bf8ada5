package schedule

import (
	"slices"
	"time"
)

// PoolSpec is what the scheduler needs to know of a pool.
type PoolSpec struct {
	Name string
	// Plugins are the names that the pool is configured to offer. With none, it offers what its workers name.
	Plugins []string
	// MinWorkers are kept, as far as they do not fail; up to MaxWorkers are started when tasks wait. There are never more
	// than MaxWorkers processes, those that end included.
	MinWorkers, MaxWorkers int
	// Concurrency is how many tasks a worker is expected to take; 0 is one. Once a worker has come up, its own word counts.
	Concurrency int
	// QueueSize bounds the tasks that wait for this pool; 0 does not.
	QueueSize int
	// QueueWait bounds the time a task waits; 0 does not.
	QueueWait time.Duration
	// CollationWait is how long a task whose plugin no worker has loaded may be passed over in favour of younger ones that
	// the worker which is to load it can run at once.
	CollationWait time.Duration
	// RunTimeout bounds the time a task runs; 0 does not.
	RunTimeout time.Duration
	// StallTimeout bounds the time in which nothing is heard of a task that runs; 0 does not.
	StallTimeout time.Duration
	// IdleTimeout is how long a worker beyond MinWorkers is kept without a task; 0 is for ever.
	IdleTimeout time.Duration
	// ReplaceBefore brings a successor up before the worker that it replaces is retired, where MaxWorkers has room for
	// both.
	ReplaceBefore bool
	// Paused grants nothing and admits nothing; tasks that wait already go on waiting, and workers stay.
	Paused bool
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
	started    bool // it has run before: NoWait and StartBy have been met
	quiet      bool // Quiet was emitted and not answered
	seq        uint64
	route      *route
	home       *pool
	worker     *Worker
	prev, next *Task
	since      time.Time     // when it began to wait
	allowed    time.Duration // from Submit to Deadline
	due        time.Time     // the bound that holds now, but for a stall
	limit      time.Duration // of due
	timer      timer
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

	pool     *pool
	slot     int
	capacity int
	takes    int // how many tasks it may have: its capacity, or none
	running  int
	loaded   map[string]bool
	refused  map[string]bool // plugins that it could not load; nil for none
	down     bool            // takes no more tasks, ever
	due      bool            // to be recycled, or being so
	hold     hold
	wanted   bool   // Reserve came while it loads
	loading  string // the plugin, with holdLoad

	used       uint64    // Machine.used when it became idle last
	idleSince  time.Time // when that was
	prev, next *Worker   // in pool.idle
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
	timers   timers
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

// SetMaxBytes changes the bound that New was given. What waits already goes on waiting.
func (m *Machine) SetMaxBytes(n int64) { m.maxBytes = n }

// Queued is the number of tasks that wait.
func (m *Machine) Queued() int { return m.queued }

// Running is the number of tasks that are granted and have not ended.
func (m *Machine) Running() int { return m.running }

// Submit takes a new task. It is granted, rejected, or left waiting.
func (m *Machine) Submit(t *Task, now time.Time) {
	t.phase, t.started, t.worker, t.home, t.since = phaseNone, false, nil, nil, now
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
	if t.allowed = 0; !t.Deadline.IsZero() {
		t.allowed = t.Deadline.Sub(now)
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
	w := t.worker
	if w.down || w.hold != holdNone {
		m.drained(w)
		return
	}
	m.fill(w, now)
	m.settle(w, now)
}

// Requeue takes back a grant that reached no process: the task waits again, before all that came after it, whatever the
// bounds of the queue. Its worker counts as down from now on, as by WorkerDown, or it would be granted to it again.
func (m *Machine) Requeue(t *Task, now time.Time) {
	if t.phase == phaseRunning {
		m.again(t, now)
	}
}

// Retry is Requeue for a task that had started when its worker died: NoWait and StartBy have been met and apply no more,
// and its pool's QueueWait counts anew.
func (m *Machine) Retry(t *Task, now time.Time) {
	if t.phase == phaseRunning {
		t.started, t.since = true, now
		m.again(t, now)
	}
}

func (m *Machine) again(t *Task, now time.Time) {
	w := t.worker
	died := m.die(w)
	m.release(t)
	t.worker = nil
	m.comeBack(t, w.pool, now)
	if died { // now, or the task might find another worker busy to take its place
		m.reconsider(w.pool)
	}
}

// comeBack places a task that was in a pool.
func (m *Machine) comeBack(t *Task, home *pool, now time.Time) {
	r, reason := m.route(t) // that of its grant may not be any more
	if r == nil {
		if home.removed {
			reason = Removed
		}
		m.reject(t, reason, 0)
		return
	}
	t.route = r
	if past(t.Deadline, now) {
		m.reject(t, Expired, t.allowed)
		return
	}
	if w := r.place(); w != nil {
		m.grant(t, w, now)
		return
	}
	if reason := r.unserved(); reason != 0 {
		m.reject(t, reason, 0)
		return
	}
	if t.NoWait && !t.started {
		m.reject(t, Expired, 0)
		return
	}
	if t.home = home; !slices.Contains(r.pools, home) || !home.mayServe(t.Plugin) {
		t.home = r.firstServing()
	}
	m.enqueue(t)
}

// release takes t from its worker.
func (m *Machine) release(t *Task) {
	t.phase = phaseNone
	m.timers.remove(&t.timer)
	m.running--
	t.worker.running--
}

func (m *Machine) grant(t *Task, w *Worker, now time.Time) {
	t.phase, t.quiet, t.worker = phaseRunning, false, w
	m.running++
	w.running++
	m.settle(w, now)
	m.armRun(t, now)
	m.emit(Effect{Kind: Grant, Task: t, Worker: w})
}

func (m *Machine) reject(t *Task, reason Reason, limit time.Duration) {
	m.emit(Effect{Kind: Reject, Task: t, Reason: reason, Limit: limit})
}

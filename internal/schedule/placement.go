package schedule

import (
	"slices"
	"time"
)

type slotState uint8

const (
	slotFree   slotState = iota // no process; may be started
	slotComing                  // a process starts, or will by itself
	slotUp                      // a Worker takes tasks, or finishes its last ones
	slotGone                    // stays down until something outside brings it back
)

// pool is the scheduler's view of one pool.
type pool struct {
	spec    PoolSpec
	offered map[string]bool
	routes  []*route
	slots   []slotState
	coming  int // slots that are
	queued  int // tasks that count in its bound

	workers  []*Worker // up, in no order
	idle     *Worker   // those without a task, most recently used first
	expected int       // how many tasks a worker that comes will take
	named    bool      // some worker of the pool has been up
}

// undetermined reports whether nobody can say yet what the pool offers.
func (p *pool) undetermined() bool { return len(p.spec.Plugins) == 0 && !p.named }

// hopeful reports whether the pool has, or by itself will have, a worker.
func (p *pool) hopeful() bool {
	for _, s := range p.slots {
		if s != slotGone {
			return true
		}
	}
	return false
}

// mayServe reports whether some worker of the pool serves the plugin, or one may come that does.
func (p *pool) mayServe(plugin string) bool {
	for _, s := range p.slots {
		if s == slotFree || s == slotComing {
			return true
		}
	}
	for _, w := range p.workers {
		if w.serves(plugin) {
			return true
		}
	}
	return false
}

func (p *pool) leave(r *route) {
	p.routes = slices.DeleteFunc(p.routes, func(other *route) bool { return other == r })
}

func (r *route) leave(p *pool) {
	r.pools = slices.DeleteFunc(r.pools, func(other *pool) bool { return other == p })
}

// firstServing is the first pool that may serve the route; nil where none may.
func (r *route) firstServing() *pool {
	for _, p := range r.pools {
		if p.mayServe(r.key.plugin) {
			return p
		}
	}
	return nil
}

// unserved is why no worker, present or to come, serves the route's plugin; 0 where one may.
func (r *route) unserved() Reason {
	if r.firstServing() != nil {
		return 0
	}
	if slices.ContainsFunc(r.pools, (*pool).hopeful) {
		return NotLoaded
	}
	return Unavailable
}

// WorkerUp says that slot of a pool has a process that takes up to capacity tasks for the plugins it has loaded.
func (m *Machine) WorkerUp(poolName string, slot, capacity int, loaded []string, now time.Time) *Worker {
	p := m.pools[poolName]
	m.setSlot(p, slot, slotUp)
	p.expected = max(1, capacity)
	w := &Worker{pool: p, slot: slot, capacity: capacity, loaded: make(map[string]bool, len(loaded))}
	for _, name := range loaded {
		w.loaded[name] = true
		if len(p.spec.Plugins) == 0 {
			m.offer(p, name)
		}
	}
	m.name(p)
	p.workers = append(p.workers, w)
	m.settle(w)
	m.fill(w, now)
	m.reconsider(p)
	return w
}

// WorkerDown says that w takes no more tasks. Those it has stay granted until Ended.
func (m *Machine) WorkerDown(w *Worker) {
	if w.down {
		return
	}
	w.down = true
	m.setSlot(w.pool, w.slot, slotComing) // until its end says what becomes of the slot
	w.pool.unlist(w)
	for i, other := range w.pool.workers {
		if other == w {
			last := len(w.pool.workers) - 1
			w.pool.workers[i] = w.pool.workers[last]
			w.pool.workers[last] = nil
			w.pool.workers = w.pool.workers[:last]
			break
		}
	}
}

// SlotComing says that a process will come up in slot without being asked for.
func (m *Machine) SlotComing(poolName string, slot int) {
	m.setSlot(m.pools[poolName], slot, slotComing)
}

// SlotFree says that slot has no process and may be started when tasks wait.
func (m *Machine) SlotFree(poolName string, slot int) {
	p := m.pools[poolName]
	m.setSlot(p, slot, slotFree)
	m.demandIn(p)
}

// SlotGone says that slot has no process and stays so until WorkerUp, SlotComing or SlotFree says otherwise. Tasks that
// no other slot, of whichever pool, will run are rejected.
func (m *Machine) SlotGone(poolName string, slot int) {
	p := m.pools[poolName]
	m.setSlot(p, slot, slotGone)
	m.reconsider(p)
}

func (m *Machine) setSlot(p *pool, slot int, s slotState) {
	if p.slots[slot] == slotComing {
		p.coming--
	}
	if s == slotComing {
		p.coming++
	}
	p.slots[slot] = s
}

// start asks for one more worker of p, the lowest free slot first.
func (m *Machine) start(p *pool) bool {
	for i, s := range p.slots {
		if s == slotFree {
			m.setSlot(p, i, slotComing)
			m.emit(Effect{Kind: Start, Pool: p.spec.Name, Slot: i})
			return true
		}
	}
	return false
}

// demand asks for workers for a route in which tasks wait, until those that come will take as many as wait in its pools.
func (m *Machine) demand(r *route) {
	if r.head == nil {
		return
	}
	coming, waiting := 0, 0
	for _, p := range r.pools {
		coming += p.coming * p.expected
		waiting += p.queued
	}
	for _, p := range r.pools {
		for coming < waiting && m.start(p) {
			coming += p.expected
		}
	}
}

// demandIn asks for workers for all that waits in the routes of p.
func (m *Machine) demandIn(p *pool) {
	for _, r := range p.routes {
		m.demand(r)
	}
}

// reconsider is called when p has a worker less to hope for: what waits in its routes is rejected where no worker,
// present or to come, will serve it; elsewhere another may have to be started in the place of that one.
func (m *Machine) reconsider(p *pool) {
	for _, r := range slices.Clone(p.routes) { // a guess leaves with its last task
		if reason := r.unserved(); reason != 0 {
			m.rejectAll(r, reason)
		}
	}
	m.demandIn(p)
}

func (m *Machine) rejectAll(r *route, reason Reason) {
	for r.head != nil {
		t := r.head
		m.dequeue(t)
		m.reject(t, reason, 0)
	}
}

func (w *Worker) serves(plugin string) bool { return w.loaded[plugin] }

// place picks the worker for a task of the route: an idle one, the most recently used first since its memory is warm;
// else the least busy one that has room. nil when none has.
func (r *route) place() *Worker {
	var best *Worker
	for _, p := range r.pools {
		for w := p.idle; w != nil && (best == nil || w.used > best.used); w = w.next {
			if w.serves(r.key.plugin) {
				best = w
			}
		}
	}
	if best != nil {
		return best
	}
	for _, p := range r.pools {
		for _, w := range p.workers {
			if w.running < w.capacity && (best == nil || w.running < best.running) && w.serves(r.key.plugin) {
				best = w
			}
		}
	}
	return best
}

// settle puts w into the list of idle workers or takes it out, as its load says.
func (m *Machine) settle(w *Worker) {
	p := w.pool
	switch {
	case w.running > 0:
		p.unlist(w)
	case !w.listed:
		m.used++
		w.used = m.used
		w.listed, w.prev, w.next = true, nil, p.idle
		if p.idle != nil {
			p.idle.prev = w
		}
		p.idle = w
	}
}

func (p *pool) unlist(w *Worker) {
	if !w.listed {
		return
	}
	if w.prev == nil {
		p.idle = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.listed, w.prev, w.next = false, nil, nil
}

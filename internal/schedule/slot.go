package schedule

import (
	"slices"
	"time"
)

type slotState uint8

const (
	slotFree    slotState = iota // no process; may be started
	slotComing                   // a process starts, or will by itself
	slotUp                       // a Worker takes tasks
	slotLeaving                  // its Worker was retired, and its process has not ended
	slotGone                     // stays down until something outside brings it back
)

type slot struct {
	state     slotState
	worker    *Worker // the one that is up
	ending    bool    // nobody has said yet what becomes of the slot after its last worker
	successor bool    // a process that Replace asked for comes
}

// pool is the scheduler's view of one pool.
type pool struct {
	spec    PoolSpec
	removed bool
	offered map[string]bool
	routes  []*route
	slots   []slot      // more than MaxWorkers until those beyond are empty
	leaving int         // retired workers that have a successor and whose process has not ended
	older   map[int]int // those of each slot, which has room for one process more only when there are none
	counts
	queued int // tasks that count in its bound

	workers        []*Worker // up, in no order
	idle, idleLast *Worker   // those that could take a task and have none, most recently used first
	idleTimer      timer
	loading        int  // workers that are told to load a plugin and come back
	expected       int  // how many tasks a worker that comes will take
	named          bool // some worker of the pool has been up

	due     []*Worker // to be recycled, in this order; some may be down
	rolling int       // the slot in which a recycle is in progress; -1 for none
	had     int       // how many workers there were when it began
}

// counts are what follows from the slots; see tally.
type counts struct {
	coming    int // slots whose worker will take tasks
	live      int // slots that are coming or up
	taken     int // slots that are not free
	processes int // that there are or will be
	making    int // processes that end for good, and make room
}

// open reports whether the workers of a slot may take tasks.
func (p *pool) open(i int) bool { return i < p.spec.MaxWorkers && !p.removed }

// room reports whether the pool may have one process more.
func (p *pool) room() bool { return p.processes < p.spec.MaxWorkers }

// tally counts anew what depends on slots.
func (p *pool) tally() {
	p.counts = counts{processes: p.leaving, making: p.leaving}
	for i := range p.slots {
		s := &p.slots[i]
		coming, up, leaving := s.state == slotComing, s.state == slotUp, s.state == slotLeaving
		if s.successor {
			p.processes++
		}
		if coming || up || leaving {
			p.processes++
		}
		if leaving {
			p.making++
		}
		if !p.open(i) {
			continue
		}
		if coming {
			p.coming++
		}
		if coming || up {
			p.live++
		}
		if s.state != slotFree {
			p.taken++
		}
	}
}

// WorkerUp says that slot of a pool has a process that takes up to capacity tasks for the plugins it has loaded. A worker
// that was up in this slot counts as down from now on, and Retire follows for it.
func (m *Machine) WorkerUp(poolName string, slot, capacity int, loaded []string, now time.Time) *Worker {
	p := m.pools[poolName]
	w := &Worker{pool: p, slot: slot, capacity: capacity, loaded: map[string]bool{}}
	m.succeed(p, slot, w)
	if !p.open(slot) {
		for _, name := range loaded {
			w.loaded[name] = true
		}
		m.retire(w)
		m.renew(p)
		return w
	}
	p.expected = max(1, capacity)
	m.setLoaded(w, loaded)
	m.name(p)
	w.permit()
	m.fill(w, now)
	m.settle(w, now)
	m.renew(p)
	return w
}

// WorkerDown says that w takes no more tasks. Those it has stay granted until Ended. Where it is the current worker of its
// slot, something has to say then what becomes of that: SlotComing, SlotFree, SlotGone or WorkerUp.
func (m *Machine) WorkerDown(w *Worker) {
	if m.die(w) {
		m.reconsider(w.pool)
	}
}

// die takes a worker down that nobody has retired; false where it was down before.
func (m *Machine) die(w *Worker) bool {
	down := w.down
	if !down {
		m.down(w)
	}
	w.hold, w.wanted = holdNone, false // nobody is going to give it back
	if down {
		return false
	}
	s := &w.pool.slots[w.slot]
	s.state, s.worker, s.ending = slotComing, nil, true
	w.pool.tally()
	return true
}

// down takes w out of all that chooses workers, whatever becomes of its slot.
func (m *Machine) down(w *Worker) {
	p := w.pool
	if w.hold == holdLoad {
		p.loading--
	}
	w.down = true
	w.permit()
	p.unlist(w)
	i := slices.Index(p.workers, w)
	last := len(p.workers) - 1
	p.workers[i] = p.workers[last]
	p.workers[last] = nil
	p.workers = p.workers[:last]
}

// SlotComing says that slot has no process but one that comes up without being asked for.
func (m *Machine) SlotComing(poolName string, slot int) {
	m.setSlot(poolName, slot, slotComing)
}

// SlotFree says that slot has no process and may be started when tasks wait or workers are too few.
func (m *Machine) SlotFree(poolName string, slot int) {
	m.setSlot(poolName, slot, slotFree)
}

// SlotGone says that slot has no process and stays so until WorkerUp, SlotComing or SlotFree says otherwise. Tasks that
// no other slot, of whichever pool, will run are rejected.
func (m *Machine) SlotGone(poolName string, slot int) {
	m.setSlot(poolName, slot, slotGone)
}

// Retired says that the process of a retired worker has ended in whose slot another one has come up.
func (m *Machine) Retired(poolName string, slot int) {
	if p := m.pools[poolName]; p != nil && p.older[slot] > 0 {
		p.leaving--
		p.older[slot]--
		p.tally()
		m.renew(p)
	}
}

func (m *Machine) setSlot(poolName string, i int, state slotState) {
	p := m.pools[poolName]
	if p == nil || (i >= len(p.slots) && state != slotComing) {
		return // it is forgotten already
	}
	p.grow(i + 1)
	p.slots[i] = slot{state: state}
	p.tally()
	m.rolled(p, i, state)
	m.renew(p)
}

// grow makes sure that there are n slots, as where one comes back that was forgotten.
func (p *pool) grow(n int) {
	for len(p.slots) < n {
		p.slots = append(p.slots, slot{})
	}
}

// trim forgets the empty slots beyond MaxWorkers.
func (p *pool) trim() {
	for n := len(p.slots); n > p.spec.MaxWorkers; n-- {
		s := &p.slots[n-1]
		if (s.state != slotFree && s.state != slotGone) || s.successor {
			return
		}
		p.slots = p.slots[:n-1]
	}
}

// renew is called when slots or processes of p have changed, and does what may have become possible or necessary.
func (m *Machine) renew(p *pool) {
	if p.removed {
		m.forget(p)
		return
	}
	p.trim()
	m.keepMin(p)
	m.reconsider(p)
	m.recycleNext(p)
	m.armIdle(p)
}

package schedule

import (
	"slices"
	"time"
)

// admit decides whether a task that cannot start now may wait, and picks the pool in whose bound it counts.
func (m *Machine) admit(t *Task, now time.Time) (*pool, Reason) {
	home, reason := t.route.home()
	switch {
	case reason == Paused:
		if unserved := t.route.unserved(); unserved != 0 {
			return nil, unserved
		}
	case t.NoWait || past(t.StartBy, now):
		return nil, Expired
	case m.maxBytes > 0 && m.bytes+t.Bytes > m.maxBytes:
		return nil, BytesFull
	}
	return home, reason
}

// home is the first pool in whose bound a new task of the route may count; where there is none, QueueFull says that those
// are full that may serve it, Paused that at most paused ones may.
func (r *route) home() (*pool, Reason) {
	reason := Paused
	for _, p := range r.pools {
		switch {
		case p.spec.Paused || !p.mayServe(r.key.plugin):
		case p.spec.QueueSize > 0 && p.queued >= p.spec.QueueSize:
			reason = QueueFull
		default:
			return p, 0
		}
	}
	return nil, reason
}

// QueuedIn is the number of tasks that wait in a pool's bound.
func (m *Machine) QueuedIn(poolName string) int {
	if p := m.pools[poolName]; p != nil {
		return p.queued
	}
	return 0
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

// firstServing is the first pool that may serve the route; nil where none may.
func (r *route) firstServing() *pool {
	for _, p := range r.pools {
		if p.mayServe(r.key.plugin) {
			return p
		}
	}
	return nil
}

// mayServe reports whether some worker of the pool serves the plugin, or one may come that does or be told to load it.
func (p *pool) mayServe(plugin string) bool {
	for _, w := range p.workers {
		if p.open(w.slot) && w.mayServe(plugin) {
			return true
		}
	}
	// Where the workers that are up could not load it, another one could not either, unless it comes anyway.
	start := !p.loads() || len(p.workers) == 0
	for i, s := range p.slots {
		if p.open(i) && (s.state == slotComing || s.state == slotLeaving || s.successor || (s.state == slotFree && start)) {
			return true
		}
	}
	return false
}

// mayServe reports whether w, which is up, serves the plugin or may come to do so.
func (w *Worker) mayServe(plugin string) bool {
	if w.serves(plugin) || w.hold == holdAsked || w.hold == holdGiven { // its owner may load it
		return true
	}
	return w.pool.loads() && !w.refused[plugin]
}

// hopeful reports whether the pool has, or by itself will have, a worker.
func (p *pool) hopeful() bool {
	for i, s := range p.slots {
		if p.open(i) && (s.state != slotGone || s.successor) {
			return true
		}
	}
	return false
}

// reconsider is called when the workers that p may hope for have changed.
func (m *Machine) reconsider(p *pool) { m.attend(p.routes) }

// attend is called when the workers that some routes may hope for have changed: what waits in them is rejected where none
// is left; elsewhere one may have to load the plugin, or to be started.
func (m *Machine) attend(routes []*route) {
	routes = slices.Clone(routes) // a guess leaves its pools with its last task
	for _, r := range routes {
		if r.head == nil {
			continue
		}
		if reason := r.unserved(); reason != 0 {
			m.rejectAll(r, reason)
		}
	}
	for _, r := range routes {
		m.seek(r)
		m.demand(r)
	}
}

func (m *Machine) rejectAll(r *route, reason Reason) {
	for r.head != nil {
		t := r.head
		m.dequeue(t)
		m.reject(t, reason, 0)
	}
}

package schedule

import (
	"slices"
	"time"
)

// routeKey is what decides which workers suit a task.
type routeKey struct{ plugin, pool string }

// route is the queue of the tasks that the same workers suit, oldest first. A task that several pools could run waits
// in one route, so that whichever of them has a worker free takes it.
type route struct {
	key routeKey
	// pools offer the plugin; those of a guess may: nobody knows before a worker of theirs has been up.
	pools      []*pool
	guess      bool
	head, tail *Task
	waiting    int
}

// route finds the queue for t, or says why there is none. A guess is not in m.routes, and known to its pools, before a
// task waits in it.
func (m *Machine) route(t *Task) (*route, Reason) {
	key := routeKey{t.Plugin, t.Pool}
	if r := m.routes[key]; r != nil {
		return r, 0
	}
	if p := m.pools[t.Pool]; t.Pool != "" && (p == nil || p.removed) {
		return nil, UnknownPool
	}
	r := &route{key: key}
	r.pools, r.guess = m.suiting(key)
	if len(r.pools) == 0 {
		return nil, UnknownPlugin
	}
	if !r.guess { // only names that some pool offers are kept, so routes stay as few as the configuration has
		m.join(r)
	}
	return r, 0
}

// suiting are the pools that offer what the key names; else those that may, as a guess.
func (m *Machine) suiting(key routeKey) (pools []*pool, guess bool) {
	if pools = m.poolsOf(key, func(p *pool) bool { return p.offered[key.plugin] }); len(pools) > 0 {
		return pools, false
	}
	return m.poolsOf(key, (*pool).undetermined), true
}

func (m *Machine) poolsOf(key routeKey, suits func(*pool) bool) []*pool {
	var found []*pool
	for _, p := range m.order {
		if (key.pool == "" || key.pool == p.spec.Name) && suits(p) {
			found = append(found, p)
		}
	}
	return found
}

func (m *Machine) join(r *route) {
	m.routes[r.key] = r
	for _, p := range r.pools {
		p.routes = append(p.routes, r)
	}
}

// leave forgets a guess in which nothing waits any more.
func (m *Machine) leave(r *route) {
	delete(m.routes, r.key)
	for _, p := range r.pools {
		p.leave(r)
	}
}

func (p *pool) leave(r *route) {
	p.routes = slices.DeleteFunc(p.routes, func(other *route) bool { return other == r })
}

func (r *route) leave(p *pool) {
	r.pools = slices.DeleteFunc(r.pools, func(other *pool) bool { return other == p })
}

// offer notes that p offers a plugin from now on.
func (m *Machine) offer(p *pool, plugin string) {
	if p.offered[plugin] {
		return
	}
	p.offered[plugin] = true
	for _, key := range []routeKey{{plugin, ""}, {plugin, p.spec.Name}} {
		switch r := m.routes[key]; {
		case r == nil:
		case r.guess:
			for _, other := range r.pools {
				other.leave(r)
			}
			r.guess, r.pools = false, []*pool{p}
			p.routes = append(p.routes, r)
			m.rehome(r)
		default:
			r.pools = append(r.pools, p)
			p.routes = append(p.routes, r)
		}
	}
}

// name notes that all is known that p offers: guesses that hoped for more are wrong.
func (m *Machine) name(p *pool) {
	if p.named {
		return
	}
	p.named = true
	var wrong []*route
	for _, r := range p.routes {
		if r.guess {
			wrong = append(wrong, r)
		}
	}
	for _, r := range wrong {
		if len(r.pools) == 1 {
			m.rejectAll(r, UnknownPlugin)
			continue
		}
		p.leave(r)
		r.leave(p)
		m.rehome(r)
		m.attend([]*route{r})
	}
}

// rehome counts the tasks of a route in the bound of a pool that it still has.
func (m *Machine) rehome(r *route) {
	for t := r.head; t != nil; t = t.next {
		if slices.Contains(r.pools, t.home) {
			continue
		}
		t.home.queued--
		t.home = r.pools[0]
		t.home.queued++
		m.rearmWait(t)
	}
}

func (m *Machine) rearmWait(t *Task) {
	m.timers.remove(&t.timer)
	m.armWait(t)
}

func (m *Machine) enqueue(t *Task) {
	r := t.route
	if r.guess && r.head == nil {
		m.join(r)
	}
	t.phase = phaseQueued
	m.queued++
	m.bytes += t.Bytes
	t.home.queued++
	r.waiting++
	// A new task is the youngest. One that comes back keeps its place, which is near the head: it was the oldest once.
	before := r.head
	if r.tail == nil || r.tail.seq < t.seq {
		before = nil
	}
	for before != nil && before.seq < t.seq {
		before = before.next
	}
	r.insert(t, before)
	m.armWait(t)
	m.seek(r)
	m.demand(r)
}

func (m *Machine) dequeue(t *Task) {
	r := t.route
	r.remove(t)
	t.phase = phaseNone
	m.queued--
	m.bytes -= t.Bytes
	t.home.queued--
	r.waiting--
	m.timers.remove(&t.timer)
	if r.guess && r.head == nil {
		m.leave(r)
	}
}

// insert links t in front of another task of the route, or last.
func (r *route) insert(t, before *Task) {
	t.prev, t.next = r.tail, before
	if before != nil {
		t.prev = before.prev
		before.prev = t
	} else {
		r.tail = t
	}
	if t.prev != nil {
		t.prev.next = t
	} else {
		r.head = t
	}
}

func (r *route) remove(t *Task) {
	if t.prev == nil {
		r.head = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		r.tail = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
}

// oldest is the task that has waited longest of all that w could run now; or, where w has no task, of all that it could
// run once it has loaded their plugin, which comes first where there is nothing else, or that has been passed over for
// long enough.
func (m *Machine) oldest(w *Worker, now time.Time) (t *Task, load bool) {
	var ready, other *Task
	for _, r := range w.pool.routes {
		switch t := r.head; {
		case t == nil:
		case w.serves(r.key.plugin):
			if ready == nil || t.seq < ready.seq {
				ready = t
			}
		case w.running == 0 && (other == nil || t.seq < other.seq) && w.mayLoad(r):
			other = t
		}
	}
	if other == nil {
		return ready, false
	}
	if ready == nil || (other.seq < ready.seq && past(other.since.Add(w.pool.spec.CollationWait), now)) {
		return other, true
	}
	return ready, false
}

// fill gives w what waits for it. A bound that is over counts, even when its Tick is late: the work would be in vain.
func (m *Machine) fill(w *Worker, now time.Time) {
	for m.queued > 0 && w.running < w.takes {
		t, load := m.oldest(w, now)
		switch {
		case t == nil:
			return
		case past(t.due, now):
			m.dequeue(t)
			m.reject(t, Expired, t.limit)
		case load:
			m.load(w, t.Plugin)
		default:
			m.dequeue(t)
			m.grant(t, w, now)
		}
	}
}

package schedule

import "time"

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
}

// route finds the queue for t, or says why there is none. A guess is not in m.routes, and known to its pools, before a
// task waits in it.
func (m *Machine) route(t *Task) (*route, Reason) {
	key := routeKey{t.Plugin, t.Pool}
	if r := m.routes[key]; r != nil {
		return r, 0
	}
	if t.Pool != "" && m.pools[t.Pool] == nil {
		return nil, UnknownPool
	}
	r := &route{key: key}
	r.pools = m.poolsOf(key, func(p *pool) bool { return p.offered[key.plugin] })
	if len(r.pools) > 0 {
		// Only names that some pool offers are kept for good, so routes stay as few as the configuration has.
		m.join(r)
		return r, 0
	}
	r.guess, r.pools = true, m.poolsOf(key, (*pool).undetermined)
	if len(r.pools) == 0 {
		return nil, UnknownPlugin
	}
	return r, 0
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
		if reason := r.unserved(); reason != 0 {
			m.rejectAll(r, reason)
		} else {
			m.demand(r)
		}
	}
}

// rehome counts the tasks of a route in the bound of a pool that it still has.
func (m *Machine) rehome(r *route) {
	for t := r.head; t != nil; t = t.next {
		t.home.queued--
		t.home = r.pools[0]
		t.home.queued++
		m.due.remove(t)
		m.armWait(t)
	}
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
	m.demand(r)
}

func (m *Machine) dequeue(t *Task) {
	r := t.route
	r.remove(t)
	t.phase = phaseNone
	m.queued--
	m.bytes -= t.Bytes
	t.home.queued--
	m.due.remove(t)
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

// oldest is the task that has waited longest of all that w could run now.
func (w *Worker) oldest() *Task {
	var best *Task
	for _, r := range w.pool.routes {
		if t := r.head; t != nil && (best == nil || t.seq < best.seq) && w.serves(r.key.plugin) {
			best = t
		}
	}
	return best
}

// fill gives w what waits for it. A bound that is over counts, even when its Tick is late: the work would be in vain.
func (m *Machine) fill(w *Worker, now time.Time) {
	for !w.down && w.running < w.capacity {
		t := w.oldest()
		if t == nil {
			return
		}
		m.dequeue(t)
		if past(t.due, now) {
			m.reject(t, Expired, t.limit)
			continue
		}
		m.grant(t, w, now)
	}
}

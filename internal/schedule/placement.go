package schedule

import "time"

func (w *Worker) serves(plugin string) bool { return w.loaded[plugin] }

// permit sets how many tasks w may have; it is called when that may have changed.
func (w *Worker) permit() {
	w.takes = w.capacity
	if w.down || w.hold != holdNone || w.pool.spec.Paused {
		w.takes = 0
	}
}

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
			if w.running < w.takes && (best == nil || w.running < best.running) && w.serves(r.key.plugin) {
				best = w
			}
		}
	}
	return best
}

// placeWaiting grants what waits in the routes of p and can run now, the oldest first: for when its workers have become
// able to take it all at once, and not one by one, as fill has it.
func (m *Machine) placeWaiting(p *pool, now time.Time) {
	for {
		var best *Task
		var at *Worker
		for _, r := range p.routes {
			if t := r.head; t != nil && (best == nil || t.seq < best.seq) {
				if w := r.place(); w != nil {
					best, at = t, w
				}
			}
		}
		if best == nil {
			return
		}
		m.dequeue(best)
		if past(best.due, now) {
			m.reject(best, Expired, best.limit)
			continue
		}
		m.grant(best, at, now)
	}
}

// settle puts w into the list of idle workers or takes it out, as its load and what it may take say.
func (m *Machine) settle(w *Worker, now time.Time) {
	p := w.pool
	switch {
	case w.running > 0 || w.takes == 0:
		p.unlist(w)
	case !w.listed:
		m.used++
		w.used, w.idleSince = m.used, now
		w.listed, w.prev, w.next = true, nil, p.idle
		if p.idle != nil {
			p.idle.prev = w
		} else {
			p.idleLast = w
		}
		p.idle = w
		if p.spec.IdleTimeout > 0 {
			m.armIdle(p)
		}
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
	if w.next == nil {
		p.idleLast = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.listed, w.prev, w.next = false, nil, nil
}

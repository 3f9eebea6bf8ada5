package schedule

import "time"

// least is how many workers the pool has to have at least.
func (p *pool) least() int { return min(p.spec.MinWorkers, p.spec.MaxWorkers) }

// keepMin starts workers until as many slots as the pool has to have workers are not free. A slot that is gone is not: a
// worker that fails is not replaced by another one, which would fail alike.
func (m *Machine) keepMin(p *pool) {
	for p.taken < p.least() && m.start(p) {
	}
}

// start asks for one more worker of p, the lowest free slot first.
func (m *Machine) start(p *pool) bool {
	if p.taken >= p.spec.MaxWorkers { // usual, and asked for every task that has to wait
		return false
	}
	for i := range p.slots {
		if m.startSlot(p, i) {
			return true
		}
	}
	return false
}

func (m *Machine) startSlot(p *pool, i int) bool {
	if p.slots[i].state != slotFree || !p.open(i) || !p.room() {
		return false
	}
	p.slots[i].state = slotComing
	p.tally()
	m.emit(Effect{Kind: Start, Pool: p.spec.Name, Slot: i})
	m.armIdle(p)
	return true
}

// demand asks for workers for a route in which tasks wait, until those that come will take as many as wait in its pools.
func (m *Machine) demand(r *route) {
	if r.head == nil {
		return
	}
	coming, waiting := 0, 0
	for _, p := range r.pools {
		if p.spec.Paused {
			continue
		}
		coming += (p.coming + p.loading) * p.expected
		waiting += p.queued
	}
	waiting = max(waiting, r.waiting) // which may count in a pool that is paused
	for _, p := range r.pools {
		for !p.spec.Paused && coming < waiting && m.start(p) {
			coming += p.expected
		}
	}
}

// armIdle arms the timer that retires workers of p that are idle for too long. Where it is armed already it stays, though
// the worker that it was armed for has had tasks since: so a job costs no more than the time that its worker notes.
func (m *Machine) armIdle(p *pool) {
	if w := p.idleLast; w != nil && !p.idleTimer.armed() && p.reduces() {
		m.timers.push(&p.idleTimer, w.idleSince.Add(p.spec.IdleTimeout))
	}
}

// reduces reports whether an idle worker may be retired. While a recycle is in progress none is, or its successor would
// come for nobody.
func (p *pool) reduces() bool {
	return p.spec.IdleTimeout > 0 && p.live > p.least() && p.rolling < 0
}

// scaleDown retires the workers of p that have been idle for too long, the least recently used first.
func (m *Machine) scaleDown(p *pool, now time.Time) {
	for w := p.idleLast; w != nil && p.reduces() && past(w.idleSince.Add(p.spec.IdleTimeout), now); w = p.idleLast {
		m.retire(w)
	}
	m.renew(p)
}

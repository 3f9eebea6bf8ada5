package schedule

import (
	"slices"
	"time"
)

// undetermined reports whether nobody can say yet what the pool offers.
func (p *pool) undetermined() bool { return !p.loads() && !p.named }

// AddPool adds a pool, whose name must be new, with all slots free, and asks for its MinWorkers. A name that was removed
// is new after its PoolGone.
func (m *Machine) AddPool(spec PoolSpec) {
	p := &pool{spec: spec, expected: max(1, spec.Concurrency), rolling: -1, older: map[int]int{}}
	p.idleTimer.pool = p
	p.grow(spec.MaxWorkers)
	p.offerConfigured()
	m.pools[spec.Name] = p
	routes := m.allRoutes()
	m.order = append(m.order, p)
	p.tally()
	m.keepMin(p)
	m.reroute(routes, 0)
	m.attend(routes)
}

// SetPool changes what a pool that exists is like. Bounds of tasks that wait hold at once; those of tasks that run stay.
// Workers in slots beyond MaxWorkers are retired, now or when they come up. Tasks for a plugin that no pool offers any
// more are rejected with UnknownPlugin.
func (m *Machine) SetPool(spec PoolSpec, now time.Time) {
	p := m.pools[spec.Name]
	routes := m.allRoutes()
	old := p.spec
	p.spec = spec
	if spec.Concurrency != old.Concurrency {
		p.expected = max(1, spec.Concurrency)
	}
	p.grow(spec.MaxWorkers)
	p.tally()
	if !slices.Equal(spec.Plugins, old.Plugins) {
		p.named = len(p.workers) > 0
		p.offerConfigured()
		m.reroute(routes, UnknownPlugin)
	}
	m.retireClosed(p)
	for _, w := range p.workers {
		w.permit()
		m.settle(w, now)
	}
	for _, r := range p.routes {
		for t := r.head; t != nil; t = t.next {
			if t.home == p {
				m.rearmWait(t)
			}
		}
	}
	m.timers.remove(&p.idleTimer)
	m.placeWaiting(p, now)
	m.attend(routes)
	m.renew(p)
}

// RemovePool takes a pool away. Tasks that wait for it and that no other pool may run are rejected; its workers are
// retired, now or when they come up; PoolGone follows when the last process has ended.
func (m *Machine) RemovePool(poolName string) {
	p := m.pools[poolName]
	if p == nil || p.removed {
		return
	}
	routes := m.allRoutes()
	p.removed, p.rolling = true, -1
	p.keep()
	p.tally()
	m.order = slices.DeleteFunc(m.order, func(other *pool) bool { return other == p })
	m.timers.remove(&p.idleTimer)
	m.reroute(routes, Removed)
	m.retireClosed(p)
	m.attend(routes)
	m.forget(p)
}

// forget ends a removed pool that has no process any more.
func (m *Machine) forget(p *pool) {
	if p.processes == 0 {
		delete(m.pools, p.spec.Name)
		m.emit(Effect{Kind: PoolGone, Pool: p.spec.Name})
	}
}

// retireClosed retires the workers whose slots are not open any more; those that are reserved are at their release.
func (m *Machine) retireClosed(p *pool) {
	for _, w := range slices.Clone(p.workers) {
		if !p.open(w.slot) && w.hold == holdNone {
			m.retire(w)
		}
	}
}

// offerConfigured notes what p offers: what it is configured to, else what its workers have loaded.
func (p *pool) offerConfigured() {
	p.offered = map[string]bool{}
	for _, name := range p.spec.Plugins {
		p.offered[name] = true
	}
	if p.loads() {
		return
	}
	for _, w := range p.workers {
		for name := range w.loaded {
			p.offered[name] = true
		}
	}
}

// allRoutes are the routes there are, in an order that follows from the events alone.
func (m *Machine) allRoutes() []*route {
	var all []*route
	seen := map[*route]bool{}
	for _, p := range m.order {
		for _, r := range p.routes {
			if !seen[r] {
				seen[r] = true
				all = append(all, r)
			}
		}
	}
	return all
}

// reroute finds the pools of routes anew after the pools or what they offer have changed. Tasks that no pool may run any
// more are rejected for the given reason.
func (m *Machine) reroute(routes []*route, reason Reason) {
	for _, r := range routes {
		pools, guess := m.suiting(r.key)
		if guess == r.guess && slices.Equal(pools, r.pools) {
			continue
		}
		m.leave(r)
		r.pools, r.guess = pools, guess
		switch {
		case len(pools) == 0:
			m.rejectAll(r, reason)
		case !guess || r.head != nil:
			m.join(r)
			m.rehome(r)
		}
	}
}

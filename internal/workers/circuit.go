package workers

import "time"

// A pool whose workers have spent their restarts has one of them as a prober: it is started at RestartBackoffMax again and
// again. The others wait without an alarm until it is ready.

// spendLocked says that the restarts of a slot are spent, and reports whether it is the one that probes.
func (p *Pool) spendLocked(s *slot) bool {
	s.spent = true
	if p.prober == nil {
		p.prober = s
	}
	return p.prober == s
}

// pardonLocked says that the restarts of a slot are not spent any more, although it was not ready. Another has to probe
// where this one did.
func (p *Pool) pardonLocked(s *slot) {
	s.spent = false
	if p.prober != s {
		return
	}
	p.prober = nil
	if !p.options().Policy.restartsCrashed() {
		return
	}
	for _, other := range p.slots {
		if other.spent && !p.surplusLocked(other) {
			p.prober = other
			other.worker.mail.put(letter{kind: mailProbe})
			return
		}
	}
}

// healLocked says that a process of the slot is ready. If that was the probe, the others that are spent start at once;
// one more failure spends each of them again.
func (p *Pool) healLocked(s *slot) {
	s.spent, s.why = false, ""
	if p.prober != s {
		return
	}
	p.prober = nil
	for _, other := range p.slots {
		if other.spent {
			other.worker.mail.put(letter{kind: mailRevive})
		}
	}
}

// forgetLocked forgets all failures: what waits because of them starts at once.
func (p *Pool) forgetLocked() {
	p.prober = nil
	for _, s := range p.slots[:p.size] {
		s.restarts.healthy()
		s.spent = false
		if s.worker.running {
			s.worker.mail.put(letter{kind: mailRevive})
		}
	}
}

// openLocked reports whether the pool has nothing to serve with but a probe.
func (p *Pool) openLocked() bool {
	if p.prober == nil {
		return false
	}
	for _, s := range p.slots {
		if st := s.worker.view.state; st == Ready || st == Draining {
			return false
		}
	}
	return true
}

// Reset forgets all failures: workers that are down because of them, or wait before their next start, are started again.
// Sink.WorkerEnded with FateComing tells of those that were gone.
func (p *Pool) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopping {
		p.forgetLocked()
	}
}

// revive starts a worker that is down because of failures, or waits because of them.
func (w *Worker) revive() {
	switch {
	case w.leaving || w.pool.surplus(w.slot):
	case w.state == Failed:
		w.pool.sink.WorkerEnded(w.pool, w.slot.index, FateComing)
		w.alarms.clearAll()
		w.start()
	case w.state == Backoff:
		w.alarms.clearAll()
		w.start()
	}
}

// probe makes this the worker that probes, in the place of one that does so no more.
func (w *Worker) probe() {
	if w.state == Failed && !w.leaving {
		w.restartIn(w.options().RestartBackoffMax)
	}
}

// forget forgets the failures of one slot.
func (p *Pool) forget(w *Worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.role != serving {
		return
	}
	w.slot.restarts.healthy()
	w.slot.next = time.Time{}
	p.pardonLocked(w.slot)
}

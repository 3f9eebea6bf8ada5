package dispatch

import (
	"time"

	"supervisord/internal/outq"
	"supervisord/internal/workers"
)

var _ workers.Sink = (*Dispatcher)(nil)

// WorkerUp implements workers.Sink.
func (d *Dispatcher) WorkerUp(inc *workers.Incarnation) {
	ready := inc.Ready()
	d.event(func(now time.Time) {
		name := inc.Pool().Name()
		p := d.byName[name]
		if p == nil || p.Pool != inc.Pool() {
			return // of a pool that has gone
		}
		p.hear(ready)
		s := p.slots[inc.Slot()]
		if s.serves {
			s.older++
		}
		s.serves = true
		p.slots[inc.Slot()] = s
		w := d.sched.WorkerUp(name, inc.Slot(), inc.Capacity(), ready.LoadedPlugins, now)
		at := &place{Incarnation: inc, pool: p, worker: w, gone: make(chan struct{}), turn: make(chan struct{}, 1), failed: &failedSuccessor{done: make(chan struct{})}, asOf: now}
		w.Owner = at
		d.up[inc] = at
		p.latest[inc.Slot()] = at
		if p.behind(inc) {
			d.sched.Recycle(w)
		}
		d.settleLocked(name, inc.Slot())
	})
}

// WorkerDown implements workers.Sink.
func (d *Dispatcher) WorkerDown(inc *workers.Incarnation) {
	d.event(func(time.Time) {
		at := d.up[inc]
		if at == nil {
			return // of a pool that has gone
		}
		d.sched.WorkerDown(at.worker)
		delete(d.up, inc)
		close(at.gone)
	})
}

// WorkerEnded implements workers.Sink.
func (d *Dispatcher) WorkerEnded(p *workers.Pool, slot int, fate workers.Fate) {
	d.event(func(time.Time) {
		known := d.byName[p.Name()]
		if known == nil || known.Pool != p {
			return
		}
		s := known.slots[slot]
		s.serves = false
		known.slots[slot] = s
		if fate != workers.FateComing {
			d.settleLocked(p.Name(), slot)
		}
		switch fate {
		case workers.FateComing:
			d.sched.SlotComing(p.Name(), slot)
		case workers.FateFree:
			d.sched.SlotFree(p.Name(), slot)
		case workers.FateGone:
			d.sched.SlotGone(p.Name(), slot)
		}
	})
}

// WorkerRetired implements workers.Sink.
func (d *Dispatcher) WorkerRetired(p *workers.Pool, slot int) {
	d.event(func(time.Time) {
		known := d.byName[p.Name()]
		if known == nil || known.Pool != p {
			return
		}
		s := known.slots[slot]
		if s.older > 0 {
			s.older--
			d.sched.Retired(p.Name(), slot)
			// What was to replace its successor, which a slot with two processes cannot have, has been refused meanwhile.
			if at := known.latest[slot]; d.up[at.Incarnation] == at && (at.due || known.behind(at.Incarnation)) {
				d.sched.Recycle(at.worker)
			}
		} else { // its successor is not ready yet
			s.serves = false
			d.sched.SlotComing(p.Name(), slot)
		}
		known.slots[slot] = s
	})
}

// WorkerDue implements workers.Sink.
func (d *Dispatcher) WorkerDue(inc *workers.Incarnation, _ string) {
	d.event(func(time.Time) {
		if at := d.up[inc]; at != nil {
			d.recycleLocked(at)
		}
	})
}

// ReplaceFailed implements workers.Sink.
func (d *Dispatcher) ReplaceFailed(p *workers.Pool, slot int, exit *workers.Exit) {
	d.event(func(time.Time) {
		known := d.byName[p.Name()]
		if known == nil || known.Pool != p {
			return
		}
		if exit.Pilot { // the others stay, too
			d.sched.Keep(p.Name())
		}
		d.sched.ReplaceFailed(p.Name(), slot)
		for _, at := range d.up {
			if at.pool.Pool == p && at.Slot() == slot {
				at.due = false
				at.failed.exit = exit
				close(at.failed.done)
				at.failed = &failedSuccessor{done: make(chan struct{})}
				if known.behind(at.Incarnation) || len(known.rolls) > 0 && !exit.Pilot { // a roll came while that was on its way
					d.sched.Recycle(at.worker)
				}
			}
		}
	})
}

// event tells the scheduler of something and carries out what follows.
func (d *Dispatcher) event(tell func(now time.Time)) {
	var set outq.Set
	now := time.Now()
	d.mu.Lock()
	tell(now)
	d.carryOutLocked(now, &set)
	d.mu.Unlock()
	set.Flush()
}

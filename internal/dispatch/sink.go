package dispatch

import (
	"time"

	"supervisord/internal/outq"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

var _ workers.Sink = (*Dispatcher)(nil)

// WorkerUp implements workers.Sink.
func (d *Dispatcher) WorkerUp(inc *workers.Incarnation) {
	ready := inc.Ready()
	d.event(func(now time.Time) {
		name := inc.Pool().Name()
		p := d.byName[name]
		for _, plugin := range ready.LoadedPlugins {
			p.told[plugin] = protocol.PluginInfo{Name: plugin}
		}
		for _, info := range ready.Plugins {
			// What a pool without configured plugins has not loaded, nobody can call.
			if _, loaded := p.told[info.Name]; loaded || len(p.spec.Plugins) > 0 {
				p.told[info.Name] = info
			}
		}
		w := d.sched.WorkerUp(name, inc.Slot(), inc.Capacity(), ready.LoadedPlugins, now)
		at := &place{Incarnation: inc, pool: p, worker: w}
		w.Owner = at
		d.up[inc] = at
		d.settleLocked(name, inc.Slot())
	})
}

// WorkerDown implements workers.Sink.
func (d *Dispatcher) WorkerDown(inc *workers.Incarnation) {
	d.event(func(time.Time) {
		d.sched.WorkerDown(d.up[inc].worker)
		delete(d.up, inc)
	})
}

// WorkerEnded implements workers.Sink.
func (d *Dispatcher) WorkerEnded(p *workers.Pool, slot int, fate workers.Fate) {
	d.event(func(time.Time) {
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

package dispatch

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"supervisord/internal/outq"
	"supervisord/internal/schedule"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

// PoolOptions are what a pool is made of.
type PoolOptions struct {
	Spec schedule.PoolSpec
	// Workers is how its processes are started; a nil Sink is the dispatcher.
	Workers workers.Options
	// MaxAttempts is how often a job may run: with 2 and more again where its worker died before the first chunk.
	MaxAttempts int
	// Source is the caller's own: what the options were made from.
	Source any
}

// pool is what the dispatcher knows of one pool. Guarded by its lock.
type pool struct {
	*workers.Pool
	opts PoolOptions
	// told is what its workers have said of their plugins.
	told map[string]protocol.PluginInfo
	// meanRun is a running mean of how long its jobs take, for retry_after_ms.
	meanRun time.Duration
	// rolls are the new generations that are on their way: one, or more for a moment.
	rolls []*roll
	// leaving says that the pool was removed: it goes when its last process has. next is then added in its place.
	leaving bool
	next    *PoolOptions
	// commands holds a token while its workers are told something one after the other.
	commands chan struct{}
	// slots is what is known of the processes of each slot.
	slots map[int]slotProcesses
	// latest are the workers that came up last, by slot; they may have ended.
	latest map[int]*place
	// refused is why a plugin could not be loaded, by name.
	refused map[string]refusal
}

// slotProcesses says how many processes of a slot have been ready and not ended: the one that serves, or served last, and
// those that it has succeeded.
type slotProcesses struct {
	serves bool
	older  int
}

// refusal is why a plugin could not be loaded.
type refusal struct {
	text string
	by   *workers.Incarnation
}

// roll is a new generation of a pool's processes before its first one is ready.
type roll struct {
	opts       PoolOptions
	generation uint64
	// asked says that a process was asked for since, which is its first one.
	asked bool
	done  chan struct{}
	err   error // once done is closed
}

// ran notes how long a job took; the last few count most.
func (p *pool) ran(took time.Duration) {
	if p.meanRun == 0 {
		p.meanRun = took
	}
	p.meanRun += (took - p.meanRun) / 8
}

// Add adds a pool and starts what it wants to have at least. One of the same name that was removed goes first. The error
// says what is wrong with the options.
func (d *Dispatcher) Add(o PoolOptions) error {
	if o.Workers.Sink == nil {
		o.Workers.Sink = d
	}
	p, err := workers.New(o.Workers)
	if err != nil {
		return err //nolint:wrapcheck // names the pool
	}
	var set outq.Set
	d.mu.Lock()
	switch old := d.byName[o.Spec.Name]; {
	case d.closed:
	case old != nil:
		old.next = &o
	default:
		d.addLocked(p, o)
		d.carryOutLocked(time.Now(), &set)
	}
	d.mu.Unlock()
	set.Flush()
	return nil
}

func (d *Dispatcher) addLocked(p *workers.Pool, o PoolOptions) {
	entry := &pool{
		Pool: p, opts: o, told: map[string]protocol.PluginInfo{}, refused: map[string]refusal{}, slots: map[int]slotProcesses{}, latest: map[int]*place{}, commands: make(chan struct{}, 1),
	}
	d.pools = append(d.pools, entry)
	d.byName[o.Spec.Name] = entry
	for slot := range min(o.Spec.MinWorkers, o.Spec.MaxWorkers) {
		d.unsettled[slotKey{o.Spec.Name, slot}] = struct{}{}
	}
	d.sched.AddPool(o.Spec)
}

// Tune changes what applies to a pool in place: bounds, timeouts, policies, the number of workers.
func (d *Dispatcher) Tune(o PoolOptions) {
	name := o.Spec.Name
	d.change(name, func(p *pool, now time.Time) {
		o.Spec.Paused = p.opts.Spec.Paused // until somebody resumes it
		was := &p.opts.Workers
		mended := was.Policy != o.Workers.Policy || was.MaxRestartAttempts != o.Workers.MaxRestartAttempts
		if len(p.rolls) > 0 { // what was on its way is not wanted any more
			p.Abandon("a newer configuration came")
		}
		p.tune(o)
		if mended { // under the new rules the workers that are down may not have to be
			p.Reset()
		}
		d.sched.SetPool(o.Spec, now)
	})
}

// tune takes other options over. They have been checked, and a pool that stops needs none.
func (p *pool) tune(o PoolOptions) {
	p.opts = o
	_ = p.Tune(o.Workers)
}

// change does something to a pool that is there and stays, and carries out what follows. It reports whether there is one.
func (d *Dispatcher) change(name string, do func(p *pool, now time.Time)) bool {
	var set outq.Set
	now := time.Now()
	d.mu.Lock()
	p := d.byName[name]
	ok := p != nil && !p.leaving && !d.closed
	if ok {
		do(p, now)
		d.carryOutLocked(now, &set)
	}
	d.mu.Unlock()
	set.Flush()
	return ok
}

// Remove lets a pool's running jobs end and takes it away. Jobs that wait and that no other pool can run are ended. One
// that was to be added in the place of a removed one is not.
func (d *Dispatcher) Remove(name string) {
	d.mu.Lock()
	if p := d.byName[name]; p != nil {
		p.next = nil
	}
	d.mu.Unlock()
	d.change(name, func(p *pool, _ time.Time) {
		p.leaving = true
		d.sched.RemovePool(name)
	})
}

// goneLocked takes away a pool that was removed and has no process any more.
func (d *Dispatcher) goneLocked(name string) {
	p := d.byName[name]
	delete(d.byName, name)
	d.pools = slices.DeleteFunc(d.pools, func(other *pool) bool { return other == p })
	d.closing.Go(func() { p.Stop(d.cut) })
	for _, r := range p.rolls {
		r.end(errNoPool)
	}
	if p.next == nil || d.closed {
		return
	}
	if fresh, err := workers.New(p.next.Workers); err == nil { // it was possible a moment ago
		d.addLocked(fresh, *p.next)
	}
}

// Roll replaces a pool's processes by others, one at a time, and each before the old one goes where there is room. It waits
// until the first new one is ready; the rest follows by itself. Where that one does not become ready, all stays as it was,
// and the error says why. The end of ctx is not waited for by the roll, which goes on.
func (d *Dispatcher) Roll(ctx context.Context, o PoolOptions) error {
	r := &roll{opts: o, done: make(chan struct{})}
	if !d.change(o.Spec.Name, func(p *pool, _ time.Time) {
		if n := len(p.rolls); n > 0 && o.Source != nil && reflect.DeepEqual(p.rolls[n-1].opts.Source, o.Source) {
			r = p.rolls[n-1] // it is on its way: to begin anew would keep a slow start from ever being over
			return
		}
		var err error
		if r.generation, err = p.Roll(o.Workers); err != nil {
			r.end(err)
			return
		}
		p.rolls = append(p.rolls, r)
		for _, at := range d.placesLocked(p) {
			d.sched.Recycle(at.worker)
		}
	}) {
		return fmt.Errorf("pool %q: %w", o.Spec.Name, errNoPool)
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("pool %q: waiting for the first new worker: %w", o.Spec.Name, context.Cause(ctx))
	}
}

var errNoPool = errors.New("there is no such pool")

func (r *roll) end(err error) {
	r.err = err
	close(r.done)
}

// Rolled implements workers.Sink.
func (d *Dispatcher) Rolled(wp *workers.Pool, generation uint64, err error) {
	d.event(func(now time.Time) {
		p := d.byName[wp.Name()]
		if p == nil || p.Pool != wp {
			return
		}
		i := slices.IndexFunc(p.rolls, func(r *roll) bool { return r.generation == generation })
		if i < 0 {
			return
		}
		r := p.rolls[i]
		p.rolls = slices.Delete(p.rolls, i, i+1)
		if err == nil {
			r.opts.Spec.Paused = p.opts.Spec.Paused
			p.opts = r.opts
			clear(p.refused)
			d.retellLocked(p)
			d.sched.SetPool(r.opts.Spec, now)
			d.recycleOldLocked(p)
		} else if len(p.rolls) == 0 {
			d.keepLocked(p)
		}
		r.end(err)
	})
}

// recycleOldLocked replaces what came up of the old generation after the roll had begun.
func (d *Dispatcher) recycleOldLocked(p *pool) {
	for _, at := range d.placesLocked(p) {
		if !at.Current() {
			d.sched.Recycle(at.worker)
		}
	}
}

// start asks for a process in a slot that has none; false is that there will be none.
func (p *pool) start(slot int) bool {
	p.asked()
	return p.Start(slot)
}

// replace asks for a second process in a slot; false is that there will be none.
func (p *pool) replace(slot int) bool {
	if !p.Replace(slot) {
		return false
	}
	p.asked()
	return true
}

func (p *pool) asked() {
	if n := len(p.rolls); n > 0 {
		p.rolls[n-1].asked = true
	}
}

// behind reports whether a worker that has come up is to be replaced for a roll: it is of an old generation, or was on its
// way when the roll came, whose first process nobody has asked for since there was nothing to be replaced.
func (p *pool) behind(inc *workers.Incarnation) bool {
	n := len(p.rolls)
	return !inc.Current() || n > 0 && !p.rolls[n-1].asked
}

// retellLocked forgets what workers of the old generation have said of their plugins.
func (d *Dispatcher) retellLocked(p *pool) {
	clear(p.told)
	for _, at := range d.placesLocked(p) {
		if at.Current() {
			p.hear(at.Ready())
		}
	}
}

// hear notes what a worker says of its plugins.
func (p *pool) hear(ready *protocol.Ready) {
	for _, plugin := range ready.LoadedPlugins {
		delete(p.refused, plugin)
		p.told[plugin] = protocol.PluginInfo{Name: plugin}
	}
	for _, info := range ready.Plugins {
		// What a pool without configured plugins has not loaded, nobody can call.
		if _, loaded := p.told[info.Name]; loaded || len(p.opts.Spec.Plugins) > 0 {
			p.told[info.Name] = info
		}
	}
}

// Change changes what a pool is made of in place, as Tune does, until it is tuned or rolled: scaling, a pause. do is called
// with the dispatcher's lock, and false from it changes nothing. False is that there is no such pool.
func (d *Dispatcher) Change(name string, do func(o *PoolOptions) bool) bool {
	return d.change(name, func(p *pool, now time.Time) {
		if o := p.opts; do(&o) {
			p.tune(o)
			d.sched.SetPool(o.Spec, now)
		}
	})
}

// Restart replaces all workers of a pool, one after the other, and tries again to start those that were given up. It waits
// until none of them takes jobs any more, or ctx ends, which leaves the rest to come.
func (d *Dispatcher) Restart(ctx context.Context, name string) *protocol.Error {
	var places []*place
	var failures []*failedSuccessor
	if !d.change(name, func(p *pool, _ time.Time) {
		places = d.placesLocked(p)
		p.Reset()
		for _, at := range places {
			failures = append(failures, at.failed)
			d.recycleLocked(at)
		}
	}) {
		return d.UnknownPool(name)
	}
	for i, at := range places {
		select {
		case <-at.gone:
		case <-failures[i].done:
			return at.stays(failures[i])
		case <-ctx.Done():
			return leftError()
		}
	}
	return nil
}

// recycleLocked has a worker replaced for a reason of its own.
func (d *Dispatcher) recycleLocked(at *place) {
	at.due = true
	d.sched.Recycle(at.worker)
}

// keepLocked ends a roll that has failed: only those workers are replaced that are to be for another reason.
func (d *Dispatcher) keepLocked(p *pool) {
	d.sched.Keep(p.Name())
	for _, at := range d.placesLocked(p) {
		if at.due {
			d.sched.Recycle(at.worker)
		}
	}
}

// Pool is the state of one pool, and what it is made of now; false where there is none.
func (d *Dispatcher) Pool(name string) (protocol.Pool, PoolOptions, bool) {
	d.mu.Lock()
	p := d.byName[name]
	if p == nil || p.leaving {
		d.mu.Unlock()
		return protocol.Pool{}, PoolOptions{}, false
	}
	o, queued := p.opts, d.sched.QueuedIn(name)
	d.mu.Unlock()
	return status(p, o, queued), o, true
}

// UnknownPool is the error for a pool that is not there.
func (d *Dispatcher) UnknownPool(name string) *protocol.Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unknownPoolLocked(name)
}

// SetLimits changes Options.
func (d *Dispatcher) SetLimits(o Options) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sched.SetMaxBytes(o.MaxQueuedBytes)
	d.outputBuffer.Store(int64(o.OutputBuffer))
}

func status(p *pool, o PoolOptions, queued int) protocol.Pool {
	s := p.Status()
	s.Queued = queued
	if o.Spec.Paused {
		s.State, s.Reason = protocol.PoolPaused, "paused by an operator"
	}
	return s
}

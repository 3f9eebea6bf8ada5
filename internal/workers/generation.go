package workers

import (
	"fmt"
	"time"

	"go.uber.org/zap"
)

// generation is the options of a pool from one Roll to the next. It does not change.
type generation struct {
	number uint64 // from 1; the same after Tune
	opts   *Options
}

// roll is a generation that is not the pool's yet.
type roll struct {
	gen   *generation
	pilot *Worker // has the first process of it; nil: none was started
}

// RollError is why a generation was given up.
type RollError struct {
	Pool       string
	Generation uint64
	// Reason is one line.
	Reason string
	// Exit is how its first process ended, nil where that is not the reason.
	Exit *Exit
}

// Error names the pool and the reason.
func (e *RollError) Error() string {
	return fmt.Sprintf("pool %s: the old workers stay: %s", e.Pool, e.Reason)
}

func (p *Pool) options() *Options { return p.current.Load().opts }

// Tune replaces the options at once. What a process was started with stays as it is until its end; the next start has
// the new. With fewer workers than before the last slots are emptied: their processes are retired, and those that wait
// for a start do not get it (FateFree). The error is ErrStopped or says what is wrong with the options, and nothing has
// changed.
func (p *Pool) Tune(o Options) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping {
		return fmt.Errorf("pool %q: %w", p.name, ErrStopped)
	}
	was := p.current.Load()
	if err := o.keep(was.opts); err != nil {
		return fmt.Errorf("pool %q: %w", p.name, err)
	}
	p.current.Store(&generation{number: was.number, opts: &o})
	p.resizeLocked()
	return nil
}

// Roll brings a new generation of options. The next process that is started by Start or Replace is its pilot: when that
// is ready, the generation is the pool's, and so are all its options; when it fails to get ready, all stays as it was, and
// where the slot would be empty a process of the old options is started in it. Neither is a failure of the worker. Where
// nothing runs, or nothing but a probe, there is nothing to lose: the generation is the pool's at once. When a generation
// becomes the pool's, all failures are forgotten as by Reset. A generation that is still open when the next one comes is
// given up. Sink.Rolled tells of each. The error is ErrStopped or says what is wrong with the options, and nothing has
// changed.
func (p *Pool) Roll(o Options) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := o.keep(p.options()); err != nil {
		return 0, fmt.Errorf("pool %q: %w", p.name, err)
	}
	if p.stopping {
		return 0, fmt.Errorf("pool %q: %w", p.name, ErrStopped)
	}
	p.generations++
	gen := &generation{number: p.generations, opts: &o}
	p.supersedeLocked("a newer configuration came")
	p.roll = &roll{gen: gen}
	if p.idleLocked() || p.openLocked() {
		p.commitLocked()
		p.announceLocked(gen.number, nil)
	}
	return gen.number, nil
}

// Abandon gives up the generation that is open.
func (p *Pool) Abandon(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.supersedeLocked(reason)
}

// supersedeLocked gives up the roll that is open. Its pilot ends: it is nobody's.
func (p *Pool) supersedeLocked(reason string) {
	r := p.roll
	if r == nil {
		return
	}
	p.roll = nil
	p.announceLocked(r.gen.number, &RollError{Pool: p.name, Generation: r.gen.number, Reason: reason})
	if r.pilot != nil {
		r.pilot.mail.put(letter{kind: mailSuperseded, generation: r.gen.number})
	}
}

// announceLocked tells Sink what became of a generation: not here, where the caller may have a lock that Sink takes.
func (p *Pool) announceLocked(number uint64, err *RollError) {
	p.owners.Go(func() {
		if err == nil {
			p.sink.Rolled(p, number, nil)
			return
		}
		p.sink.Rolled(p, number, err)
	})
}

// idleLocked reports whether no worker has a process.
func (p *Pool) idleLocked() bool {
	for _, w := range p.runningLocked() {
		if w.live {
			return false
		}
	}
	return true
}

// commitLocked makes the generation of the roll the pool's.
func (p *Pool) commitLocked() {
	p.log.Info("new generation", zap.Uint64("generation", p.roll.gen.number))
	p.current.Store(p.roll.gen)
	p.roll = nil
	p.resizeLocked()
	p.forgetLocked()
}

// commitIdleLocked does so where the old generation has nothing left that runs, and reports it.
func (p *Pool) commitIdleLocked() bool {
	if p.roll == nil || p.roll.pilot != nil || !p.idleLocked() {
		return false
	}
	number := p.roll.gen.number
	p.commitLocked()
	p.announceLocked(number, nil)
	return true
}

// abandonLocked gives the roll up whose pilot has ended, nil for none. One that was ended for another reason leaves the
// roll to the next process.
func (p *Pool) abandonLocked(w *Worker, exit *Exit) *RollError {
	r := p.roll
	switch {
	case r == nil || r.pilot != w:
		return nil
	case p.surplusLocked(w.slot) || w.retiring:
		r.pilot = nil
		return nil
	}
	p.roll = nil
	return &RollError{
		Pool: p.name, Generation: r.gen.number, Reason: fmt.Sprintf("worker %s: %s", w.slot.id, exit.Message), Exit: exit,
	}
}

// launch is what the next process of a worker is started from. Where the start was asked for it may be the pilot.
func (p *Pool) launch(w *Worker, asked bool) (number uint64, gen *generation, pilot bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := w.slot
	s.number++
	s.next = time.Time{}
	w.live = true
	if r := p.roll; asked && r != nil && r.pilot == nil {
		r.pilot = w
		return s.number, r.gen, true
	}
	return s.number, p.current.Load(), false
}

// arrival is what follows from a process's getting ready.
type arrival struct {
	// obsolete: its generation was given up meanwhile.
	obsolete bool
	// committed is the generation that is the pool's with it, else 0.
	committed uint64
}

// arrived is told by a worker's owner that its process is ready.
func (p *Pool) arrived(w *Worker, pilot bool) arrival {
	p.mu.Lock()
	defer p.mu.Unlock()
	var a arrival
	if pilot {
		if p.roll == nil || p.roll.pilot != w {
			return arrival{obsolete: true}
		}
		a.committed = p.roll.gen.number
		p.commitLocked()
	}
	if w.role == coming {
		w.slot.succeedLocked()
	}
	p.healLocked(w.slot)
	p.settleLocked()
	return a
}

package workers

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// role is what a worker is to its slot.
type role uint8

const (
	serving role = iota // what it does is what the slot does
	coming              // it is to replace the one that serves, and has not been ready yet
	leaving             // it was replaced, and goes on until it is retired
)

// slot is one place of a pool, and what outlives the processes in it. It is guarded by Pool.mu.
type slot struct {
	index    int
	id       string // pool/index
	number   uint64 // of the last incarnation
	restarts restarts
	last     *Exit     // of the process that served last
	why      string    // there is no process: what has led to that
	next     time.Time // of the start that is due
	spent    bool      // the restarts are; the next start is a probe

	worker *Worker // serves
	other  *Worker // comes or leaves; nil for most of the time
	// untold is what has become of others, and is told by the owner of the worker that serves, so that what Sink hears
	// of a slot is in order.
	untold []notice
}

// notice is the end of a process that was not the last of its slot.
type notice struct {
	failed *Exit // of a successor; nil: the older of two has ended
}

func (p *Pool) newSlotLocked(index int) *slot {
	s := &slot{index: index, id: p.name + "/" + strconv.Itoa(index), restarts: restarts{random: rand.Float64}}
	s.worker = p.newWorker(s, serving)
	return s
}

// tellLocked leaves a notice to the owner of the slot's worker.
func (s *slot) tellLocked(n notice) {
	s.untold = append(s.untold, n)
	s.worker.mail.put(letter{kind: mailNotice})
}

// resizeLocked makes slots for the workers that the options want. A slot too many stays until its processes have ended:
// their owners are told.
func (p *Pool) resizeLocked() {
	p.size = p.options().MaxWorkers
	for len(p.slots) < p.size {
		p.slots = append(p.slots, p.newSlotLocked(len(p.slots)))
	}
	for _, w := range p.runningLocked() {
		w.mail.put(letter{kind: mailTuned})
	}
	p.settleLocked()
}

// surplus reports whether the slot is one too many.
func (p *Pool) surplus(s *slot) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.surplusLocked(s)
}

func (p *Pool) surplusLocked(s *slot) bool { return s.index >= p.size }

// runningLocked are the workers that have an owner.
func (p *Pool) runningLocked() []*Worker {
	var list []*Worker
	for _, s := range p.slots {
		for _, w := range []*Worker{s.worker, s.other} {
			if w != nil && w.running {
				list = append(list, w)
			}
		}
	}
	return list
}

// runLocked gives a worker its owner.
func (p *Pool) runLocked(w *Worker) {
	if !w.running {
		w.running = true
		p.owners.Go(w.run)
	}
}

// Replace starts a second process in slot, while the one that is there serves on. When it is ready, Sink.WorkerUp tells,
// and the caller retires the old one; when it fails, Sink.ReplaceFailed tells. Should the old one end before, the new one
// is the slot's worker as if it had been started by itself. False says that nothing was done: the slot has no process
// that has been ready, or has two already, or the pool stops.
func (p *Pool) Replace(slot int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping || slot >= p.size {
		return false
	}
	s := p.slots[slot]
	if st := s.worker.view.state; s.other != nil || !s.worker.live || st != Ready && st != Draining {
		return false
	}
	s.other = p.newWorker(s, coming)
	p.runLocked(s.other)
	s.other.mail.put(letter{kind: mailStart})
	return true
}

// Retire lets the process take no more jobs, and stops it when it has ended those it has. That is no failure, whatever
// happens, and the slot then stays empty until Pool.Start (FateFree), unless it has another process.
func (p *Pool) Retire(inc *Incarnation) { inc.worker.mail.put(letter{kind: mailRetire, inc: inc}) }

// Kill ends the process at once, with the jobs that it has. That is no failure, and the slot then stays empty as after
// Retire.
func (p *Pool) Kill(inc *Incarnation) { inc.worker.mail.put(letter{kind: mailEnd, inc: inc}) }

// succeedLocked makes the successor that is ready the slot's worker.
func (s *slot) succeedLocked() {
	s.worker, s.other = s.other, s.worker
	s.worker.role, s.other.role = serving, leaving
}

// notices takes what is to be told of the slot by w.
func (p *Pool) notices(w *Worker) []notice {
	p.mu.Lock()
	defer p.mu.Unlock()
	return w.noticesLocked()
}

func (w *Worker) noticesLocked() []notice {
	s := w.slot
	if s.worker != w {
		return nil
	}
	list := s.untold
	s.untold = nil
	return list
}

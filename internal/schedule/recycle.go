package schedule

import "slices"

// Recycle says that w should be replaced by a new process: by Replace where its pool has ReplaceBefore and room, else by
// Retire, after which its slot is started again. One worker of a pool is recycled at a time, in the order of the calls;
// one that goes down meanwhile is not, and one that is reserved not before its Release.
func (m *Machine) Recycle(w *Worker) {
	if w.down || w.due {
		return
	}
	w.due = true
	w.pool.due = append(w.pool.due, w)
	m.recycleNext(w.pool)
}

// Keep forgets which workers of a pool are to be recycled. The one whose turn it is goes on; where ReplaceFailed says that
// it failed, and the others are to stay, Keep comes first.
func (m *Machine) Keep(poolName string) {
	if p := m.pools[poolName]; p != nil {
		p.keep()
	}
}

func (p *pool) keep() {
	for _, w := range p.due {
		w.due = false
	}
	p.due = nil
}

// ReplaceFailed answers Replace: no successor comes. The worker serves on and is not to be recycled any more. Where it has
// gone down meanwhile and SlotComing has made its successor the one that the slot waits for, that one's failure is told
// by SlotFree, SlotComing or SlotGone instead.
func (m *Machine) ReplaceFailed(poolName string, slot int) {
	p := m.pools[poolName]
	if p == nil || slot >= len(p.slots) || !p.slots[slot].successor {
		return
	}
	s := &p.slots[slot]
	s.successor = false
	if s.worker != nil {
		s.worker.due = false
	}
	if p.rolling == slot {
		p.rolling = -1
	}
	p.tally()
	m.renew(p)
}

// recycleNext recycles the next worker of p that is due, where none is being recycled.
func (m *Machine) recycleNext(p *pool) {
	if p.rolling >= 0 || len(p.due) == 0 {
		return
	}
	p.due = slices.DeleteFunc(p.due, func(w *Worker) bool { return w.down })
	next := slices.IndexFunc(p.due, func(w *Worker) bool { return w.hold == holdNone && p.older[w.slot] == 0 })
	if next < 0 {
		return
	}
	before := p.spec.ReplaceBefore && p.room()
	if p.spec.ReplaceBefore && !before && p.making > 0 {
		return // room comes by itself; renew tries again then
	}
	w := p.due[next]
	p.due = slices.Delete(p.due, next, next+1)
	p.rolling, p.had = w.slot, p.live
	if before {
		p.slots[w.slot].successor = true
		p.tally()
		m.emit(Effect{Kind: Replace, Worker: w, Pool: p.spec.Name, Slot: w.slot})
		return
	}
	m.retire(w)
	m.reconsider(p)
}

// rolled is called when somebody has said what becomes of a slot. Where its worker was recycled, it comes back there,
// unless another one was started in its place.
func (m *Machine) rolled(p *pool, i int, state slotState) {
	if p.rolling != i || state == slotComing {
		return
	}
	if state == slotFree && p.live < p.had && m.startSlot(p, i) {
		return
	}
	p.rolling = -1
}

// retire asks to stop w, the current worker of its slot. It counts as down.
func (m *Machine) retire(w *Worker) {
	m.down(w)
	s := &w.pool.slots[w.slot]
	s.state, s.worker, s.ending = slotLeaving, nil, true
	w.pool.tally()
	m.emit(Effect{Kind: Retire, Worker: w})
}

// succeed makes w the current worker of its slot. The last one's process may still be there.
func (m *Machine) succeed(p *pool, i int, w *Worker) {
	p.grow(i + 1)
	s := &p.slots[i]
	old := s.worker
	if old != nil || (s.successor && s.ending) {
		p.leaving++
		p.older[i]++
	}
	if old != nil {
		m.down(old)
		if old.hold == holdNone { // else at its Release
			m.emit(Effect{Kind: Retire, Worker: old})
		}
	}
	p.slots[i] = slot{state: slotUp, worker: w}
	p.workers = append(p.workers, w)
	if p.rolling == i {
		p.rolling = -1
	}
	p.tally()
}

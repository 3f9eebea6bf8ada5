package schedule

import "time"

// hold is why a worker that is up takes no tasks.
type hold uint8

const (
	holdNone  hold = iota
	holdAsked      // Reserve came, and it still has tasks
	holdGiven      // Reserved was emitted
	holdLoad       // Load was emitted
)

// Held reports whether w takes no tasks because it is reserved, is to be, or is told to load a plugin.
func (w *Worker) Held() bool { return w.hold != holdNone }

// Reserve asks that w take no more tasks: Reserved follows when it has none, perhaps at once. It stays so until Release or
// WorkerDown, and is neither recycled nor retired before. It reports false, and does nothing, where w is down or reserved
// already.
func (m *Machine) Reserve(w *Worker) bool {
	switch {
	case w.down || w.wanted || w.hold == holdAsked || w.hold == holdGiven:
		return false
	case w.hold == holdLoad:
		w.wanted = true
	default:
		w.hold = holdAsked
		w.permit()
		w.pool.unlist(w)
		m.drained(w)
	}
	return true
}

// drained is called when a worker that takes no tasks may have become empty.
func (m *Machine) drained(w *Worker) {
	if w.hold == holdAsked && w.running == 0 {
		w.hold = holdGiven
		m.emit(Effect{Kind: Reserved, Worker: w})
	}
}

// Release gives w back, with the plugins it has loaded now. It may come before Reserved, which then does not come; it does
// nothing where w is not reserved, as after its WorkerDown.
func (m *Machine) Release(w *Worker, loaded []string, now time.Time) {
	switch w.hold {
	case holdNone:
	case holdLoad:
		w.wanted = false
	case holdAsked, holdGiven:
		m.setLoaded(w, loaded)
		m.giveBack(w, now)
	}
}

// giveBack ends the hold of w.
func (m *Machine) giveBack(w *Worker, now time.Time) {
	p := w.pool
	w.hold = holdNone
	switch {
	case w.down: // a successor came up meanwhile
		m.emit(Effect{Kind: Retire, Worker: w})
		return
	case !p.open(w.slot):
		m.retire(w)
	default:
		w.permit()
		m.fill(w, now)
		m.settle(w, now)
	}
	m.renew(p)
}

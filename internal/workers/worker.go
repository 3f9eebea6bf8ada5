package workers

import (
	"time"

	"go.uber.org/zap"

	"supervisord/internal/outq"
	"supervisord/protocol"
)

const (
	// drainTime bounds the reading of what a process has left in its pipes, which another process may hold open.
	drainTime = 250 * time.Millisecond
	// closedGrace is what a process gets to end after one of its pipes has: the kernel closes them before the exit is
	// seen.
	closedGrace = 500 * time.Millisecond
	// killGrace is what it gets between SIGTERM and SIGKILL.
	killGrace = 2 * time.Second
	// maxExtensions is how often load_progress arms the start timeout, or that of a command, anew.
	maxExtensions = 10
)

// rung is how far up the stop ladder a process has been sent.
type rung uint8

const (
	rungNone rung = iota
	rungAsked
	rungTerm
	rungKill
)

// Worker keeps a slot of a pool alive, or makes its next process ready while another worker does. All of it belongs to
// the goroutine that runs it, but for mail and what Pool.mu guards.
type Worker struct {
	pool *Pool
	slot *slot
	log  *zap.Logger
	mail mailbox

	// Guarded by Pool.mu.
	running bool // run was started
	live    bool // it has a process, or is about to
	role    role
	view    view

	state   State
	since   time.Time
	number  uint64 // of the last incarnation
	alarms  alarms
	leaving bool // the pool stops
	over    bool // nobody needs it any more
	asked   bool // the next start was asked for: it may be a pilot
	set     outq.Set

	// Of the current process; inc is nil while there is none.
	inc      *Incarnation
	gen      *generation // that it was started from
	pilot    bool        // gen is not the pool's yet
	started  time.Time
	readyAt  time.Time
	up       bool // WorkerUp was called and WorkerDown was not
	retiring bool // by Pool.Retire, or because its slot is one too many
	rung     rung
	closed   error // which pipe has ended
	doom     doom
	graces   []cancelled // in the order in which they were cancelled, so also in that of their time
	recycle  recycle
}

// cancelled is a job that has been asked to end by itself.
type cancelled struct {
	job   string // link id
	until time.Time
}

// doom is why a process is made to end. The first reason counts.
type doom struct {
	kind    endKind // 0: it is not
	cause   protocol.Cause
	message string // one line
}

func (p *Pool) newWorker(s *slot, r role) *Worker {
	return &Worker{
		pool: p, slot: s, log: p.log.With(zap.String("worker", s.id)), mail: newMailbox(), role: r,
		state: Stopped, view: view{state: Stopped, since: time.Now()},
	}
}

// options are those that hold for the worker now.
func (w *Worker) options() *Options {
	if w.pilot {
		return w.gen.opts
	}
	return w.pool.options()
}

// run owns the worker until its pool stops, or until its process has ended and another worker has taken the slot.
func (w *Worker) run() {
	w.alarms = newAlarms()
	defer w.finished()
	cut := w.pool.cut
	for !w.over && (!w.leaving || w.state != Stopped) {
		var exit chan struct{}
		if w.inc != nil {
			exit = w.inc.exit
		}
		select {
		case <-w.mail.wake:
			w.readMail()
		case <-exit:
			w.readMail()
			w.ended()
		case <-w.alarms.timer.C:
			for a, ok := w.alarms.due(time.Now()); ok; a, ok = w.alarms.due(time.Now()) {
				w.ring(a)
			}
		case <-cut:
			cut = nil
			w.kill()
		}
		w.set.Flush()
	}
}

// finished ends the owner.
func (w *Worker) finished() {
	w.alarms.clearAll()
	w.pool.mu.Lock()
	w.running = false
	untold := w.noticesLocked()
	w.pool.mu.Unlock()
	w.tell(untold)
}

func (w *Worker) readMail() {
	for _, l := range w.mail.take() {
		switch {
		case l.kind == mailStart:
			w.wanted()
		case l.kind == mailStop:
			w.stop()
		case l.kind == mailRevive:
			w.revive()
		case l.kind == mailProbe:
			w.probe()
		case l.kind == mailNotice:
			w.tell(w.pool.notices(w))
		case l.kind == mailTuned:
			w.tuned()
		case l.kind == mailSuperseded:
			w.superseded(l.generation)
		case l.inc == w.inc:
			w.told(l)
		}
	}
}

// told deals with what was told about the current process.
func (w *Worker) told(l letter) {
	switch l.kind {
	case mailReady:
		w.becomeReady()
	case mailLoadProgress:
		w.loads()
	case mailClosed:
		w.pipeClosed(l.err)
	case mailFault:
		w.condemn(protocolFault(l.err))
		w.kill()
	case mailCancel:
		w.cancel(l.job)
	case mailKill:
		w.force(l.job)
	case mailJobEnded:
		w.jobEnded()
	case mailRetire:
		w.retire()
	case mailEnd:
		w.retiring = true
		w.condemn(ordered)
		w.kill()
	case mailAsk:
		w.ask()
	case mailAnswer:
		w.answered()
	case mailFull:
		w.report(reasonJobs)
	case mailLook:
		w.look()
	case mailTorn:
		w.watchFrame()
	case mailStart, mailStop, mailRevive, mailProbe, mailNotice, mailTuned, mailSuperseded: // not about a process
	}
}

func (w *Worker) ring(a alarm) {
	if a.incarnation != w.number {
		return
	}
	switch a.kind {
	case alarmRestart:
		w.start()
	case alarmReady:
		w.condemn(doom{kind: endCrashed, cause: protocol.CauseStartFailed, message: "not ready within " + w.options().StartTimeout.String()})
		w.kill()
	case alarmClosed:
		w.condemn(doom{kind: endCrashed, cause: protocol.CauseProtocol, message: w.closed.Error() + " and did not exit"})
		w.kill()
	case alarmTerm:
		w.terminate()
	case alarmKill:
		w.kill()
	case alarmCancel:
		w.gracesOver()
	case alarmDrain:
		w.condemn(w.inc.stuck())
		w.terminate()
	case alarmAsk:
		w.unanswered()
	case alarmAge:
		w.report(reasonAge)
	case alarmLook:
		w.look()
	case alarmDue:
		w.reportAgain()
	case alarmFrame:
		w.lookAtFrame()
	}
}

// apply moves the worker by the table. An event that is not in it is a fault of this program: it is told as loudly as
// the logger's mode allows, and the state stays.
func (w *Worker) apply(ev event) bool {
	next := transitions[w.state][ev]
	if next == stateNone {
		w.pool.counts.illegal.Add(1)
		w.log.DPanic("illegal event for a worker's state", zap.Stringer("state", w.state), zap.Stringer("event", ev))
		return false
	}
	if next != w.state {
		w.state, w.since = next, time.Now()
	}
	w.pool.show(w, view{state: w.state, since: w.since, number: w.number, inc: w.inc})
	return true
}

func (w *Worker) alarm(kind alarmKind, after time.Duration) {
	w.alarms.set(alarm{at: time.Now().Add(after), kind: kind, incarnation: w.number})
}

// restartIn sets the time of the next start.
func (w *Worker) restartIn(delay time.Duration) {
	w.due(time.Now().Add(delay))
	w.alarm(alarmRestart, delay)
}

// due shows the time of the next start; zero for none.
func (w *Worker) due(at time.Time) {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	w.slot.next = at
}

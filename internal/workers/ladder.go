package workers

import (
	"syscall"
	"time"

	"go.uber.org/zap"

	"supervisord/protocol"
)

// Why a process is ended on purpose.
var (
	stopped  = doom{kind: endPlanned, cause: protocol.ExitStopped, message: "stopped"}
	retired  = doom{kind: endPlanned, cause: protocol.ExitStopped, message: "retired"}
	ordered  = doom{kind: endPlanned, cause: protocol.ExitStopped, message: "ended by an operator"}
	replaced = doom{kind: endPlanned, cause: protocol.ExitStopped, message: "replaced after a job did not heed its cancel"}
	obsolete = doom{kind: endPlanned, cause: protocol.ExitStopped, message: "its configuration was given up before it was ready"}
	stalled  = doom{kind: endKilled, cause: protocol.CauseStalled, message: "ended because a job made no progress"}
	unheeded = doom{kind: endKilled, cause: protocol.ExitStopped, message: "ended because a job did not heed its cancel"}
	forced   = doom{kind: endKilled, cause: protocol.ExitStopped, message: "ended because a job was cancelled by force"}
)

// stop is Pool.Stop: the worker has no process any more once its state is Stopped.
func (w *Worker) stop() {
	w.leaving = true
	if w.inc != nil {
		w.condemnWith(evStop, stopped)
		w.tellStop()
		select {
		case <-w.pool.cut: // already when the process was being started
			w.kill()
		default:
		}
		return
	}
	w.alarms.clearAll()
	w.due(time.Time{})
	coming := w.state == Backoff
	w.apply(evStop)
	if coming {
		w.pool.sink.WorkerEnded(w.pool, w.slot.index, FateGone)
	}
}

// condemn decides that the process shall end, and the worker go on.
func (w *Worker) condemn(d doom) { w.condemnWith(evKill, d) }

func (w *Worker) condemnWith(ev event, d doom) {
	if w.doom.kind == 0 {
		w.doom = d
	}
	for _, kind := range []alarmKind{alarmReady, alarmClosed, alarmDrain, alarmAsk, alarmAge, alarmLook, alarmDue, alarmFrame} {
		w.alarms.clear(kind)
	}
	w.apply(ev)
	w.down()
}

// tellStop is the first rung: the message stop, then the end of the requests.
func (w *Worker) tellStop() {
	if w.rung >= rungAsked {
		return
	}
	w.rung = rungAsked
	w.inc.sendStop()
	w.inc.queue.Flush()
	w.inc.closeRequests()
	w.alarm(alarmTerm, w.options().StopTimeout)
}

func (w *Worker) terminate() {
	if w.rung >= rungTerm {
		return
	}
	w.rung = rungTerm
	w.alarms.clear(alarmTerm)
	if err := w.inc.proc.Signal(syscall.SIGTERM); err != nil { // what may not be signalled may still be killed by its cgroup
		w.inc.log.Warn("worker is killed without SIGTERM", zap.Error(err))
		w.kill()
		return
	}
	w.alarm(alarmKill, killGrace)
}

func (w *Worker) kill() {
	if w.inc == nil || w.rung == rungKill {
		return
	}
	w.rung = rungKill
	w.inc.proc.Kill()
}

// cancel begins the cancel ladder of a job.
func (w *Worker) cancel(job string) {
	grace := w.options().CancelGrace
	if !w.inc.cancels || grace <= 0 {
		w.overdue(job)
		return
	}
	w.inc.queue.Flush()
	w.graces = append(w.graces, cancelled{job: job, until: time.Now().Add(grace)})
	if len(w.graces) == 1 {
		w.alarm(alarmCancel, grace)
	}
}

// gracesOver goes on with those jobs whose time to end by themselves is over.
func (w *Worker) gracesOver() {
	now := time.Now()
	for len(w.graces) > 0 && !w.graces[0].until.After(now) {
		job := w.graces[0].job
		w.graces = w.graces[1:]
		w.overdue(job)
	}
	if len(w.graces) > 0 {
		w.alarm(alarmCancel, w.graces[0].until.Sub(now))
	}
}

// overdue deals with a job that can be ended only by the end of the process, unless it has ended meanwhile.
func (w *Worker) overdue(linkID string) {
	h, siblings := w.inc.condemn(linkID)
	grace := w.options().DrainGrace
	switch {
	case h.job == nil:
		return
	case !siblings || grace <= 0:
		w.condemn(h.doom())
		w.terminate()
		return
	}
	h.job.Unresponsive(&w.set)
	w.report(reasonStuck)
	w.drain()
	if !w.alarms.has(alarmDrain) {
		w.alarm(alarmDrain, grace)
	}
}

// doom is why the process is made to end that holds a job which does not heed its cancel.
func (h held) doom() doom {
	if h.stalled {
		return stalled
	}
	return unheeded
}

// force ends the process of a job at once.
func (w *Worker) force(linkID string) {
	if h, _ := w.inc.condemn(linkID); h.job == nil {
		return
	}
	w.condemn(forced)
	w.kill()
}

// jobEnded looks at what is left in a process that drains because it is retired, or because of an unresponsive job.
func (w *Worker) jobEnded() {
	if w.state != Draining || !w.inc.isDraining() {
		return
	}
	switch held, responsive := w.inc.count(); {
	case responsive > 0: // they have until alarmDrain, if that is set
	case held > 0:
		w.condemn(w.inc.stuck())
		w.terminate()
	case w.inc.pending() != nil: // a command, which has its own time
	case w.retiring:
		w.condemn(retired)
		w.tellStop()
	default:
		w.condemn(replaced)
		w.tellStop()
	}
}

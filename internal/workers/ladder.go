package workers

import (
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"supervisord/internal/process"
	"supervisord/protocol"
)

// Why a process is ended on purpose.
var (
	stopped  = doom{kind: endPlanned, cause: protocol.ExitStopped, message: "stopped"}
	retired  = doom{kind: endPlanned, cause: protocol.ExitStopped, message: "replaced after a job did not heed its cancel"}
	unheeded = doom{kind: endKilled, cause: protocol.ExitStopped, message: "ended because a job did not heed its cancel"}
	forced   = doom{kind: endKilled, cause: protocol.ExitStopped, message: "ended because a job was cancelled by force"}
)

// stop is Pool.Stop: the worker has no process any more once its state is Stopped.
func (w *Worker) stop() {
	w.leaving = true
	if w.inc != nil {
		w.condemnWith(evStop, stopped)
		w.ask()
		select {
		case <-w.pool.cut: // already when the process was being started
			w.kill()
		default:
		}
		return
	}
	w.alarms.clearAll()
	w.next = time.Time{}
	coming := w.state == Backoff
	w.apply(evStop)
	if coming {
		w.pool.opts.Sink.WorkerEnded(w.pool, w.slot, FateGone)
	}
}

// condemn decides that the process shall end, and the worker go on.
func (w *Worker) condemn(d doom) { w.condemnWith(evKill, d) }

func (w *Worker) condemnWith(ev event, d doom) {
	if w.doom.kind == 0 {
		w.doom = d
	}
	for _, kind := range []alarmKind{alarmReady, alarmClosed, alarmDrain} {
		w.alarms.clear(kind)
	}
	w.apply(ev)
	w.down()
}

// ask is the first rung: the message stop, then the end of the requests.
func (w *Worker) ask() {
	if w.rung >= rungAsked {
		return
	}
	w.rung = rungAsked
	w.inc.sendStop()
	w.inc.queue.Flush()
	w.inc.closeRequests()
	w.alarm(alarmTerm, w.pool.opts.StopTimeout)
}

func (w *Worker) terminate() {
	if w.rung >= rungTerm {
		return
	}
	w.rung = rungTerm
	w.alarms.clear(alarmTerm)
	w.inc.proc.Signal(syscall.SIGTERM)
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
	grace := w.pool.opts.CancelGrace
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
	job, siblings := w.inc.condemn(linkID)
	grace := w.pool.opts.DrainGrace
	switch {
	case job == nil:
		return
	case !siblings || grace <= 0:
		w.condemn(unheeded)
		w.terminate()
		return
	}
	job.Unresponsive(&w.set)
	w.drain()
	if !w.alarms.has(alarmDrain) {
		w.alarm(alarmDrain, grace)
	}
}

// force ends the process of a job at once.
func (w *Worker) force(linkID string) {
	if job, _ := w.inc.condemn(linkID); job == nil {
		return
	}
	w.condemn(forced)
	w.kill()
}

// jobEnded looks at what is left in a process that drains because of an unresponsive job.
func (w *Worker) jobEnded() {
	if w.state != Draining {
		return
	}
	switch held, responsive := w.inc.count(); {
	case responsive > 0: // they have until alarmDrain
	case held > 0:
		w.condemn(unheeded)
		w.terminate()
	default:
		w.condemn(retired)
		w.ask()
	}
}

// classify says how the process ended and why.
func (w *Worker) classify(ended *process.Exit, err error) *Exit {
	inc := w.inc
	exit := &Exit{Time: time.Now(), kind: endCrashed, Stderr: inc.output.stderrTail(), succeeded: inc.succeeded.Load()}
	if err != nil {
		inc.log.Error("reaping worker process", zap.Error(err))
		exit.Cause, exit.Message = protocol.CauseExit, "exit status unknown"
	} else {
		exit.classify(ended)
	}
	d := w.doom
	if fault := inc.link.fault; d.kind == 0 && fault != nil { // found in what it left behind
		d = protocolFault(fault)
	}
	switch d.kind {
	case endPlanned, endKilled:
		exit.kind, exit.Cause, exit.Message = d.kind, d.cause, d.message+": "+exit.Message
		switch w.rung {
		case rungTerm:
			exit.How = protocol.HowTerminated
		case rungKill:
			exit.How = protocol.HowKilled
		case rungNone, rungAsked:
		}
		return exit
	case endCrashed:
		exit.Cause, exit.Message = d.cause, d.message
		if w.rung == rungKill { // the signal was ours and says nothing
			exit.Code, exit.Signal = nil, ""
		}
	default:
		if inc.ready == nil {
			exit.Message += " before it was ready"
		}
	}
	if inc.ready == nil {
		exit.Cause = protocol.CauseStartFailed
	}
	if inc.link.reason != "" {
		exit.Message += ": " + inc.link.reason
	}
	return exit
}

func protocolFault(err error) doom {
	return doom{kind: endCrashed, cause: protocol.CauseProtocol, message: "protocol error: " + oneLine(err.Error())}
}

func (w *Worker) logExit(exit *Exit, level zapcore.Level, next string) {
	fields := []zap.Field{
		zap.Uint64("incarnation", w.number), zap.String("cause", string(exit.Cause)), zap.String("reason", exit.Message),
		zap.String("next", next),
	}
	if exit.Code != nil {
		fields = append(fields, zap.Int("exit_code", *exit.Code))
	}
	if exit.Signal != "" {
		fields = append(fields, zap.String("signal", exit.Signal))
	}
	if !w.next.IsZero() {
		fields = append(fields, zap.Duration("delay", time.Until(w.next).Round(time.Millisecond)))
	}
	if len(exit.Stderr) > 0 && exit.kind == endCrashed {
		fields = append(fields, zap.Strings("stderr", exit.Stderr))
	}
	w.log.Log(level, "worker exited", fields...)
}

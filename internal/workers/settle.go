package workers

import (
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// outcome is what follows the end of a process.
type outcome struct {
	event event
	fate  Fate // 0: Sink is told by a notice, or not at all
	// restart says that a start is due after delay.
	restart bool
	delay   time.Duration
	// before are notices about other processes of the slot, which come before what is told of this one.
	before []notice
	// over says that the worker is not needed any more.
	over bool
	// rolled is the roll whose pilot this was.
	rolled *RollError
	level  zapcore.Level
	next   string // for people
	row    string // the failures that it was one of, empty where it was the first
}

// settle decides what comes after an exit, or after a start that made no process, and tells.
func (w *Worker) settle(exit *Exit) {
	o := w.pool.ended(w, exit, w.uptime(exit))
	if w.pilot && o.rolled == nil { // the next process may be the pilot of what came instead
		w.asked = true
	}
	w.pilot = false
	w.tell(o.before)
	if o.restart {
		w.restartIn(o.delay)
	}
	w.apply(o.event)
	w.logExit(exit, o)
	sink := w.pool.sink
	if o.rolled != nil {
		w.log.Error("new generation given up", zap.Uint64("generation", o.rolled.Generation), zap.String("reason", o.rolled.Reason))
		sink.Rolled(w.pool, o.rolled.Generation, o.rolled)
	}
	if o.fate != 0 {
		sink.WorkerEnded(w.pool, w.slot.index, o.fate)
	}
	w.over = o.over
}

// uptime is how long the process was ready, 0 for never.
func (w *Worker) uptime(exit *Exit) time.Duration {
	if w.readyAt.IsZero() {
		return 0
	}
	return max(exit.Time.Sub(w.readyAt), 1)
}

// tell tells Sink of other processes of the slot.
func (w *Worker) tell(list []notice) {
	for _, n := range list {
		if n.failed == nil {
			w.pool.sink.WorkerRetired(w.pool, w.slot.index)
			continue
		}
		w.pool.sink.ReplaceFailed(w.pool, w.slot.index, n.failed)
		w.dueAgain()
	}
}

// ended is told by a worker's owner that its process has ended.
func (p *Pool) ended(w *Worker, exit *Exit, uptime time.Duration) outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.live = false
	o := outcome{event: evExitStop, level: zap.InfoLevel, next: "none", rolled: p.abandonLocked(w, exit), before: w.noticesLocked()}
	exit.Pilot = o.rolled != nil
	s := w.slot
	switch {
	case w.role == coming:
		s.other, o.over = nil, true
		if exit.kind == endCrashed {
			o.level = zap.WarnLevel
		}
		if !p.stopping {
			s.tellLocked(notice{failed: exit})
		}
	case w.role == leaving:
		s.last, s.other, o.over = exit, nil, true
		if s.worker.running {
			s.tellLocked(notice{})
		} else {
			o.before = append(o.before, notice{})
		}
	case s.other != nil && s.other.role == coming && !p.stopping:
		if s.last, o.over, o.next = exit, true, "successor"; !w.retiring {
			s.restarts.tune(p.options())
			s.restarts.after(exit.kind, uptime, exit.succeeded)
		}
		s.worker, s.other = s.other, nil
		s.worker.role = serving
		s.tellLocked(notice{})
		p.settleLocked()
	default:
		s.last, s.why = exit, exit.Message
		p.servantEndedLocked(w, exit, uptime, &o)
	}
	return o
}

// servantEndedLocked decides where the process was the only one that counts in its slot.
func (p *Pool) servantEndedLocked(w *Worker, exit *Exit, uptime time.Duration, o *outcome) {
	s := w.slot
	again := func() { o.event, o.fate, o.next, o.restart = evExitGo, FateComing, "restart", true }
	switch {
	case p.stopping:
		o.fate = FateGone
		return
	case w.retiring || p.surplusLocked(s):
		o.fate = FateFree
		p.pardonLocked(s)
		return
	case w.pilot: // the old options are tried at once, or those that came instead
		o.level = zap.WarnLevel
		again()
		return
	}
	s.restarts.tune(p.options())
	v := s.restarts.after(exit.kind, uptime, exit.succeeded)
	if exit.kind == endCrashed {
		if o.row = s.restarts.row(); o.row != "" {
			s.why = o.row + ": " + exit.Message
		}
	}
	if !v.spent || exit.final {
		p.pardonLocked(s)
	}
	switch {
	case exit.kind == endCrashed && p.commitIdleLocked(): // a new generation may do better
		o.level = zap.WarnLevel
		again()
	case exit.final || !v.restart:
		o.event, o.level, o.fate = evExitStay, zap.ErrorLevel, FateGone
	case v.spent:
		o.event, o.level, o.fate = evExitStay, zap.ErrorLevel, FateGone
		if o.next = "another worker's probe"; p.spendLocked(s) {
			o.next, o.restart, o.delay = "probe", true, v.delay
		}
	default:
		if exit.kind == endCrashed {
			o.level = zap.WarnLevel
		}
		again()
		o.delay = v.delay
	}
}

func (w *Worker) logExit(exit *Exit, o outcome) {
	fields := []zap.Field{
		zap.Uint64("incarnation", w.number), zap.String("cause", string(exit.Cause)), zap.String("reason", exit.Message),
		zap.String("next", o.next),
	}
	if o.row != "" {
		fields = append(fields, zap.String("row", o.row))
	}
	if exit.Code != nil {
		fields = append(fields, zap.Int("exit_code", *exit.Code))
	}
	if exit.Signal != "" {
		fields = append(fields, zap.String("signal", exit.Signal))
	}
	if o.restart {
		fields = append(fields, zap.Duration("delay", o.delay.Round(time.Millisecond)))
	}
	if len(exit.Stderr) > 0 && exit.kind == endCrashed {
		fields = append(fields, zap.Strings("stderr", exit.Stderr))
	}
	w.log.Log(o.level, "worker exited", fields...)
}

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
	// maxExtensions is how often load_progress arms the start timeout anew.
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

// Worker is one slot of a pool, kept alive. All of it but mail belongs to the goroutine that runs it.
type Worker struct {
	pool    *Pool
	slot    int
	id      string
	log     *zap.Logger
	mail    mailbox
	running bool // guarded by pool.mu: run was started

	state    State
	since    time.Time
	number   uint64 // of the last incarnation
	alarms   alarms
	restarts restarts
	leaving  bool // the pool stops
	last     *Exit
	next     time.Time // of the start that is due
	spent    bool
	set      outq.Set

	// Of the current process; inc is nil while there is none.
	inc     *Incarnation
	started time.Time
	readyAt time.Time
	up      bool // WorkerUp was called and WorkerDown was not
	rung    rung
	closed  error // which pipe has ended
	doom    doom
	graces  []cancelled // in the order in which they were cancelled, so also in that of their time
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

// run owns the worker until its pool stops.
func (w *Worker) run() {
	w.alarms = newAlarms()
	defer w.alarms.clearAll()
	cut := w.pool.cut
	for !w.leaving || w.state != Stopped {
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

func (w *Worker) readMail() {
	for _, l := range w.mail.take() {
		switch {
		case l.kind == mailStart:
			w.wanted()
		case l.kind == mailStop:
			w.stop()
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
		if w.state == Initializing {
			w.armStart()
		}
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
	case mailStart, mailStop: // not about a process
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
		w.condemn(doom{kind: endCrashed, cause: protocol.CauseStartFailed, message: "not ready within " + w.pool.opts.StartTimeout.String()})
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
		w.condemn(unheeded)
		w.terminate()
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
	w.show()
	return true
}

func (w *Worker) show() {
	w.pool.show(w.slot, view{
		state: w.state, since: w.since, number: w.number, inc: w.inc, last: w.last, next: w.next, spent: w.spent,
	})
}

func (w *Worker) alarm(kind alarmKind, after time.Duration) {
	w.alarms.set(alarm{at: time.Now().Add(after), kind: kind, incarnation: w.number})
}

// wanted is Pool.Start. Where a process is there or will come by itself, nothing is to be done.
func (w *Worker) wanted() {
	if w.leaving || w.state != Stopped && w.state != Failed {
		return
	}
	w.restarts.healthy()
	w.spent = false
	w.alarms.clearAll()
	w.start()
}

func (w *Worker) start() {
	w.next = time.Time{}
	w.number++
	if !w.apply(evStart) {
		return
	}
	w.started, w.readyAt = time.Now(), time.Time{}
	w.rung, w.closed, w.doom, w.graces = rungNone, nil, doom{}, nil
	inc, err := w.begin()
	if err != nil {
		w.settle(&Exit{
			Cause: protocol.CauseStartFailed, Message: "start: " + oneLine(err.Error()), Time: time.Now(), kind: endCrashed,
		})
		return
	}
	w.inc = inc
	w.apply(evSpawned)
	inc.log.Info("worker started", zap.String("program", w.pool.opts.Command[0]))
	w.armStart()
	if err := inc.sendInit(); err != nil {
		w.condemn(doom{kind: endCrashed, cause: protocol.CauseStartFailed, message: oneLine(err.Error())})
		w.kill()
		return
	}
	inc.queue.Flush()
}

func (w *Worker) armStart() {
	if d := w.pool.opts.StartTimeout; d > 0 {
		w.alarm(alarmReady, d)
	}
}

func (w *Worker) becomeReady() {
	if !w.apply(evReady) || w.state != Ready {
		return
	}
	w.alarms.clear(alarmReady)
	w.readyAt, w.up, w.spent = time.Now(), true, false
	w.show()
	w.inc.log.Info("worker ready", zap.Strings("plugins", w.inc.ready.LoadedPlugins), zap.Strings("features", w.inc.ready.Features),
		zap.Int("capacity", w.inc.capacity), zap.Duration("took", w.readyAt.Sub(w.started)))
	w.inc.accept()
	w.pool.opts.Sink.WorkerUp(w.inc)
}

// drain lets a process that was ready finish its jobs, and take no more.
func (w *Worker) drain() {
	if w.state == Ready {
		w.apply(evDrain)
	}
	w.down()
}

// down tells that the process takes no more jobs. The state that makes it so is shown before.
func (w *Worker) down() {
	if !w.up {
		return
	}
	w.up = false
	w.inc.refuse()
	w.pool.opts.Sink.WorkerDown(w.inc)
}

// pipeClosed is the end of a pipe, or the refusal of one, while no exit has been seen.
func (w *Worker) pipeClosed(err error) {
	if w.state == Stopping || w.closed != nil {
		return
	}
	w.closed = err
	w.drain()
	w.alarm(alarmClosed, closedGrace)
}

// ended deals with the exit of the process.
func (w *Worker) ended() {
	inc := w.inc
	w.drain()
	w.alarms.clearAll()
	ps, err := inc.finish()
	exit := w.classify(ps, err)
	for _, job := range inc.takeAll() {
		job.Lost(exit, &w.set)
	}
	w.inc = nil
	w.settle(exit)
}

// settle decides what comes after an exit, or after a start that made no process, and tells.
func (w *Worker) settle(exit *Exit) {
	w.last = exit
	fate := FateGone
	next, level := "none", zap.InfoLevel
	uptime := time.Duration(0)
	if !w.readyAt.IsZero() {
		uptime = exit.Time.Sub(w.readyAt)
	}
	switch v := w.restarts.after(exit.kind, uptime, exit.succeeded); {
	case w.leaving:
		w.apply(evExitStop)
	case exit.final || !v.restart:
		level, w.spent = zap.ErrorLevel, false
		w.apply(evExitStay)
	case v.spent:
		level, next = zap.ErrorLevel, "probe"
		w.due(v.delay, true)
		w.apply(evExitStay)
	default:
		if exit.kind == endCrashed {
			level = zap.WarnLevel
		}
		fate, next = FateComing, "restart"
		w.due(v.delay, false)
		w.apply(evExitGo)
	}
	w.logExit(exit, level, next)
	w.pool.opts.Sink.WorkerEnded(w.pool, w.slot, fate)
}

// due sets the time of the next start.
func (w *Worker) due(delay time.Duration, spent bool) {
	w.next, w.spent = time.Now().Add(delay), spent
	w.alarm(alarmRestart, delay)
}

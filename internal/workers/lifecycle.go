package workers

import (
	"time"

	"go.uber.org/zap"

	"supervisord/protocol"
)

// wanted is Pool.Start, or Pool.Replace for a worker that is new. Where a process is there or will come by itself,
// nothing is to be done.
func (w *Worker) wanted() {
	if w.leaving || w.state != Stopped && w.state != Failed {
		return
	}
	w.pool.forget(w)
	w.alarms.clearAll()
	w.asked = true
	w.start()
}

func (w *Worker) start() {
	w.number, w.gen, w.pilot = w.pool.launch(w, w.asked)
	w.asked = false
	w.started, w.readyAt, w.retiring = time.Now(), time.Time{}, false
	w.rung, w.closed, w.doom, w.graces, w.recycle = rungNone, nil, doom{}, nil, recycle{}
	if !w.apply(evStart) {
		return
	}
	inc, err := w.begin()
	if err != nil {
		w.settle(&Exit{
			Cause: protocol.CauseStartFailed, Message: "start: " + oneLine(err.Error()), Time: time.Now(), kind: endCrashed,
		})
		return
	}
	w.inc = inc
	w.apply(evSpawned)
	inc.log.Info("worker started", zap.String("program", w.gen.opts.Command[0]), zap.Uint64("generation", w.gen.number))
	w.armStart()
	if err := inc.sendInit(); err != nil {
		w.condemn(doom{kind: endCrashed, cause: protocol.CauseStartFailed, message: oneLine(err.Error())})
		w.kill()
		return
	}
	inc.queue.Flush()
}

func (w *Worker) armStart() {
	if d := w.options().StartTimeout; d > 0 {
		w.alarm(alarmReady, d)
	}
}

// loads gives the process its time anew, since it says that it is loading a plugin.
func (w *Worker) loads() {
	if w.state == Initializing {
		w.armStart()
	} else {
		w.armAsk()
	}
}

func (w *Worker) becomeReady() {
	if w.closed != nil { // it cannot be given a job: alarmClosed ends it
		return
	}
	if !w.apply(evReady) || w.state != Ready {
		return
	}
	w.alarms.clear(alarmReady)
	w.readyAt = time.Now()
	a := w.pool.arrived(w, w.pilot)
	if a.obsolete {
		w.superseded(w.gen.number)
		return
	}
	w.pilot, w.up = false, true
	w.inc.log.Info("worker ready", zap.Strings("plugins", w.inc.ready.LoadedPlugins), zap.Strings("features", w.inc.ready.Features),
		zap.Int("capacity", w.inc.capacity), zap.Duration("took", w.readyAt.Sub(w.started)))
	w.inc.accept()
	w.tune()
	w.pool.sink.WorkerUp(w.inc)
	if a.committed != 0 {
		w.pool.sink.Rolled(w.pool, a.committed, nil)
	}
}

// superseded ends a pilot whose generation was given up: it is nobody's.
func (w *Worker) superseded(generation uint64) {
	if !w.pilot || w.gen.number != generation {
		return
	}
	w.condemn(obsolete)
	w.kill()
}

// tuned takes over options that have changed.
func (w *Worker) tuned() {
	w.tune()
	if !w.pool.surplus(w.slot) {
		return
	}
	switch w.state {
	case Backoff, Failed:
		w.alarms.clearAll()
		w.pool.forget(w)
		w.apply(evGiveUp)
		w.pool.sink.WorkerEnded(w.pool, w.slot.index, FateFree)
	case Initializing, Ready, Draining:
		w.retire()
	case stateNone, Stopped, Starting, Stopping, stateEnd:
	}
}

// tune gives the current process what concerns it of the options.
func (w *Worker) tune() {
	if w.inc == nil || w.readyAt.IsZero() {
		return
	}
	o := w.options()
	w.inc.queue.SetStall(o.FrameTimeout)
	w.recycleAt(o)
}

// retire lets the process end its jobs and takes it away. It is for good: a process of the slot comes only when one is
// asked for.
func (w *Worker) retire() {
	w.retiring = true
	if w.state == Initializing {
		w.condemn(retired)
		w.tellStop()
		return
	}
	w.inc.drainJobs()
	w.drain()
	w.jobEnded()
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
	w.pool.sink.WorkerDown(w.inc)
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
	ended, err := inc.finish()
	exit := w.classify(ended, err)
	w.lose(exit)
	w.inc = nil
	w.settle(exit)
}

// lose ends all that the process was doing.
func (w *Worker) lose(exit *Exit) {
	for _, h := range w.inc.takeAll() {
		h.job.Lost(exit, w.inc.unread(h), &w.set)
	}
	w.unansweredAt(exit)
}

package workers

import (
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
)

// Why a process is due to be replaced: the option that says so, or what has happened to it.
const (
	reasonJobs   = "max_jobs_per_worker"
	reasonAge    = "max_worker_age"
	reasonMemory = "max_worker_memory"
	reasonStuck  = "ignored_cancel"
)

const (
	// lookEvery is how often the memory of a process is looked at, at most.
	lookEvery = time.Second
	// ageJitter is by which part of Options.MaxAge a process may be younger when it is due: those that were started
	// together are not replaced together.
	ageJitter = 0.1
)

// recycle is what the owner knows of a process's being due to be replaced.
type recycle struct {
	reason string // that was reported; empty while none was
	share  float64
	looked time.Time
}

// quota is what a process may use up. Both members are 0 where there is no limit.
type quota struct {
	jobs   int
	memory int64
}

// recycleAt arranges for the process to be reported where the options want that.
func (w *Worker) recycleAt(o *Options) {
	var q *quota // nil costs the link's reader least
	if o.MaxJobs > 0 || o.MaxMemory > 0 {
		q = &quota{jobs: o.MaxJobs, memory: o.MaxMemory}
	}
	w.inc.quota.Store(q)
	w.alarms.clear(alarmAge)
	if o.MaxAge > 0 {
		if w.recycle.share == 0 {
			w.recycle.share = 1 - rand.Float64()*ageJitter //nolint:gosec // no secret
		}
		w.alarm(alarmAge, time.Until(w.readyAt.Add(time.Duration(float64(o.MaxAge)*w.recycle.share))))
	}
}

// report tells, once, that the process should be replaced.
func (w *Worker) report(reason string) {
	if !w.up || w.retiring || w.recycle.reason != "" {
		return
	}
	w.recycle.reason = reason
	w.inc.log.Info("worker is due to be replaced", zap.String("reason", reason))
	w.pool.sink.WorkerDue(w.inc, reason)
}

// dueAgain is called when the replacement of the process has failed: whether it was due because of that is for Sink to
// know.
func (w *Worker) dueAgain() {
	if w.inc != nil && w.recycle.reason == "" && !w.inc.Current() {
		w.recycle.reason = "configuration"
	}
	if w.recycle.reason == "" || w.inc == nil || w.retiring {
		return
	}
	delay := w.options().RestartBackoffMax
	if delay <= 0 {
		delay = time.Second
	}
	w.alarm(alarmDue, delay)
}

func (w *Worker) reportAgain() {
	if (w.state == Ready || w.state == Draining) && !w.retiring {
		w.pool.sink.WorkerDue(w.inc, w.recycle.reason)
	}
}

// look looks at the memory of the process, where it is long enough since it was done last.
func (w *Worker) look() {
	if w.state != Ready {
		return
	}
	now := time.Now()
	if wait := w.recycle.looked.Add(lookEvery).Sub(now); wait > 0 {
		w.alarm(alarmLook, wait)
		return
	}
	w.recycle.looked = now
	w.inc.looking.Store(false) // what ends from now on is seen by the next look
	if limit := w.options().MaxMemory; limit > 0 && w.inc.proc.Memory() > limit {
		w.report(reasonMemory)
	}
}

// spent is told by the link's reader that a job has ended and was answered.
func (l *link) spent() {
	l.ended++
	q := l.inc.quota.Load()
	if q == nil {
		return
	}
	if q.jobs > 0 && l.ended >= q.jobs && !l.full {
		l.full = true
		l.tell(mailFull, nil)
	}
	if q.memory > 0 && !l.inc.looking.Swap(true) {
		l.tell(mailLook, nil)
	}
}

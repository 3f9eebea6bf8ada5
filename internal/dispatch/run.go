package dispatch

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"supervisord/internal/jobs"
	"supervisord/internal/outq"
	"supervisord/internal/schedule"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

// run is a job on its way through the scheduler and a worker: the scheduler's task, and what the worker knows as its Job.
type run struct {
	d    *Dispatcher
	job  *jobs.Job
	task schedule.Task

	// at is where the job runs, nil while it does not; guarded by the dispatcher's lock. The link's reader, which
	// knows the job only while it is set, reads it without.
	at      *place
	started time.Time
	// cancelled says that its worker was told to end it. The worker's owner may then still call Unresponsive while the
	// reader brings the result, so such a run is never used again. Guarded by the dispatcher's lock.
	cancelled bool

	// unread is how often it was sent to a process that died before it read it, killed how many died of running it.
	// Guarded by the dispatcher's lock.
	unread, killed int

	// watched says that its pool has a stall_timeout; it is set before the worker knows the job. heard is when something
	// was heard of it last, counted from the dispatcher's epoch.
	watched bool
	heard   atomic.Int64
}

// place is a worker that takes jobs, from WorkerUp on.
type place struct {
	*workers.Incarnation
	pool   *pool
	worker *schedule.Worker
	// reserved is called once the scheduler has reserved the worker for who asked. Guarded by the dispatcher's lock.
	reserved func()
	// gone is closed when it takes no more jobs.
	gone chan struct{}
	// turn holds a token while it is told something.
	turn chan struct{}
	// due says that it is to be replaced for a reason of its own, whatever becomes of a roll. Guarded by the dispatcher's
	// lock.
	due bool
	// failed tells those who wait for a successor that it did not become ready; then another one takes its place, for the
	// next successor. Guarded by the dispatcher's lock.
	failed *failedSuccessor
	// asOf is when it said last what its state is, config what it said then of its current plugin. Guarded by the
	// dispatcher's lock.
	asOf   time.Time
	config json.RawMessage
}

// failedSuccessor is how a successor ended that did not become ready.
type failedSuccessor struct {
	done chan struct{}
	exit *workers.Exit // once done is closed
}

// stays is the error for a worker that was to be replaced and serves on.
func (at *place) stays(r *failedSuccessor) *protocol.Error {
	err := protocol.NewError(protocol.CodePoolUnavailable,
		fmt.Sprintf("worker %s stays: its successor did not become ready: %s", at.WorkerID(), r.exit.Message))
	err.Data.State, err.Data.Reason, err.Data.StderrTail = protocol.PoolReady, r.exit.Message, r.exit.Stderr
	return err
}

var _ workers.Job = (*run)(nil)

// maxFree is how many runs are kept to be used again.
const maxFree = 1024

// newRunLocked makes the run of a job that is submitted.
func (d *Dispatcher) newRunLocked(j *jobs.Job) *run {
	var r *run
	if n := len(d.free); n > 0 {
		r = d.free[n-1]
		d.free = d.free[:n-1]
	} else {
		r = &run{d: d}
	}
	r.job = j
	r.task = schedule.Task{Plugin: j.Plugin, Pool: j.Pool, Bytes: int64(len(j.Params)), Owner: r}
	if j.Timeout > 0 {
		r.task.Deadline = j.Created.Add(j.Timeout)
	}
	if j.HasMaxWait {
		r.task.NoWait = j.MaxWait == 0
		r.task.StartBy = j.Created.Add(j.MaxWait)
	}
	j.Handle = r
	return r
}

// freeRunLocked ends the run of a job that has ended: neither the scheduler nor a worker knows it any more.
func (d *Dispatcher) freeRunLocked(r *run) {
	r.job.Handle = nil
	if !r.cancelled {
		r.job, r.task, r.unread, r.killed = nil, schedule.Task{}, 0, 0
		if len(d.free) < maxFree {
			d.free = append(d.free, r)
		}
	}
	d.checkDrainedLocked()
}

// grant sends the job to the worker that the scheduler has chosen; false where its process has just ended. It is called
// with the dispatcher's lock.
func (r *run) grant(now time.Time, set *outq.Set) bool {
	at := placeOf(r.task.Worker())
	j := r.job
	e := workers.Execution{LinkID: j.LinkID, Plugin: j.Plugin, Stream: j.Stream, Params: j.Params, Metadata: j.Metadata}
	if due, _ := r.task.Due(); !due.IsZero() {
		e.DeadlineMS = protocol.Milliseconds(max(0, due.Sub(now)))
	}
	r.at, r.started, r.watched = at, now, at.pool.opts.Spec.StallTimeout > 0
	j.Running(at.WorkerID(), at.Number(), at.PID(), now)
	if at.Execute(&e, r, set) {
		return true
	}
	r.at = nil
	j.Pending()
	return false
}

// release tells the scheduler that the job no longer occupies its worker. It comes before the answer, so that whoever has
// that finds the worker free; the run may be another job's afterwards.
func (r *run) release(now time.Time, set *outq.Set) {
	d := r.d
	d.mu.Lock()
	defer d.mu.Unlock()
	r.at.pool.ran(now.Sub(r.started))
	r.at = nil
	d.sched.Ended(&r.task, now)
	d.carryOutLocked(now, set)
	d.freeRunLocked(r)
}

// ID implements workers.Job.
func (r *run) ID() string { return r.job.ID }

// Chunk implements workers.Job.
func (r *run) Chunk(chunk, metadata []byte, final bool, set *outq.Set) bool {
	r.hear(set)
	return r.job.Chunk(chunk, metadata, final, set) == jobs.Full
}

// Crowded implements workers.Job: the job cannot be slowed down, only ended.
func (r *run) Crowded(set *outq.Set) {
	if n := r.job.Backlog(); n >= int(r.d.outputBuffer.Load()) {
		r.job.TooSlow(int64(n), set)
	}
}

// Logged implements workers.Job.
func (r *run) Logged(set *outq.Set) { r.hear(set) }

// Oversized implements workers.Job: the caller would miss a chunk, so the job ends.
func (r *run) Oversized(limit int64, set *outq.Set) {
	code := protocol.CodeResultTooLarge
	r.d.End(r.job, jobs.Ending{Code: code, By: code.Kind(), Bytes: limit}, set)
}

// Hold implements workers.Job.
func (r *run) Hold(h workers.Holder) bool {
	if r.job.HoldFor(h) {
		return true
	}
	if r.watched { // until now it could not be heard
		r.heard.Store(int64(time.Since(r.d.epoch)))
	}
	return false
}

// Progress implements workers.Job.
func (r *run) Progress(progress, message []byte, set *outq.Set) {
	r.hear(set)
	r.job.Progress(progress, message, set)
}

// Result implements workers.Job.
func (r *run) Result(res *workers.Result, set *outq.Set) {
	now := set.Now()
	err := resultError(res)
	if due, limit := r.task.Due(); err != nil && !due.IsZero() && !now.Before(due) {
		// The worker saw the deadline pass before the timer here did; what it says of that is not what happened.
		r.job.End(deadlineEnding(protocol.PhaseRun, limit))
	}
	j := r.job
	r.release(now, set)
	j.Finish(res.Data, err, protocol.EndedByResult, protocol.HowCooperative, now, set)
}

// Unresponsive implements workers.Job.
func (r *run) Unresponsive(set *outq.Set) {
	r.job.Finish(nil, nil, "", protocol.HowDetached, time.Now(), set)
}

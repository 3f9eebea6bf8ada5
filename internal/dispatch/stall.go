package dispatch

import (
	"time"

	"supervisord/internal/jobs"
	"supervisord/internal/outq"
	"supervisord/internal/schedule"
	"supervisord/protocol"
)

// hear notes that something was heard of the job. It is called for each chunk by the link's reader; that and a clock that
// is read once for all that one read has brought are all that a stall_timeout costs.
func (r *run) hear(set *outq.Set) {
	if r.watched {
		r.heard.Store(int64(set.Now().Sub(r.d.epoch)))
	}
}

// quietLocked answers the scheduler, which has not been told of a job for its stall_timeout, when something was heard of
// it last. A job whose reader we have stopped cannot be heard: it counts as heard now.
func (d *Dispatcher) quietLocked(t *schedule.Task, now time.Time) {
	r := ownerOf(t)
	last := r.started
	if at := d.epoch.Add(time.Duration(r.heard.Load())); at.After(last) {
		last = at
	}
	if r.job.Held() {
		last = now
	}
	d.sched.Heard(t, last, now)
}

func stalled(worker string, limit time.Duration) jobs.Ending {
	return jobs.Ending{Code: protocol.CodeWorkerDied, By: string(protocol.CauseStalled), Worker: worker, Limit: limit}
}

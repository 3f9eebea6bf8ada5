package dispatch

import (
	"fmt"
	"time"

	"supervisord/internal/outq"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

// maxUnread is how often a job may have been sent to a process that died before it read any of it. That is no attempt,
// but a worker that always dies then must not keep a job for ever.
const maxUnread = 3

// Lost implements workers.Job. A job that its process provably never read runs again, so that a worker which exits
// between two jobs costs nobody a call; any other only where the pool allows more attempts and nobody has seen a chunk:
// at most once is what all others get.
func (r *run) Lost(exit *workers.Exit, unread bool, set *outq.Set) {
	now := time.Now()
	if r.again(exit, unread, now, set) {
		return
	}
	how := exit.How
	if how == "" { // the job was to be ended, and its process ended by itself
		how = protocol.HowTerminated
	}
	err := exit.Error(r.at.WorkerID())
	if n := r.job.Attempts(); n > 1 && r.killed == n {
		err = protocol.NewError(protocol.CodeQuarantined, fmt.Sprintf("each of %d attempts has killed its worker; the last: %s", n, err.Message))
	}
	err.Data.Chunks = new(r.job.Chunks())
	j := r.job
	r.release(now, set)
	j.Finish(nil, err, string(exit.Cause), how, now, set)
}

// again lets the job wait for another worker where it may run once more.
func (r *run) again(exit *workers.Exit, unread bool, now time.Time, set *outq.Set) bool {
	d := r.d
	d.mu.Lock()
	defer d.mu.Unlock()
	switch attempts := r.job.Attempts(); {
	case r.cancelled:
		return false
	case unread && r.unread < maxUnread:
		r.unread++
		r.job.Pending()
		r.at = nil
		d.sched.Requeue(&r.task, now)
	default:
		if exit.Cause != protocol.ExitStopped {
			r.killed++
		}
		if attempts >= r.at.pool.opts.MaxAttempts || !r.job.Retry(string(exit.Cause), now) {
			return false
		}
		r.at = nil
		d.sched.Retry(&r.task, now)
	}
	d.carryOutLocked(now, set)
	return true
}

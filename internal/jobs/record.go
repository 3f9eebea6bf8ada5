package jobs

import (
	"strings"
	"time"

	"supervisord/protocol"
)

// Record is what the daemon tells of the job now.
func (j *Job) Record() protocol.JobRecord {
	j.mu.Lock()
	defer j.mu.Unlock()
	metadata := j.Metadata
	if metadata == nil {
		metadata = []byte("{}")
	}
	return protocol.JobRecord{
		JobID: j.ID, PluginName: j.Plugin, Pool: j.poolLocked(), Status: j.status, Priority: j.Priority,
		CreatedAt: j.Created.UTC(), StartedAt: utc(j.started), CompletedAt: utc(j.ended),
		Client: protocol.JobClient{UID: j.UID, PID: j.PID}, Metadata: metadata,
		Attempts: append([]protocol.Attempt{}, j.attempts...), Chunks: j.chunks, Error: j.err,
		Usage: j.usageLocked(time.Now()), FirstSeq: j.chunks - j.backlog.count,
	}
}

// poolLocked is where the job runs, or has to; "" while that is open.
func (j *Job) poolLocked() string {
	if n := len(j.attempts); n > 0 {
		worker := j.attempts[n-1].Worker
		return worker[:max(0, strings.LastIndexByte(worker, '/'))]
	}
	return j.Pool
}

// usageLocked is how long the job has waited and run, or did.
func (j *Job) usageLocked(now time.Time) protocol.Usage {
	until := now
	if !j.ended.IsZero() {
		until = j.ended
	}
	started := until
	if !j.started.IsZero() {
		started = j.started
	}
	return protocol.Usage{
		WaitMS: *protocol.Milliseconds(max(0, started.Sub(j.Created))),
		RunMS:  *protocol.Milliseconds(max(0, until.Sub(started))),
	}
}

func utc(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

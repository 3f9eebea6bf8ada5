package jobs

import (
	"sync"
	"time"

	"supervisord/internal/outq"
	"supervisord/protocol"
)

// Spec is what a client asked for. It does not change.
type Spec struct {
	// ID is the caller's own id; empty lets the registry make one.
	ID string
	// Plugin, and Pool where the caller named one.
	Plugin, Pool string
	// Params is a JSON object that has passed protocol.CheckParams. The job owns the bytes.
	Params []byte
	// Metadata is a JSON object, nil for none.
	Metadata []byte
	// Stream says that the caller wants chunks.
	Stream bool
	// Continue lets the job live on when its caller has left.
	Continue bool
	Priority int
	UID      uint32
	PID      int
	// Timeout bounds the job from Created on, waiting included; 0 does not.
	Timeout time.Duration
	// MaxWait bounds the time in the queue where HasMaxWait; 0 means only if it can start now.
	MaxWait    time.Duration
	HasMaxWait bool
	// Created is when the request was read.
	Created time.Time
}

// Caller is who asked for a job. Its methods are called with the job's lock held, must not block and must not call the
// job back. What they append is flushed with the Set.
type Caller interface {
	// Chunk passes on chunk number seq, which is valid during the call. False refuses it for want of room: the caller
	// will call Job.Feed, and gets the same chunk again.
	Chunk(seq int64, chunk, metadata []byte, final bool, set *outq.Set) bool
	// Progress passes on what the worker said of its progress (a JSON number or null) and a JSON string. It may be lost.
	Progress(progress, message []byte, set *outq.Set)
	// Keep is asked before the job keeps n bytes of its result, since chunks before it have been refused for want of room.
	// False says that this is more than may be kept for this caller: Done then gets no data, and answers accordingly.
	Keep(n int) bool
	// Done is called once, after the last chunk: with the worker's data, valid during the call, or with an error.
	Done(data []byte, chunks int64, err *protocol.Error, set *outq.Set)
}

// Holder is a worker's link reader that waits because a job's backlog is full.
type Holder interface {
	// Resume wakes it. It must not block.
	Resume()
}

// Flow says what became of a chunk.
type Flow uint8

const (
	// Flowing says: go on.
	Flowing Flow = iota
	// Full says that the backlog has reached its limit. The chunk was taken.
	Full
)

// Job is one execution of a plugin. Its methods are safe for concurrent use.
type Job struct {
	Spec
	// LinkID is the id by which the worker knows the job: ID where the registry made it.
	LinkID string
	// Handle is the executor's own, guarded by its lock.
	Handle any

	registry *Registry
	number   uint64 // in LinkID
	chosen   bool   // ID is the caller's own
	limit    int    // of the backlog, in bytes

	mu       sync.Mutex
	status   protocol.JobStatus
	started  time.Time
	ended    time.Time
	first    [1]protocol.Attempt // storage for attempts: most jobs have one
	attempts []protocol.Attempt
	caller   Caller // nil when nobody watches, and after Done
	chunks   int64  // produced
	backlog  backlog
	holder   Holder
	ending   *Ending
	data     []byte // of a success whose chunks are still on their way to the caller
	err      *protocol.Error
	how      protocol.How
	done     chan struct{} // made by the first who waits; closed at the end
}

// Start hands the job to the executor. It is called once; Caller.Done is called once after it, perhaps before it returns.
func (j *Job) Start(set *outq.Set) {
	j.registry.counts.queued.Add(1)
	j.registry.opts.Executor.Submit(j, set)
}

// JobID is the id by which clients know the job.
func (j *Job) JobID() string { return j.ID }

// Owner is the user who asked for it.
func (j *Job) Owner() uint32 { return j.UID }

// Cancel ends the job on behalf of by, a protocol.By constant; with force its worker is killed at once. A later call
// changes nothing but by its force.
func (j *Job) Cancel(by string, force bool, set *outq.Set) {
	code := protocol.CodeCancelled
	switch by {
	case protocol.ByOperator, protocol.ByShutdown, protocol.ByReload:
		code = protocol.CodeServerCancelled
	}
	j.registry.opts.Executor.End(j, Ending{Code: code, By: by, Force: force}, set)
}

// TooSlow ends the job because its caller does not read what it asked for; so much of it waits.
func (j *Job) TooSlow(buffered int64, set *outq.Set) {
	e := Ending{Code: protocol.CodeClientTooSlow, By: protocol.CodeClientTooSlow.Kind(), Bytes: buffered}
	j.registry.opts.Executor.End(j, e, set)
}

// Running says that an attempt has begun. It is called with the executor's lock held.
func (j *Job) Running(worker string, incarnation uint64, pid int, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.status.Terminal() {
		return
	}
	j.status, j.started = protocol.JobRunning, now
	j.registry.counts.started()
	if j.attempts == nil {
		j.attempts = j.first[:0]
	}
	j.attempts = append(j.attempts, protocol.Attempt{Worker: worker, Incarnation: incarnation, PID: pid, StartedAt: now.UTC()})
}

// Pending says that the attempt never reached its process, and the job waits again.
func (j *Job) Pending() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.status != protocol.JobRunning {
		return
	}
	j.status, j.started = protocol.JobPending, time.Time{}
	j.registry.counts.requeued()
	j.attempts = j.attempts[:len(j.attempts)-1]
}

// Retry says that the attempt has ended, by a cause, and asks for another: the job waits again. False refuses, since the
// job is to end, or its caller may have seen a part of what it has done.
func (j *Job) Retry(endedBy string, now time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.status != protocol.JobRunning || j.ending != nil || j.chunks > 0 {
		return false
	}
	j.status, j.started = protocol.JobPending, time.Time{}
	j.registry.counts.requeued()
	at := now.UTC()
	last := &j.attempts[len(j.attempts)-1]
	last.EndedAt, last.EndedBy = &at, endedBy
	return true
}

// Attempts is how often the job has run, or has begun to.
func (j *Job) Attempts() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.attempts)
}

// Held reports whether a link reader waits for room: what the worker has to say cannot be heard meanwhile.
func (j *Job) Held() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.holder != nil
}

// Chunk takes the next chunk from the worker, in the form it has on the wire; the slices are valid during the call.
func (j *Job) Chunk(chunk, metadata []byte, final bool, set *outq.Set) Flow {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.status.Terminal() || j.ending != nil {
		return Flowing // nobody wants them any more, and the worker must not wait
	}
	seq := j.chunks
	j.chunks++
	if j.caller == nil || !j.Stream {
		return Flowing
	}
	if j.backlog.empty() && j.caller.Chunk(seq, chunk, metadata, final, set) {
		return Flowing
	}
	j.backlog.push(chunk, metadata, final)
	if j.backlog.size() < j.limit {
		return Flowing
	}
	return Full
}

// Backlog is the number of bytes of chunks that the caller has not taken.
func (j *Job) Backlog() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.backlog.size()
}

// HoldFor reports whether a link reader should still wait for room. If so, h will be resumed when that changes.
func (j *Job) HoldFor(h Holder) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.status.Terminal() || j.ending != nil || j.caller == nil || j.backlog.empty() || j.backlog.size() < j.limit {
		return false
	}
	j.holder = h
	return true
}

func (j *Job) releaseLocked() {
	if j.holder != nil {
		j.holder.Resume()
		j.holder = nil
	}
}

// Progress passes on what the worker says of its progress.
func (j *Job) Progress(progress, message []byte, set *outq.Set) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.caller == nil || !j.Stream || j.status.Terminal() || j.ending != nil {
		return
	}
	j.caller.Progress(progress, message, set)
}

// Feed is the caller saying that it has room again.
func (j *Job) Feed(set *outq.Set) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.feedLocked(set)
}

func (j *Job) feedLocked(set *outq.Set) {
	if j.caller == nil {
		return
	}
	for !j.backlog.empty() {
		seq, chunk, metadata, final := j.backlog.first(j.chunks)
		if !j.caller.Chunk(seq, chunk, metadata, final, set) {
			break
		}
		j.backlog.pop()
	}
	if j.backlog.size() < j.limit/2 || j.backlog.empty() {
		j.releaseLocked()
	}
	if j.status.Terminal() && j.backlog.empty() {
		j.answerLocked(j.data, set)
	}
}

// answerLocked answers the caller, who is then no more.
func (j *Job) answerLocked(data []byte, set *outq.Set) {
	caller := j.caller
	j.caller, j.data = nil, nil
	j.backlog = backlog{}
	caller.Done(data, j.chunks, j.err, set)
}

// Leave says that the caller is gone: it gets nothing more. It reports whether the job is to be cancelled for it.
func (j *Job) Leave() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.caller, j.data = nil, nil
	j.backlog = backlog{}
	j.releaseLocked()
	return !j.Continue && !j.status.Terminal()
}

// Chunks is how many chunks the worker has produced.
func (j *Job) Chunks() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.chunks
}

// Finish puts the job into its terminal state: completed with data (valid during the call) where err is nil, else failed
// or cancelled. The first call wins; it reports whether this was it. endedBy is protocol.EndedByResult or a cause, how
// is how far a cancel had to go.
func (j *Job) Finish(data []byte, err *protocol.Error, endedBy string, how protocol.How, now time.Time, set *outq.Set) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.status.Terminal() {
		return false
	}
	if j.ending != nil {
		cause := err
		err, data = j.ending.wireError(how, j.chunks), nil
		if err.Code == protocol.CodeWorkerDied && cause != nil { // the last words of its process belong to the answer
			err.Data.StderrTail = cause.Data.StderrTail
		}
		endedBy = j.ending.By
	}
	before := j.status
	switch {
	case err == nil:
		j.status = protocol.JobCompleted
	case err.Code == protocol.CodeCancelled || err.Code == protocol.CodeServerCancelled || err.Code == protocol.CodeSuperseded:
		j.status = protocol.JobCancelled
	default:
		j.status = protocol.JobFailed
	}
	if err != nil {
		err.Data.JobID = j.ID
	}
	j.ended, j.err = now.UTC(), err
	if j.ending != nil {
		j.how = how
	}
	if n := len(j.attempts); n > 0 && before != protocol.JobPending {
		j.attempts[n-1].EndedAt, j.attempts[n-1].EndedBy = &j.ended, endedBy
		if err != nil && (err.Code == protocol.CodeWorkerDied || err.Code == protocol.CodeQuarantined) {
			err.Data.Attempts = j.attempts
		}
	}
	if j.ending != nil {
		j.backlog = backlog{}
	}
	j.releaseLocked()
	if err != nil && err.Code == protocol.CodeQuarantined {
		j.registry.quarantine(j)
	}
	j.registry.ended(j, before, j.status) // before the answer, after which a caller may use his id again
	if j.caller != nil {
		if j.backlog.empty() {
			j.answerLocked(data, set)
		} else {
			j.keepLocked(data)
		}
	}
	if j.done != nil {
		close(j.done)
	}
	return true
}

// keepLocked keeps the result until the caller has taken the chunks before it, as far as he may have so much kept.
func (j *Job) keepLocked(data []byte) {
	n := len(data)
	if j.err != nil {
		n = j.err.Size()
	}
	switch {
	case j.caller.Keep(n):
		j.data = append([]byte(nil), data...)
	case j.err != nil:
		j.err = j.err.Short()
	}
}

// Done is closed when the job has ended.
func (j *Job) Done() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.done == nil {
		j.done = make(chan struct{})
		if j.status.Terminal() {
			close(j.done)
		}
	}
	return j.done
}

// Outcome is the terminal state and how far a cancel had to go ("" where none was asked for). Zero before the end.
func (j *Job) Outcome() (protocol.JobStatus, protocol.How) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.status.Terminal() {
		return "", ""
	}
	return j.status, j.how
}

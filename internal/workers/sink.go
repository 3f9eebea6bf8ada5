package workers

import (
	"supervisord/internal/outq"
	"supervisord/protocol"
)

// Sink is told what becomes of a pool's workers. Its methods are called by the owners of workers, without any lock, must
// not block, and may call the Pool's and the Incarnation's methods. For one incarnation they come in this order: Up once,
// Due at any time after that, Down once; then, when its exit has been seen, Lost of each Job it still holds, and last
// Ended, Retired or ReplaceFailed. An incarnation that never was ready has only that last one. What is told of the two
// processes that a slot may have keeps the order in which it happened, but for a WorkerUp, which may come before or after
// the WorkerRetired of the other.
type Sink interface {
	// WorkerUp says that inc has answered init and takes jobs. Where the slot has had another process, inc is its worker
	// from now on; the other takes jobs until it is retired.
	WorkerUp(inc *Incarnation)
	// WorkerDown says that inc takes no more jobs. Those it has go on until their own end.
	WorkerDown(inc *Incarnation)
	// WorkerDue says that inc should be replaced: it has reached MaxJobs, MaxAge or MaxMemory, or it goes on only for the
	// sake of the jobs beside one that ignores its cancel. It comes once, and again some time after a ReplaceFailed.
	WorkerDue(inc *Incarnation, reason string)
	// WorkerEnded says that the slot has no process, and what comes next. It also follows without an exit when a slot
	// that was gone is started again after all.
	WorkerEnded(p *Pool, slot int, fate Fate)
	// WorkerRetired says that of the two processes of a slot the older one has ended. The other is, or is to be, its
	// worker.
	WorkerRetired(p *Pool, slot int)
	// ReplaceFailed says that the successor that Pool.Replace has started has ended without getting ready; the process
	// that it should have replaced is there as before.
	ReplaceFailed(p *Pool, slot int, exit *Exit)
	// Rolled says what has become of a generation that Pool.Roll has brought: with nil it is the pool's current one, else
	// it was given up, and err is a *RollError. It is called once for each, perhaps before Roll has returned.
	Rolled(p *Pool, generation uint64, err error)
}

// Fate is what becomes of a slot whose process has ended.
type Fate uint8

// The values of Fate.
const (
	// FateComing: its worker starts another process without being asked.
	FateComing Fate = iota + 1
	// FateFree: it stays empty until Pool.Start.
	FateFree
	// FateGone: it stays empty; where a probe is still tried and succeeds, WorkerUp tells.
	FateGone
)

// Job is what an incarnation was given by Execute. Its methods are called by the link's reader, but for Lost and
// Unresponsive, which are called by the worker's owner; all of them without any lock. They must not block: what they
// append to queues is flushed with set. After Result or Lost nothing is called any more.
type Job interface {
	// ID is the id by which clients know the job. Execute calls it, so it takes no lock that Execute's caller has.
	ID() string
	// Chunk passes on a piece of the job's stream; the slices, JSON texts without raw newlines, are valid during the
	// call. metadata is never nil. True asks the reader to wait for room: see Hold.
	Chunk(chunk, metadata []byte, final bool, set *outq.Set) (full bool)
	// Crowded follows a Chunk that has returned true where the reader cannot wait, since the process has other jobs, too.
	Crowded(set *outq.Set)
	// Oversized says that a chunk was over the limit and has been dropped: the job, which goes on, is of no use any more.
	Oversized(limit int64, set *outq.Set)
	// Hold reports whether the reader should still wait. If so, h is resumed when that changes.
	Hold(h Holder) bool
	// Progress passes on what the worker says of its progress: a JSON number or null, and a JSON string.
	Progress(progress, message []byte, set *outq.Set)
	// Logged says that the worker has logged something about the job, which shows that it is alive.
	Logged(set *outq.Set)
	// Result ends the job: r and what it points to are valid during the call.
	Result(r *Result, set *outq.Set)
	// Unresponsive says that the job has ignored its cancel for the grace period, while others run beside it. It still
	// occupies the worker; Result or Lost follows, or has come at the same moment.
	Unresponsive(set *outq.Set)
	// Lost ends the job: its process has ended without a result. unread is the proof that it was never begun: no byte of
	// it was read by the process or a descendant.
	Lost(exit *Exit, unread bool, set *outq.Set)
}

// Holder is a reader that waits.
type Holder interface {
	// Resume wakes it. It does not block.
	Resume()
}

// Result is what a worker answered to a job.
type Result struct {
	// Status is one of protocol.StatusSuccess, StatusError and StatusCancelled.
	Status string
	// Data is the JSON text of a success, nil for none.
	Data []byte
	// Error and Info belong to an error.
	Error string
	Info  *protocol.ErrorInfo
	// TooLarge is the limit that the answer was over, else 0. Then nothing else is set.
	TooLarge int64
}

// Execution is what a job is sent as.
type Execution struct {
	// LinkID is the id on the link: letters, digits, '.', '_', ':' and '-', never used before.
	LinkID string
	Plugin string
	Stream bool
	// Params is a JSON object that has passed protocol.CheckParams, or nil. It must not change while the job runs.
	Params []byte
	// DeadlineMS is what is left of the job's time, nil where it has no limit; Metadata a JSON object or nil. Both go to
	// workers with protocol.FeatureMeta alone.
	DeadlineMS *int64
	Metadata   []byte
}

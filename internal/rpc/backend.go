package rpc

import (
	"time"

	"supervisord/internal/outq"
	"supervisord/protocol"
)

// Backend is the daemon behind the front door. Its methods do not block and are safe for concurrent use.
type Backend interface {
	// Make makes a job, which begins with its Start. The error is for the caller.
	Make(x Execution, caller Caller) (Job, *protocol.Error)
	// Find returns the job that the user knows by this id, or with admin anybody's; nil for none.
	Find(jobID string, uid uint32, admin bool) Job
	// Plugins, Pools and Workers are what plugin.list, pool.list and worker.list tell.
	Plugins() []protocol.Plugin
	Pools() []protocol.Pool
	Workers() []protocol.Worker
	// Status is what daemon.status tells, but for the number of connections.
	Status() protocol.DaemonStatus
}

// Caller is what a job is answered to. Its methods are called with the job's lock held, do not block and do not call the
// job back. What they append is flushed with the set.
type Caller interface {
	// Chunk passes on chunk number seq, valid during the call. False refuses it for want of room: Job.Feed will be
	// called, and gets the same chunk again.
	Chunk(seq int64, chunk, metadata []byte, final bool, set *outq.Set) bool
	// Progress passes on a JSON number or null, and a JSON string.
	Progress(progress, message []byte, set *outq.Set)
	// Done is called once, after the last chunk: with the worker's data, valid during the call, or with an error.
	Done(data []byte, chunks int64, err *protocol.Error, set *outq.Set)
}

// Job is a job as its connection sees it. Its methods do not block.
type Job interface {
	// JobID is the id by which clients know it.
	JobID() string
	// Start hands it on; it is called once.
	Start(set *outq.Set)
	// Feed says that there is room for chunks again.
	Feed(set *outq.Set)
	// Leave says that the caller is gone. It reports whether the job is to be cancelled for it.
	Leave() bool
	// Cancel ends it on behalf of by, a protocol.By constant; with force, by killing its worker at once.
	Cancel(by string, force bool, set *outq.Set)
	// TooSlow ends it because its caller does not read; so many bytes wait.
	TooSlow(buffered int64, set *outq.Set)
	// Done is closed when it has ended; Outcome then tells how.
	Done() <-chan struct{}
	Outcome() (protocol.JobStatus, protocol.How)
	// Owner is the user who asked for it.
	Owner() uint32
}

// Execution is what a client asks for by execute.
type Execution struct {
	Plugin, Pool string
	// JobID is the caller's own, empty for none.
	JobID string
	// Params and Metadata are JSON objects, nil for none. The bytes are the job's.
	Params, Metadata []byte
	Stream           bool
	// Continue lets the job live on when its caller has left.
	Continue bool
	Priority int
	// Timeout bounds the job from Created on, waiting included; 0 does not.
	Timeout time.Duration
	// MaxWait bounds the time in the queue where HasMaxWait; 0 means only if it can start now.
	MaxWait    time.Duration
	HasMaxWait bool
	// Created is when the request was read.
	Created time.Time
	// UID and PID are the caller's, as the kernel reports them.
	UID uint32
	PID int
}

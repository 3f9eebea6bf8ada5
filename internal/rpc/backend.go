package rpc

import (
	"context"
	"time"

	"supervisord/internal/outq"
	"supervisord/protocol"
)

// Backend is the daemon behind the front door. Its methods are safe for concurrent use. Those without a context do not
// block.
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
	Admin
}

// Admin is what of the daemon the methods ask that name one pool, plugin or worker, or that change something. An error is
// for the caller: 1004, 1005 or 1007 with the nearest names in known for what does not exist, 1008 where the state of the
// pool does not let it.
//
// Methods with a context may take long. They are called on a goroutine of their own and return soon after the context has
// ended, with whatever error; what they have begun goes on.
type Admin interface {
	// Reload reads the configuration again and does what it says. Where it is not valid the error is 1013 with problems,
	// and nothing has changed. One that is called while another is under way waits for it and then runs; those that wait
	// together run as one.
	Reload(ctx context.Context) (protocol.DaemonReloadResult, *protocol.Error)
	// ReloadPlugin and UnloadPlugin reach every worker of the pools that offer the plugin, in turn and between jobs, or of
	// the one pool that is named; "" names none. config is a JSON object, nil for the configured one; the bytes are the
	// callee's.
	ReloadPlugin(ctx context.Context, plugin, pool string, config []byte) ([]protocol.PluginWorker, *protocol.Error)
	UnloadPlugin(ctx context.Context, plugin, pool string) ([]protocol.PluginWorker, *protocol.Error)
	// Pool returns one pool.
	Pool(name string) (protocol.Pool, *protocol.Error)
	// ScalePool sets the bounds of a pool's number of workers until the next reload; nil leaves one as it is. Each is
	// within its own range, and where both are given minWorkers is at most maxWorkers; where one is, and is at odds with
	// the other one as it is, the error is protocol.InvalidParams.
	ScalePool(name string, minWorkers, maxWorkers *int) (protocol.Pool, *protocol.Error)
	// RestartPool replaces all workers of a pool, one by one, and forgets its failed starts. It returns when the last
	// one was replaced; where a successor does not become ready, the error is 1008, and the workers that are left stay.
	RestartPool(ctx context.Context, name string) (protocol.Pool, *protocol.Error)
	// PausePool lets a pool's jobs wait until ResumePool. Of a pool that is as it shall be they change nothing.
	PausePool(name string) (protocol.Pool, *protocol.Error)
	ResumePool(name string) (protocol.Pool, *protocol.Error)
	// WorkerState asks an idle worker what it has loaded, and tells of a busy one what is known.
	WorkerState(ctx context.Context, worker string) (protocol.WorkerGetStateResult, *protocol.Error)
	// StopWorker ends a worker's process when its jobs have ended, or with force at once, and starts its successor. It
	// returns when the process has ended.
	StopWorker(ctx context.Context, worker string, force bool) (protocol.Worker, *protocol.Error)
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
	// Keep is asked before n bytes of an answer are kept for which there is no room yet; false says that it is too much,
	// and Done then answers with that.
	Keep(n int) bool
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

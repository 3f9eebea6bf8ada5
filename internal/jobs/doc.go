// Package jobs holds what a job is: its record, its states, its stream of chunks, and who is to be answered.
//
// The life of a job, from a client's request to its one answer:
//
//	Registry.Make             makes the Job and gives it an id
//	Job.Start                 hands it to the Executor
//	  Executor.Submit         grants it a worker now, or lets it wait, or refuses
//	Job.Running               an attempt began on one incarnation
//	Job.Chunk, Job.Progress   go to the Caller as long as it has room, then into the backlog
//	Job.Finish                the terminal state, once; the Caller is answered after its last chunk
//
// A Caller never blocks: it refuses a chunk when it has no room, and calls Feed when it has. The job keeps what was
// refused, in order. When the backlog reaches its limit, Chunk reports Full, and the reader of a worker that runs
// nothing else waits (HoldFor) until there is room or the job has ended.
//
// Locks: a job's lock is taken after the executor's and before a connection's; Caller's methods are called with it held,
// so that chunks and answer keep their order. The registry's lock is a leaf.
//
// This package knows neither connections nor processes.
package jobs

// Package workers owns worker processes: it starts them, shakes hands, reads what they say, notices their end and
// replaces them.
//
//	Pool                  the workers that run the same command (pool.go), and what is shown of them (status.go)
//	  slot                one place, and what outlives its processes (slot.go); has a worker, for a while two
//	    restarts          when the next process comes (policy.go), and whether the pool probes (circuit.go)
//	    settle            what follows the end of a process (settle.go)
//	    Worker            keeps the slot alive; one goroutine owns it (worker.go, lifecycle.go), which moves it by
//	                      the table in state.go
//	      mailbox, alarms how the owner is told of things, and of the time
//	      Incarnation     one process and its link (incarnation.go), from spawn to seen exit
//	        jobs          those that the process has (table.go)
//	        frames        what is sent to it (frames.go), by way of its output queue
//	        link          the reader of its frames (link.go)
//	        output        its stdout, its stderr and its log messages as log lines (output.go)
//	        watch         pipes that it has closed, frames that do not end (watch.go)
//	  generation          the options of a pool, and how new ones take their place (generation.go)
//
// The operating system's side of a process is package process.
//
// The life of a job: Sink's owner gives it to an Incarnation by Execute, which puts it into the table of jobs and its
// frame into the queue at once. The link's reader finds it there for each chunk and takes it out with its result; what
// is left when the process has ended is Lost, and whether any of it was read is known (unread.go). A job that shall end
// early goes up the cancel ladder (ladder.go), whose last rungs end the process. A command (ask.go) is had only while
// there is no job; what is loaded follows from its answer (residency.go).
//
// A process is replaced without a gap by three steps: Pool.Replace starts a second one in its slot, Sink.WorkerUp says
// that it is ready and from then on the slot's worker, Pool.Retire ends the first one when it has ended its jobs. Why and
// when is for Sink's owner to decide: because it is due (recycle.go), or because Incarnation.Current says that its options
// are not the pool's any more.
//
// Exit is decided by the process's pidfd, never by the end of a pipe; what the process wrote before its death still
// counts. Processes are signalled and reaped by the owner alone, so no signal can reach another's pid.
//
// Locks: Pool.mu and Incarnation.mu are taken after the lock of Sink's owner, never both; Pool.mu before that of a
// mailbox, Incarnation.mu before that of an output queue or a mailbox; all others are leaves. None is held while Sink or a
// Job is called, except that Execute calls Job.ID under its caller's.
//
// This package knows neither clients nor jobs beyond the id that a worker sees.
package workers

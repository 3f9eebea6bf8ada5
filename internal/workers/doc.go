// Package workers owns worker processes: it starts them, shakes hands, reads what they say, notices their end and
// replaces them.
//
//	Pool                  the workers that run the same command (pool.go), and what is shown of them (status.go)
//	  Worker              one slot, kept alive; one goroutine owns it (worker.go), which moves it by the table in state.go
//	    mailbox, alarms   how the owner is told of things, and of the time
//	    restarts          what follows an exit (policy.go)
//	    Incarnation       one process and its link (incarnation.go), from spawn to seen exit
//	      process         the operating system's side: spawn, signals, exit (process_linux.go)
//	      frames          what is sent to it (frames.go), by way of its output queue
//	      link            the reader of its frames (link.go)
//	      output          its stdout, its stderr and its log messages as log lines (output.go)
//
// The life of a job: Sink's owner gives it to an Incarnation by Execute, which puts it into the table of jobs and its
// frame into the queue at once. The link's reader finds it there for each chunk and takes it out with its result; what
// is left when the process has ended is Lost. A job that shall end early goes up the cancel ladder (ladder.go), whose
// last rungs end the process.
//
// Exit is decided by the process's pidfd, never by the end of a pipe; what the process wrote before its death still
// counts. Processes are signalled and reaped by the owner alone, so no signal can reach another's pid.
//
// Locks: Incarnation.mu is taken after the lock of Sink's owner and before that of an output queue; all others are
// leaves. None is held while Sink or a Job is called, except that Execute calls Job.ID under its caller's.
//
// This package knows neither clients nor jobs beyond the id that a worker sees.
package workers

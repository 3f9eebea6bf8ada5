// Package workers owns worker processes: it starts them, shakes hands, reads what they say, notices their end and
// replaces them.
//
//	Pool                  the workers that run the same command
//	  Worker              one slot, kept alive; one goroutine owns its state (worker.go), moving by the table in state.go
//	    Incarnation       one process and its link (incarnation.go), from spawn to seen exit
//	      process         the operating system's side: spawn, signals, exit (process_linux.go)
//	      link            the reader of its frames (link.go) and its output queue
//	      output          its stdout and stderr as log lines (output.go)
//
// Who asks for work is behind Sink: the reader of a link hands it results and chunks, the owner tells it when an
// incarnation is up and when it is gone. Exit is decided by the process's pidfd, never by the end of a pipe; what the
// process wrote before its death still counts.
//
// Locks: none is held while Sink is called. Incarnation's methods that Sink's owner calls under its own lock (Execute,
// Cancel, Kill) only append to the output queue or to a mailbox.
//
// This package knows neither clients nor jobs beyond the id that a worker sees.
package workers

package workers

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/internal/process"
	"supervisord/protocol"
)

// Exit is how an incarnation ended. It does not change.
type Exit struct {
	// Cause is one of the protocol's, or protocol.ExitStopped where the daemon meant it.
	Cause protocol.Cause
	// Code is the exit status; nil after a signal or when there was no process.
	Code *int
	// Signal is its name, "SIGKILL"; empty after an exit.
	Signal string
	// Message is one line for people: what happened.
	Message string
	// Stderr are the last lines of its stderr, oldest first.
	Stderr []string
	// How is the rung of the ladder on which a wanted end came; empty when it ended by itself.
	How  protocol.How
	Time time.Time

	kind endKind
	// final: the worker asked not to be restarted.
	final bool
	// succeeded: a job ended with success.
	succeeded bool
}

// LastExit is the exit in the shape of the client protocol.
func (e *Exit) LastExit() *protocol.LastExit {
	return &protocol.LastExit{Cause: string(e.Cause), ExitCode: e.Code, Signal: e.Signal, Message: e.Message, Time: e.Time.UTC()}
}

// Error is the 1001 for a job that the exit took with it.
func (e *Exit) Error(worker string) *protocol.Error {
	err := protocol.NewError(protocol.CodeWorkerDied, fmt.Sprintf("worker %s died: %s", worker, e.Message))
	err.Data.Cause, err.Data.ExitCode, err.Data.Signal, err.Data.StderrTail = e.Cause, e.Code, e.Signal, e.Stderr
	if e.Cause == protocol.ExitStopped { // a sibling's cancel took it along
		if err.Data.Cause = protocol.CauseSignal; e.Signal == "" {
			err.Data.Cause = protocol.CauseExit
		}
	}
	return err
}

// classify fills cause, code, signal and message from what the kernel says.
func (e *Exit) classify(ended *process.Exit) {
	switch status := ended.Status; {
	case status.Signaled():
		e.Cause, e.Signal = protocol.CauseSignal, unix.SignalName(status.Signal())
		e.Message = "killed by " + e.Signal
		if status.CoreDump() {
			e.Message += " (core dumped)"
		}
	default:
		code := status.ExitStatus()
		e.Cause, e.Code = protocol.CauseExit, &code
		e.Message = fmt.Sprintf("exited with status %d", code)
		e.final = code == protocol.ExitDoNotRestart
	}
}

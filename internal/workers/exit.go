package workers

import (
	"fmt"
	"time"

	"go.uber.org/zap"
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
	// Pilot: it was the first process of a generation, which was given up because of it.
	Pilot bool

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
	status := ended.Status
	switch {
	case ended.Start != nil:
		e.Cause, e.Message = protocol.CauseStartFailed, "start: "+oneLine(ended.Start.Error())
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
		if e.final = code == protocol.ExitDoNotRestart; e.final {
			e.Message += " (asks not to be restarted)"
		}
	}
}

// classifyKill says more of a SIGKILL that the daemon has not sent.
func (e *Exit) classifyKill(oom *process.OOM) {
	switch {
	case oom == nil:
		e.Message += ", not by the daemon: perhaps out of memory"
		return
	case oom.Limit > 0:
		e.Message = fmt.Sprintf("killed by the kernel: it was over its memory limit of %d bytes", oom.Limit)
	default:
		e.Message = "killed by the kernel, which was out of memory"
	}
	if e.Cause = protocol.CauseOOM; oom.Peak > 0 {
		e.Message += fmt.Sprintf(" (peak %d bytes)", oom.Peak)
	}
}

// classify says how the process ended and why.
func (w *Worker) classify(ended *process.Exit, err error) *Exit {
	inc := w.inc
	exit := &Exit{Time: time.Now(), kind: endCrashed, Stderr: inc.output.stderrTail(), succeeded: inc.succeeded.Load()}
	if err != nil {
		inc.log.Error("reaping worker process", zap.Error(err))
		exit.Cause, exit.Message = protocol.CauseExit, "exit status unknown"
	} else {
		exit.classify(ended)
	}
	if ended != nil && ended.Leftover {
		inc.log.Error("the kernel does not end all that the worker has started")
	}
	d := w.doom
	if fault := inc.link.fault; d.kind == 0 && fault != nil { // found in what it left behind
		d = protocolFault(fault)
	}
	switch d.kind {
	case endPlanned, endKilled:
		exit.kind, exit.Cause, exit.Message = d.kind, d.cause, d.message+": "+exit.Message
		switch w.rung {
		case rungTerm:
			exit.How = protocol.HowTerminated
		case rungKill:
			exit.How = protocol.HowKilled
		case rungNone, rungAsked:
		}
		return exit
	case endCrashed:
		exit.Cause, exit.Message = d.cause, d.message
		if w.rung == rungKill { // the signal was ours and says nothing
			exit.Code, exit.Signal = nil, ""
		}
	default:
		if exit.Signal == "SIGKILL" {
			exit.classifyKill(ended.OOM)
		}
		if inc.ready == nil && exit.Cause != protocol.CauseStartFailed {
			exit.Message += " before it was ready"
		}
	}
	if inc.ready == nil {
		exit.Cause = protocol.CauseStartFailed
	}
	if inc.link.reason != "" {
		exit.Message += ": " + inc.link.reason
	}
	return exit
}

func protocolFault(err error) doom {
	return doom{kind: endCrashed, cause: protocol.CauseProtocol, message: "protocol error: " + oneLine(err.Error())}
}

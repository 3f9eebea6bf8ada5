package jobs

import (
	"fmt"
	"time"

	"supervisord/protocol"
)

// Ending is why somebody other than the worker ends a job: a cancel, a deadline, a client that does not read.
type Ending struct {
	// Code is CodeCancelled, CodeServerCancelled, CodeDeadlineExceeded, CodeClientTooSlow, CodeResultTooLarge, or
	// CodeWorkerDied for a job that has stalled.
	Code protocol.Code
	// By is the protocol.By constant of a cancel; for the other codes it is the kind, for the attempt's record.
	By string
	// Phase belongs to CodeDeadlineExceeded, Limit also to CodeWorkerDied: for how long nothing was heard.
	Phase protocol.Phase
	Limit time.Duration
	// Worker belongs to CodeWorkerDied: where the job ran.
	Worker string
	// Bytes belongs to CodeClientTooSlow, what waits, and to CodeResultTooLarge, the limit.
	Bytes int64
	// Force asks for SIGKILL at once.
	Force bool
}

// End notes that the job is to end. The first reason stays; later calls report false. From now on its chunks are
// dropped, so that a worker blocked in write can see the cancel.
func (j *Job) End(e Ending) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.status.Terminal() || j.ending != nil {
		return false
	}
	j.ending = &e
	j.backlog = backlog{}
	j.releaseLocked()
	return true
}

// Ending reports whether somebody has asked for the job's end.
func (j *Job) Ending() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ending != nil
}

func (e *Ending) wireError(how protocol.How, chunks int64) *protocol.Error {
	if e.Code == protocol.CodeDeadlineExceeded {
		err := protocol.NewError(e.Code, fmt.Sprintf("deadline of %v exceeded in phase %s", e.Limit, e.Phase))
		err.Data.Phase, err.Data.LimitMS, err.Data.Chunks = e.Phase, protocol.Milliseconds(e.Limit), &chunks
		return err
	}
	if e.Code == protocol.CodeWorkerDied {
		err := protocol.NewError(e.Code, fmt.Sprintf("worker %s was stopped: nothing was heard of the job for %v", e.Worker, e.Limit))
		err.Data.Cause, err.Data.Chunks = protocol.CauseStalled, &chunks
		return err
	}
	if e.Code == protocol.CodeClientTooSlow {
		err := protocol.NewError(e.Code, "client does not read its stream")
		err.Data.Buffered = &e.Bytes
		return err
	}
	if e.Code == protocol.CodeResultTooLarge {
		err := protocol.NewError(e.Code, "a chunk of the worker is longer than a message may be")
		err.Data.Limit = e.Bytes
		return err
	}
	err := protocol.NewError(e.Code, "job cancelled by "+e.By)
	err.Data.How, err.Data.By = &how, e.By
	return err
}

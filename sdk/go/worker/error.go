package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"supervisord/protocol"
)

// ErrInline is what Job.Send returns to a function registered with Inline: the goroutine that reads from the daemon
// may never wait for the daemon to take a chunk.
var ErrInline = errors.New("worker: an inline function cannot stream")

// ErrCancelled is the cause of a job's context after the daemon has cancelled the job.
var ErrCancelled = errors.New("worker: the job was cancelled")

// ErrClosed is the cause of a job's context when the daemon has closed the link or Serve's context has ended.
var ErrClosed = errors.New("worker: the link to the daemon is closed")

// errAnswerCancelled makes the answer of a job the status cancelled. Functions cannot return it: only a job that the
// daemon has cancelled may be answered so.
var errAnswerCancelled = errors.New("cancelled")

// Category says whose doing an error is.
type Category string

// The categories that clients are told.
const (
	// UserInput: the params are wrong; the same call will fail again.
	UserInput Category = protocol.CategoryUserInput
	// Transient: it may well succeed when tried again.
	Transient Category = protocol.CategoryTransient
	// Resource: something ran out (memory, disk, a quota).
	Resource Category = protocol.CategoryResource
	// Fatal: the plugin is broken.
	Fatal Category = protocol.CategoryFatal
)

// Error is a job's failure with what a caller needs to decide what to do. Return one from a Function.
type Error struct {
	Category  Category
	Message   string
	Retriable bool
	// RetryAfter is how long to wait before a retry; 0 says nothing.
	RetryAfter time.Duration
	Traceback  string
	// FieldsInvalid names the params that are wrong.
	FieldsInvalid []string
	// Err is the cause, for errors.Is and errors.As; its text is the message where Message is empty.
	Err error
}

// Errorf returns an *Error of the category; Retriable is set for Transient. %w works as in fmt.Errorf.
func Errorf(category Category, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Category: category, Message: err.Error(), Retriable: category == Transient, Err: errors.Unwrap(err)}
}

// Error returns the message that the caller sees.
func (e *Error) Error() string {
	switch {
	case e.Message != "":
		return e.Message
	case e.Err != nil:
		return e.Err.Error()
	}
	return string(e.Category) + " error"
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// failed is the result message of a job whose function returned err.
func failed(id string, err error) *protocol.Result {
	if errors.Is(err, errAnswerCancelled) {
		return &protocol.Result{JobID: id, Status: protocol.StatusCancelled}
	}
	m := &protocol.Result{JobID: id, Status: protocol.StatusError, Error: err.Error()}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return m
	}
	m.ErrorInfo = &protocol.ErrorInfo{Category: string(e.Category), Retriable: &e.Retriable, Traceback: e.Traceback}
	if e.RetryAfter > 0 {
		m.ErrorInfo.RetryAfterSeconds = new(e.RetryAfter.Seconds())
	}
	if len(e.FieldsInvalid) > 0 {
		m.ErrorInfo.FieldsInvalid, _ = json.Marshal(e.FieldsInvalid) // strings always can
	}
	return m
}

package protocol

import (
	"fmt"
	"strings"
	"time"
)

// Error is the error object of a response: exactly these three members. It is a Go error, found with errors.As, so that
// any layer may return one and the edge puts it on the wire as it is.
type Error struct {
	Code    Code      `json:"code"`
	Message string    `json:"message"` // one short line for people
	Data    ErrorData `json:"data"`
}

// NewError returns an error with the kind and the default retryable of its code. The caller sets further data members.
func NewError(code Code, message string) *Error {
	return &Error{Code: code, Message: message, Data: ErrorData{Kind: code.Kind(), Retryable: code.Retryable()}}
}

// InvalidParams returns the error for params with these faults, of which the first is in its message.
func InvalidParams(faults ...Field) *Error {
	message := "invalid params"
	if len(faults) > 0 {
		message += ": " + faults[0].Path
		if faults[0].Path != "" {
			message += " "
		}
		message += faults[0].Reason
	}
	err := NewError(CodeInvalidParams, message)
	err.Data.Fields = faults
	return err
}

// Error returns the kind, the code and the message.
func (e *Error) Error() string {
	kind := e.Data.Kind
	if kind == "" {
		kind = e.Code.Kind()
	}
	return fmt.Sprintf("%s (%d): %s", kind, int(e.Code), e.Message)
}

// Size is about how many bytes the parts of the error hold that a worker may have made long.
func (e *Error) Size() int {
	n := len(e.Message)
	if info := e.Data.ErrorInfo; info != nil {
		n += len(info.Traceback) + len(info.FieldsInvalid)
	}
	return n
}

// Short is the error without the parts that may be long.
func (e *Error) Short() *Error {
	const longest = 1 << 10
	short := *e
	if len(short.Message) > longest {
		short.Message = strings.ToValidUTF8(short.Message[:longest], "") + " ..."
	}
	short.Data.ErrorInfo = nil
	return &short
}

// ErrorData is the data of an Error: kind and retryable always, every other member only with the codes named beside
// it and left out where absent. Members whose zero says something are pointers: new(0) is an exit code, nil is none.
type ErrorData struct {
	Kind      string `json:"kind"`
	Retryable bool   `json:"retryable"`
	JobID     string `json:"job_id,omitzero"` // wherever there is a job

	Reason   string  `json:"reason,omitzero"`   // -32700, -32600, 1008
	Offset   *int64  `json:"offset,omitzero"`   // -32700: bytes from the start of the message
	Method   string  `json:"method,omitzero"`   // -32601, 1009; cut to 100 bytes
	Incident string  `json:"incident,omitzero"` // -32603: names the entry in the daemon's log
	Fields   []Field `json:"fields,omitzero"`   // -32602

	// Limit names the limit with 1000 (a Limit constant) and is its value, an integer, with -32600 and 1015.
	Limit        any        `json:"limit,omitzero"`
	Queued       *int64     `json:"queued,omitzero"`         // 1000: jobs that wait
	RetryAfterMS *int64     `json:"retry_after_ms,omitzero"` // 1000, 1008
	How          *How       `json:"how,omitzero"`            // -32800, -32802
	By           string     `json:"by,omitzero"`             // -32800, -32802: a By constant; 1011: the job that took over
	Cause        Cause      `json:"cause,omitzero"`          // 1001
	ExitCode     *int       `json:"exit_code,omitzero"`      // 1001 with cause exit, and start_failed after an exit
	Signal       string     `json:"signal,omitzero"`         // 1001: "SIGKILL"
	StderrTail   []string   `json:"stderr_tail,omitzero"`    // 1001, 1008: the last lines, oldest first
	Attempts     []Attempt  `json:"attempts,omitzero"`       // 1001, 1012
	Chunks       *int64     `json:"chunks,omitzero"`         // 1001, 1003: chunks produced before the end
	ErrorInfo    *ErrorInfo `json:"error_info,omitzero"`     // 1002: what the worker sent
	Phase        Phase      `json:"phase,omitzero"`          // 1003
	LimitMS      *int64     `json:"limit_ms,omitzero"`       // 1003
	Known        []string   `json:"known,omitzero"`          // 1004 to 1007, 1008 for a plugin that is not known: the nearest names, best first
	State        PoolState  `json:"state,omitzero"`          // 1008
	UID          *uint32    `json:"uid,omitzero"`            // 1009
	Buffered     *int64     `json:"buffered_bytes,omitzero"` // 1010
	Problems     []Problem  `json:"problems,omitzero"`       // 1013
	File         string     `json:"file,omitzero"`           // 1013: the configuration's path, of which Problem.Line is a line
	FirstSeq     *int64     `json:"first_seq,omitzero"`      // 1016
	NextSeq      *int64     `json:"next_seq,omitzero"`       // 1016
}

// Field is one fault in params.
type Field struct {
	Path   string `json:"path"` // "params.job_id", "priority"; empty for params as a whole
	Reason string `json:"reason"`
}

// Problem is one fault in a configuration.
type Problem struct {
	Path    string `json:"path"` // "pools[0].command"
	Line    int    `json:"line"` // from 1, 0 where unknown
	Message string `json:"message"`
}

// Values of ErrorData.Limit with CodeOverloaded.
const (
	LimitQueue       = "queue"
	LimitInFlight    = "in_flight"
	LimitConnections = "connections"
)

// How says by which means a job or a request was ended.
type How string

// The values of How, from the gentlest on.
const (
	HowQueued      How = "queued"      // it had not started
	HowCooperative How = "cooperative" // the worker stopped it by itself
	HowTerminated  How = "terminated"  // the worker got SIGTERM
	HowKilled      How = "killed"      // the worker got SIGKILL
	HowDetached    How = "detached"    // only the request ended, the job goes on
)

// Values of ErrorData.By with CodeCancelled and CodeServerCancelled: who ended it.
const (
	ByCaller     = "caller"
	ByDisconnect = "disconnect"
	ByOwner      = "owner"
	ByOperator   = "operator"
	ByShutdown   = "shutdown"
	ByReload     = "reload"
)

// Cause says why a worker died.
type Cause string

// The values of Cause.
const (
	CauseExit        Cause = "exit"
	CauseSignal      Cause = "signal"
	CauseOOM         Cause = "oom"
	CauseProtocol    Cause = "protocol"
	CauseStalled     Cause = "stalled"
	CauseStartFailed Cause = "start_failed"
)

// Phase says in which part of a job's life its deadline passed.
type Phase string

// The values of Phase.
const (
	PhaseQueue Phase = "queue"
	PhaseLoad  Phase = "load"
	PhaseRun   Phase = "run"
)

// Milliseconds returns d in whole milliseconds, rounded up so that a short wait is never told as none: the shape of
// every member that ends in _ms.
func Milliseconds(d time.Duration) *int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 { // not by adding to d, which may be the longest there is
		ms++
	}
	return &ms
}

package protocol

import "strconv"

// Code is the code of an error in a response. Codes are numbered once and never reused.
type Code int

// The codes of the client protocol. Positive ones are the daemon's own; JSON-RPC leaves them to applications, and they
// stay out of the ranges that LSP, MCP and client libraries use for themselves.
const (
	CodeParseError       Code = -32700 // not JSON, not UTF-8, or nested too deeply
	CodeInvalidRequest   Code = -32600 // JSON, but not a request, or over a limit
	CodeMethodNotFound   Code = -32601
	CodeInvalidParams    Code = -32602
	CodeInternalError    Code = -32603 // a fault of the daemon
	CodeCancelled        Code = -32800 // the caller's doing
	CodeServerCancelled  Code = -32802 // shutdown, reload or an operator
	CodeOverloaded       Code = 1000
	CodeWorkerDied       Code = 1001
	CodeJobFailed        Code = 1002 // the worker answered with an error
	CodeDeadlineExceeded Code = 1003
	CodeUnknownPlugin    Code = 1004
	CodeUnknownPool      Code = 1005
	CodeUnknownJob       Code = 1006
	CodeUnknownWorker    Code = 1007
	CodePoolUnavailable  Code = 1008
	CodePermissionDenied Code = 1009
	CodeClientTooSlow    Code = 1010
	CodeSuperseded       Code = 1011
	CodeQuarantined      Code = 1012
	CodeConfigInvalid    Code = 1013
	CodeConflict         Code = 1014
	CodeResultTooLarge   Code = 1015
	CodeChunksGone       Code = 1016
)

// codeTable is the one place that joins codes, kinds and defaults. Its order is that of PROTOCOL.md.
var codeTable = [...]struct {
	code      Code
	kind      string
	retryable bool
}{
	{CodeParseError, "parse_error", false},
	{CodeInvalidRequest, "invalid_request", false},
	{CodeMethodNotFound, "method_not_found", false},
	{CodeInvalidParams, "invalid_params", false},
	{CodeInternalError, "internal_error", false},
	{CodeCancelled, "cancelled", false},
	{CodeServerCancelled, "server_cancelled", true},
	{CodeOverloaded, "overloaded", true},
	{CodeWorkerDied, "worker_died", true},
	{CodeJobFailed, "job_failed", false},
	{CodeDeadlineExceeded, "deadline_exceeded", false},
	{CodeUnknownPlugin, "unknown_plugin", false},
	{CodeUnknownPool, "unknown_pool", false},
	{CodeUnknownJob, "unknown_job", false},
	{CodeUnknownWorker, "unknown_worker", false},
	{CodePoolUnavailable, "pool_unavailable", true},
	{CodePermissionDenied, "permission_denied", false},
	{CodeClientTooSlow, "client_too_slow", true},
	{CodeSuperseded, "superseded", false},
	{CodeQuarantined, "quarantined", false},
	{CodeConfigInvalid, "config_invalid", false},
	{CodeConflict, "conflict", false},
	{CodeResultTooLarge, "result_too_large", false},
	{CodeChunksGone, "chunks_gone", false},
}

// Codes returns every code, in the order of PROTOCOL.md. The slice is the caller's.
func Codes() []Code {
	codes := make([]Code, len(codeTable))
	for i := range codeTable {
		codes[i] = codeTable[i].code
	}
	return codes
}

// Kind returns the name of the code as it stands in data.kind, or "code_N" for a number that is not in the table.
func (c Code) Kind() string {
	for i := range codeTable {
		if codeTable[i].code == c {
			return codeTable[i].kind
		}
	}
	return "code_" + strconv.Itoa(int(c))
}

// Retryable returns the default of data.retryable for the code: whether the same request, sent again unchanged and
// later, may well succeed. It says nothing about side effects that the first try may have had.
func (c Code) Retryable() bool {
	for i := range codeTable {
		if codeTable[i].code == c {
			return codeTable[i].retryable
		}
	}
	return false
}

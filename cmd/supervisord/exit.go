package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"supervisord/internal/config"
	"supervisord/protocol"
	"supervisord/sdk/go/client"
)

// Exit codes, in addition to 0. 78 is EX_CONFIG, which the systemd unit takes for "do not restart".
const (
	exitFailure     = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitJobFailed   = 4
	exitCancelled   = 5
	exitConfig      = 78
)

// usageError is a wrong use of a command.
type usageError struct {
	command string // as it was typed, "supervisord run"
	err     error
}

func (e *usageError) Error() string { return fmt.Sprintf("%v (see %s --help)", e.err, e.command) }

func (e *usageError) Unwrap() error { return e.err }

// unreachableError says that no daemon answers at the socket.
type unreachableError struct{ err error }

func (e *unreachableError) Error() string {
	return "daemon not reachable: " + strings.TrimPrefix(e.err.Error(), "client: ")
}

func (e *unreachableError) Unwrap() error { return e.err }

// configError is a configuration that cannot be used, for any reason.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }

func (e *configError) Unwrap() error { return e.err }

// endedError is the exit status of the daemon itself, which has said why.
type endedError struct{ status int }

func (e *endedError) Error() string { return fmt.Sprintf("the daemon ended with status %d", e.status) }

// exitCode is the exit code of a command that ended with err.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if ended, ok := errors.AsType[*endedError](err); ok {
		return ended.status
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*configError](err); ok {
		return exitConfig
	}
	if _, ok := errors.AsType[*unreachableError](err); ok || errors.Is(err, client.ErrLost) {
		return exitUnreachable
	}
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return exitCodeOf(e.Code)
	}
	return exitFailure
}

// exitCodeOf tells a job that failed from a request that never became a job.
func exitCodeOf(code protocol.Code) int {
	cancelled := []protocol.Code{protocol.CodeCancelled, protocol.CodeServerCancelled}
	failed := []protocol.Code{
		protocol.CodeWorkerDied, protocol.CodeJobFailed, protocol.CodeDeadlineExceeded, protocol.CodeClientTooSlow,
		protocol.CodeSuperseded, protocol.CodeQuarantined, protocol.CodeResultTooLarge,
	}
	switch {
	case slices.Contains(cancelled, code):
		return exitCancelled
	case slices.Contains(failed, code):
		return exitJobFailed
	}
	return exitFailure
}

// report writes what is wrong to stderr and returns the exit code.
func (c *cli) report(err error) int {
	if err == nil {
		return 0
	}
	code := exitCode(err)
	if _, ended := errors.AsType[*endedError](err); ended {
		return code
	}
	if invalid, ok := errors.AsType[*config.ValidationError](err); ok {
		for _, p := range invalid.Problems {
			fmt.Fprintln(c.stderr, printable(p.Text(invalid.Path)))
		}
		return code
	}
	message := strings.TrimPrefix(err.Error(), "client: ")
	failure, ok := errors.AsType[*protocol.Error](err)
	if ok && code != exitUnreachable {
		message = failure.Error() // the caller knows that a context of ours has ended
	}
	fmt.Fprintf(c.stderr, "supervisord: %s\n", printable(message))
	if ok {
		for _, line := range details(failure) {
			fmt.Fprintf(c.stderr, "    %s\n", printable(line))
		}
	}
	return code
}

// details are the lines that an error of the daemon carries beside its message.
func details(e *protocol.Error) []string {
	var lines []string
	for _, f := range e.Data.Fields {
		lines = append(lines, strings.TrimPrefix(f.Path+": ", ": ")+f.Reason)
	}
	for _, p := range e.Data.Problems {
		lines = append(lines, config.Problem(p).Text(""))
	}
	if len(e.Data.Known) > 0 {
		lines = append(lines, "there is: "+strings.Join(e.Data.Known, ", "))
	}
	if info := e.Data.ErrorInfo; info != nil && info.Traceback != "" {
		lines = append(lines, strings.Split(strings.TrimRight(info.Traceback, "\n"), "\n")...)
	}
	return append(lines, e.Data.StderrTail...)
}

// printable makes text that a worker or a caller chose harmless to a terminal, and one line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return r
		case r == '\n':
			return ' '
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return '\uFFFD'
		}
		return r
	}, s)
}

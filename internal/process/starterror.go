package process

import (
	"errors"
	"io/fs"
	"strconv"
	"syscall"
)

// Step is what was being done to start a process.
type Step string

// Steps of a start, in their order. Up to StepPlan they are steps of Host.Start, after it of the new process.
const (
	StepPipes      Step = "make pipes"
	StepCgroup     Step = "make cgroup"
	StepFork       Step = "fork"
	StepUser       Step = "switch to user"
	StepWatch      Step = "watch process"
	StepPlan       Step = "read plan"
	StepDirectory  Step = "working directory"
	StepPrivileges Step = "give up privileges"
	StepExec       Step = "exec"
)

// ErrClosed is why a closed host starts nothing.
var ErrClosed = errors.New("the host is closed")

// StartError is why a program never ran.
type StartError struct {
	Step Step
	// Path is the file, directory, cgroup or user that the step was about; empty where there is none.
	Path string
	// Search is the PATH in which Path was looked for, empty where it was not.
	Search string
	// Interpreter is what the script or program at Path needs and does not find, empty for other causes.
	Interpreter string
	// Err is the cause, mostly a syscall.Errno: syscall.EAGAIN where a limit of processes is reached, syscall.EMFILE
	// where one of descriptors is, fs.ErrNotExist and fs.ErrPermission for a file.
	Err error
}

// Error says which step failed on which file.
func (e *StartError) Error() string {
	text := string(e.Step)
	if e.Path != "" {
		text += " " + e.Path
	}
	text += ": "
	if e.Interpreter != "" {
		text += "interpreter " + e.Interpreter + ": "
	}
	if e.Err != nil {
		text += e.Err.Error()
	}
	if e.Search != "" && errors.Is(e.Err, fs.ErrNotExist) {
		text += " in PATH " + e.Search
	}
	return text
}

// Unwrap is the cause.
func (e *StartError) Unwrap() error { return e.Err }

// forkError says which part of a fork was refused. The system call tells the error alone.
func forkError(err error, user *syscall.Credential) *StartError {
	if user != nil && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL)) {
		id := strconv.FormatUint(uint64(user.Uid), 10) + ":" + strconv.FormatUint(uint64(user.Gid), 10)
		return &StartError{Step: StepUser, Path: id, Err: err}
	}
	return &StartError{Step: StepFork, Err: err}
}

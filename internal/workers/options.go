package workers

import (
	"encoding/json"
	"errors"
	"syscall"
	"time"

	"go.uber.org/zap"

	"supervisord/internal/process"
)

// Options are what a Pool needs. Durations of zero are off: no limit, no grace.
type Options struct {
	// Name is the pool's; Command is the program and its arguments, found in the worker's own PATH.
	Name    string
	Command []string
	// Directory is the workers' working directory, absolute.
	Directory string
	// Env are variables as NAME=value with {slot} in values; InheritEnv names those taken from the daemon's own.
	Env, InheritEnv []string
	// LookupEnv looks up the daemon's own variables.
	LookupEnv func(string) (string, bool)
	// Credential is whom the workers run as; nil: as the daemon.
	Credential *syscall.Credential
	// Plugins are those that a worker shall load, with their configs.
	Plugins []Plugin
	// MaxWorkers is the number of slots.
	MaxWorkers int
	// Concurrency is how many jobs a worker is given at once, if it has the features for more than one.
	Concurrency int
	// Host starts the processes.
	Host *process.Host
	// Pipes is what the pipes of all pools may take beyond the default; nil: nothing.
	Pipes *Pipes
	// MaxMessage is the largest payload in bytes; a frame may hold protocol.FrameOverhead more.
	MaxMessage int

	Policy             Policy
	MaxRestartAttempts int
	RestartReset       time.Duration
	RestartBackoffBase time.Duration
	RestartBackoffMax  time.Duration
	// StartTimeout covers a start up to ready.
	StartTimeout time.Duration
	// CancelGrace is what a cancelled job gets to end by itself, DrainGrace what the jobs beside one that ignores its
	// cancel get before the process is killed.
	CancelGrace, DrainGrace time.Duration
	// StopTimeout is what a process gets from stop to SIGTERM.
	StopTimeout time.Duration

	Sink Sink
	Log  *zap.Logger
}

// Plugin is one plugin that the workers of a pool shall load.
type Plugin struct {
	Name string
	// Config is any JSON value.
	Config json.RawMessage
}

func (o *Options) check() error {
	switch {
	case o.Name == "" || len(o.Command) == 0 || o.Directory == "":
		return errors.New("a pool needs a name, a command and a directory")
	case o.MaxWorkers < 1 || o.Concurrency < 1 || o.MaxMessage < 1 || o.StopTimeout <= 0:
		return errors.New("a pool needs at least one worker, one job at once, a message size and a stop timeout")
	case !o.Policy.known() || o.Host == nil || o.Sink == nil || o.Log == nil || o.LookupEnv == nil:
		return errors.New("a pool needs a restart policy, a host, a sink, a logger and an environment")
	}
	return nil
}

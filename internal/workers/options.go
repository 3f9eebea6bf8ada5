package workers

import (
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"go.uber.org/zap"

	"supervisord/internal/process"
)

// Options are what a Pool needs. Durations of zero are off: no limit, no grace. Those of the first group hold for a
// process from its start to its end; the others can be changed at any time by Pool.Tune.
type Options struct {
	// Command is the program and its arguments, found in the worker's own PATH.
	Command []string
	// Directory is the workers' working directory, absolute.
	Directory string
	// Env are variables as NAME=value with {slot} in values; InheritEnv names those taken from the daemon's own.
	Env, InheritEnv []string
	// LookupEnv looks up the daemon's own variables.
	LookupEnv func(string) (string, bool)
	// Credential is whom the workers run as; nil: as the daemon.
	Credential *syscall.Credential
	// MemoryLimit in bytes, CPULimit in cores and TasksLimit bound each process with all its descendants, where the host
	// can; 0 does not.
	MemoryLimit int64
	CPULimit    float64
	TasksLimit  int
	// Plugins are those that a worker shall load, with their configs.
	Plugins []Plugin
	// Concurrency is how many jobs a worker is given at once, if it has the features for more than one.
	Concurrency int
	// MaxMessage is the largest payload in bytes; a frame may hold protocol.FrameOverhead more.
	MaxMessage int

	// MaxWorkers is the number of slots.
	MaxWorkers         int
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
	// ReloadTimeout and UnloadTimeout are what it gets to answer these commands; get_state has UnloadTimeout too.
	ReloadTimeout, UnloadTimeout time.Duration
	// FrameTimeout is what it gets to take some of what was sent to it once it is ready, and to end a frame that it has
	// begun.
	FrameTimeout time.Duration
	// MaxJobs, MaxAge and MaxMemory, in bytes, are from when on a process is due to be replaced (Sink.WorkerDue).
	MaxJobs   int
	MaxAge    time.Duration
	MaxMemory int64

	// The rest is for a pool's whole life: Pool.Tune and Pool.Roll keep what it has.

	// Name is the pool's.
	Name string
	// Host starts the processes.
	Host *process.Host
	// Pipes is what the pipes of all pools may take beyond the default; nil: nothing.
	Pipes *Pipes
	Sink  Sink
	Log   *zap.Logger
}

// Plugin is one plugin that the workers of a pool shall load.
type Plugin struct {
	Name string
	// Config is any JSON value.
	Config json.RawMessage
}

// Check says what is wrong with the options.
func (o *Options) Check() error {
	if err := o.check(); err != nil {
		return fmt.Errorf("pool %q: %w", o.Name, err)
	}
	return nil
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
	return o.checkInit()
}

// keep takes over what a pool keeps of its old options, and checks the whole.
func (o *Options) keep(old *Options) error {
	o.Name, o.Host, o.Pipes, o.Sink, o.Log = old.Name, old.Host, old.Pipes, old.Sink, old.Log
	return o.check()
}

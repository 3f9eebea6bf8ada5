package config

import (
	"encoding/json"
	"time"
)

// Config is the whole configuration. Load makes it; Default is it without any file. It is not changed after that.
//
// The struct tags are the schema that a file is checked against: the key, and what a plain int64 counts (unit: "size" is
// bytes with a unit, "amount" a size or a bare count). The tag diff says what a reload makes of a change, see Diff: outside
// of the pools a key holds at once, but for those with diff:"restart"; in a pool it needs new workers, but for those with
// diff:"tune".
type Config struct {
	// Version is the version of the file's format. Required, and 1.
	Version int `mapstructure:"version"`
	// Socket is where clients connect.
	Socket Socket `mapstructure:"socket" diff:"restart"`
	// Limits bounds what clients may take of the daemon.
	Limits Limits `mapstructure:"limits"`
	// Access says who may call what; the first rule that matches identity and method allows. With rules, a call that
	// none matches is denied. Default: no rule, which means that root and the daemon's own user may call all, and
	// others all but the admin methods.
	Access []AccessRule `mapstructure:"access"`
	// Log is what is logged and how.
	Log Log `mapstructure:"log"`
	// Metrics is where figures are served.
	Metrics Metrics `mapstructure:"metrics" diff:"restart"`
	// Jobs is how long finished jobs and the chunks of running ones are kept.
	Jobs Jobs `mapstructure:"jobs" diff:"restart"`
	// ShutdownTimeout is how long running jobs get to end when the daemon stops. Default 30s. More than 0: a daemon
	// that could wait for ever would be killed by its service manager, without having stopped its workers.
	ShutdownTimeout time.Duration `mapstructure:"shutdown_timeout"`
	// Resources are budgets that pools and plugins share. Default: none.
	Resources []Resource `mapstructure:"resources"`
	// Pools are the pools of workers. Default: none; the daemon then serves only its control methods.
	Pools []Pool `mapstructure:"pools"`

	// File is the absolute path of the file that was read; empty for Default.
	File string `mapstructure:"-" json:"-"`

	// lines holds the lines of the keys that the file gave and no flag or variable replaced, by path; nil for Default.
	lines map[string]int `mapstructure:"-"`
}

// Socket is the Unix socket that clients connect to.
type Socket struct {
	// Path is the socket's path: absolute once loaded, at most 107 bytes, never abstract. In the file it is relative
	// to the file's directory, in a flag or variable to the working directory. Default
	// /run/supervisord/supervisord.sock; for a user other than root $XDG_RUNTIME_DIR/supervisord.sock, if that is set.
	Path string `mapstructure:"path"`
	// Mode is the socket's permissions, as an octal number in quotes. Default "0660".
	Mode string `mapstructure:"mode"`
	// Group is the group that the socket is given to, by name or number in quotes. Default "": the daemon's own.
	Group string `mapstructure:"group"`
}

// Limits bounds what clients may take of the daemon. 0 means no limit, except where a field says otherwise.
type Limits struct {
	// MaxConnections is how many connections are open at once. Default 1024; 0: no limit.
	MaxConnections int `mapstructure:"max_connections"`
	// MaxConnectionsPerUID is the same for the connections of one user. Default 512; 0: no limit.
	MaxConnectionsPerUID int `mapstructure:"max_connections_per_uid"`
	// MaxInFlight is how many unanswered requests one connection may have, batch elements counted. Default 256; 0: no limit.
	MaxInFlight int `mapstructure:"max_in_flight"`
	// MaxInFlightPerUID is the same over all connections of one user. Default 4096; 0: no limit.
	MaxInFlightPerUID int `mapstructure:"max_in_flight_per_uid"`
	// MaxQueuedBytes is how many bytes of params wait in queues, in all. Default 256MiB; 0B: no limit; else at least
	// MaxMessage.
	MaxQueuedBytes int64 `mapstructure:"max_queued_bytes" unit:"size"`
	// MaxMessage is the longest message of a client, and with 64 KiB more the longest frame of a worker, in bytes.
	// Default 16MiB; 1KiB to 1GiB, since without it one message could take all memory. A worker is told once, when it
	// starts, how long its frames may be, so another value holds after a restart of the daemon.
	MaxMessage int64 `mapstructure:"max_message" unit:"size" diff:"restart"`
	// MaxBatch is how many requests one batch may hold. Default 1000; 0: no limit.
	MaxBatch int `mapstructure:"max_batch"`
	// OutputBuffer is how many unsent bytes a connection may have before the daemon stops reading from it. Default
	// 8MiB; 4KiB to 1GiB.
	OutputBuffer int64 `mapstructure:"output_buffer" unit:"size"`
	// SlowClientTimeout is how long a client may take nothing of what waits for it before it is dropped. Default 30s;
	// 0s: never.
	SlowClientTimeout time.Duration `mapstructure:"slow_client_timeout"`
}

// AccessRule allows some callers some methods. A caller matches when Users or Groups names it.
type AccessRule struct {
	// Users are names, or numbers in quotes; "*" is everybody. "@self", the user that the daemon runs as, is replaced by
	// that user's number when the file is loaded.
	Users []string `mapstructure:"users"`
	// Groups are names, or numbers in quotes.
	Groups []string `mapstructure:"groups"`
	// Methods are method names; "*" is all, "job.*" all that begin with "job.". At least one.
	Methods []string `mapstructure:"methods"`
	// Priority lets these callers' job priorities count against other users' jobs. Default false.
	Priority bool `mapstructure:"priority"`
}

// Log is what is logged and how.
type Log struct {
	// Level is debug, info, warn or error: the least important that is logged. Default info.
	Level string `mapstructure:"level"`
	// Format is auto, json, console or journal. Default auto: console on a terminal, else json.
	Format string `mapstructure:"format" diff:"restart"`
}

// Metrics is where figures are served, for Prometheus to fetch.
type Metrics struct {
	// Listen is HOST:PORT or unix:/PATH. Default "": nowhere.
	Listen string `mapstructure:"listen"`
}

// Jobs is how long finished jobs and the chunks of running ones are kept.
type Jobs struct {
	// KeepFinished is how many finished jobs are kept for each user. Default 1000; 0: none.
	KeepFinished int `mapstructure:"keep_finished"`
	// KeepFor is how long a finished job is kept. Default 1h; 0s: until another bound drops it.
	KeepFor time.Duration `mapstructure:"keep_for"`
	// KeepBytes is how many bytes all finished jobs may take. Default 64MiB; 0B: no bound.
	KeepBytes int64 `mapstructure:"keep_bytes" unit:"size"`
	// ReplayBuffer is how many bytes of a running job's chunks are held for those who take them late. Default 1MiB;
	// 4KiB to 1GiB.
	ReplayBuffer int64 `mapstructure:"replay_buffer" unit:"size"`
	// AttachGrace is how long a job whose caller left waits for another to take its stream before chunks are dropped.
	// Default 10s; 0s: not at all.
	AttachGrace time.Duration `mapstructure:"attach_grace"`
	// Store is where jobs are kept: memory.
	Store string `mapstructure:"store"`
}

// Resource is a budget that workers and plugins draw on, whichever pool they belong to.
type Resource struct {
	// Name is 1 to 64 of [A-Za-z0-9._-], unique.
	Name string `mapstructure:"name"`
	// Capacity is how much there is, more than 0: a size with its unit (24GiB), or a bare count (2). Amounts drawn on
	// it are written the same way.
	Capacity int64 `mapstructure:"capacity" unit:"amount"`
}

// ResourceAmount is a part of a Resource.
type ResourceAmount struct {
	// Name is the Resource's.
	Name string `mapstructure:"name"`
	// Amount is how much of it, more than 0 and at most its capacity, written like the capacity.
	Amount int64 `mapstructure:"amount" unit:"amount"`
}

// Pool is a set of workers that run the same command.
type Pool struct {
	// Name is 1 to 64 of [A-Za-z0-9._-], unique. Required.
	Name string `mapstructure:"name"`
	// Command is the program and its arguments, each one element; no shell is involved. Required.
	Command []string `mapstructure:"command"`
	// Directory is the workers' working directory: absolute once loaded, relative to the file's directory in it.
	// Default ".".
	Directory string `mapstructure:"directory"`
	// Env are the workers' variables as NAME=value. "{slot}" in a value stands for the worker's slot, counted from 0;
	// any other braces stay as they are. Default: none.
	Env []string `mapstructure:"env"`
	// InheritEnv are the names of those variables that workers get from the daemon's own environment; Env wins.
	// Default PATH, HOME, LANG, LC_ALL, TZ. HOME, USER and LOGNAME are those of User where it is set.
	InheritEnv []string `mapstructure:"inherit_env"`
	// User is whom the workers run as, by name or number in quotes. Default "": the daemon's own user.
	User string `mapstructure:"user"`
	// Group is the group they run as. Default "": the primary group of User.
	Group string `mapstructure:"group"`
	// AllowRoot allows workers that run as root. Default false: they are an error.
	AllowRoot bool `mapstructure:"allow_root" diff:"tune"`
	// Plugins are what the workers offer, and with which config. Default: none, which means whatever the workers name
	// in their ready message.
	Plugins []Plugin `mapstructure:"plugins"`
	// Resources are what each worker holds from its start until its exit has been seen. Default: none.
	Resources []ResourceAmount `mapstructure:"resources"`
	// MinWorkers is how many workers are kept. Default 1; 0: the first is started by the first call.
	MinWorkers int `mapstructure:"min_workers" diff:"tune"`
	// MaxWorkers is how many there may be, 1 to 4096. Default 1.
	MaxWorkers int `mapstructure:"max_workers" diff:"tune"`
	// IdleTimeout is after what time without a job a worker above MinWorkers is stopped. Default 0s: never.
	IdleTimeout time.Duration `mapstructure:"idle_timeout" diff:"tune"`
	// Concurrency is how many jobs one worker is given at once, 1 to 65536; more than 1 counts only for workers with
	// the features concurrent and cancel. Default 1.
	Concurrency int `mapstructure:"concurrency"`
	// Replace is before or after: whether a worker's successor starts before the worker has ended. Default before;
	// it is after wherever resources, {slot} or MaxWorkers leave no room for both.
	Replace string `mapstructure:"replace" diff:"tune"`
	// DrainGrace is what the other jobs of a concurrent worker get before it is killed for one that is stuck. Default
	// 30s; 0s: nothing.
	DrainGrace time.Duration `mapstructure:"drain_grace" diff:"tune"`
	// RequestQueueSize is how many jobs may wait. Default 1000; 0: no limit but Limits.MaxQueuedBytes.
	RequestQueueSize int `mapstructure:"request_queue_size" diff:"tune"`
	// MaxQueueWait is how long a job may wait. Default 0s: no limit.
	MaxQueueWait time.Duration `mapstructure:"max_queue_wait" diff:"tune"`
	// MaxCollationWait is how long a job may be passed over in favour of jobs for a plugin that is loaded. Default 2s;
	// 0s: never passed over.
	MaxCollationWait time.Duration `mapstructure:"max_collation_wait" diff:"tune"`
	// RestartPolicy is never, on_cancellation, always or backoff: after which ends a worker is started again. Default
	// backoff.
	RestartPolicy string `mapstructure:"restart_policy" diff:"tune"`
	// MaxRestartAttempts is how many restarts in a row, without one success or RestartReset of health, are tried
	// before the pool counts as failed. Default 3; 0: none.
	MaxRestartAttempts int `mapstructure:"max_restart_attempts" diff:"tune"`
	// RestartReset is after how long a health the attempts are forgotten. Default 60s; 0s: only a success does that.
	RestartReset time.Duration `mapstructure:"restart_reset" diff:"tune"`
	// RestartBackoffBase is the first delay between restarts, which then grows. Default 1s; more than 0.
	RestartBackoffBase time.Duration `mapstructure:"restart_backoff_base" diff:"tune"`
	// RestartBackoffMax is the longest such delay. Default 60s; at least RestartBackoffBase.
	RestartBackoffMax time.Duration `mapstructure:"restart_backoff_max" diff:"tune"`
	// WorkerStartTimeout is how long a worker may take from its start to its ready message. Default 30s; 0s: no limit.
	WorkerStartTimeout time.Duration `mapstructure:"worker_start_timeout" diff:"tune"`
	// JobTimeout is how long a job may run. Default 0s: no limit.
	JobTimeout time.Duration `mapstructure:"job_timeout" diff:"tune"`
	// StallTimeout is how long a running job may give no sign (chunk or progress). Default 0s: no limit.
	StallTimeout time.Duration `mapstructure:"stall_timeout" diff:"tune"`
	// CancelGrace is how long a cancelled job gets to end by itself before its worker is stopped. Default 5s; 0s: none.
	CancelGrace time.Duration `mapstructure:"cancel_grace" diff:"tune"`
	// ReloadTimeout is how long loading or reloading a plugin may take. Default 30s; 0s: no limit.
	ReloadTimeout time.Duration `mapstructure:"reload_timeout" diff:"tune"`
	// UnloadTimeout is how long unloading a plugin may take. Default 10s; 0s: no limit.
	UnloadTimeout time.Duration `mapstructure:"unload_timeout" diff:"tune"`
	// ShutdownTimeout is how long a worker that was told to stop gets before it is terminated. Default 5s; more than 0.
	ShutdownTimeout time.Duration `mapstructure:"shutdown_timeout" diff:"tune"`
	// MaxJobsPerWorker is after how many jobs a worker is replaced. Default 0: never.
	MaxJobsPerWorker int `mapstructure:"max_jobs_per_worker" diff:"tune"`
	// MaxWorkerAge is after what time a worker is replaced, between jobs. Default 0s: never.
	MaxWorkerAge time.Duration `mapstructure:"max_worker_age" diff:"tune"`
	// MaxWorkerMemory is from how many bytes on a worker is replaced after its job. Default 0B: never.
	MaxWorkerMemory int64 `mapstructure:"max_worker_memory" unit:"size" diff:"tune"`
	// MemoryLimit is the hard limit of a worker and all its children in bytes, where a cgroup is delegated to the
	// daemon. Default 0B: none; else at least 1MiB.
	MemoryLimit int64 `mapstructure:"memory_limit" unit:"size"`
	// CPULimit is the same for processors, in cores (0.5 is half of one). Default 0: none.
	CPULimit float64 `mapstructure:"cpu_limit"`
	// TasksLimit is the same for processes and threads. Default 0: none.
	TasksLimit int `mapstructure:"tasks_limit"`
	// MaxAttempts is how often a job is run: with 2 and more again when its worker died before the first chunk.
	// Default 1; 1 to 100.
	MaxAttempts int `mapstructure:"max_attempts" diff:"tune"`
}

// Plugin is something that a pool's workers can run by name.
type Plugin struct {
	// Name is 1 to 64 of [A-Za-z0-9._-], unique in its pool. Required.
	Name string `mapstructure:"name"`
	// Config reaches the worker as it was written: a JSON object whose members keep the file's order, case and types.
	// Default {}.
	Config json.RawMessage `mapstructure:"config"`
	// Resources are what the plugin holds while it is loaded, beside what its worker holds. Default: none.
	Resources []ResourceAmount `mapstructure:"resources"`
	// Pin forbids unloading it to make room. Default false.
	Pin bool `mapstructure:"pin"`
	// Load is eager (with the worker's start) or lazy (by the first call). Default eager.
	Load string `mapstructure:"load"`
}

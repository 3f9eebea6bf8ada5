package protocol

import (
	"encoding/json"
	"time"
)

// JobStatus is the state of a job. The last three are terminal and never change.
type JobStatus string

// The values of JobStatus.
const (
	JobPending   JobStatus = "pending"
	JobRunning   JobStatus = "running"
	JobCompleted JobStatus = "completed"
	JobFailed    JobStatus = "failed"
	JobCancelled JobStatus = "cancelled"
)

// Terminal reports whether a job in this state has ended.
func (s JobStatus) Terminal() bool {
	return s == JobCompleted || s == JobFailed || s == JobCancelled
}

// JobRecord is what the daemon tells of a job. Times are UTC, in RFC 3339 on the wire; null is not yet, or never.
type JobRecord struct {
	JobID       string          `json:"job_id"`
	PluginName  string          `json:"plugin_name"`
	Pool        string          `json:"pool"`
	Status      JobStatus       `json:"status"`
	CreatedAt   time.Time       `json:"created_at"`
	StartedAt   *time.Time      `json:"started_at"`
	CompletedAt *time.Time      `json:"completed_at"`
	Priority    int             `json:"priority"`
	Client      JobClient       `json:"client"`
	Metadata    json.RawMessage `json:"metadata"` // the caller's object
	Attempts    []Attempt       `json:"attempts"`
	Progress    *JobProgress    `json:"progress"` // the last one, null where there was none
	Chunks      int64           `json:"chunks"`
	Result      json.RawMessage `json:"result"` // the worker's data, null unless completed
	Error       *Error          `json:"error"`  // null unless failed or cancelled
	Usage       Usage           `json:"usage"`
	FirstSeq    int64           `json:"first_seq"` // the oldest chunk that job.attach can still give
}

// JobClient is who asked for a job, as the kernel reports it.
type JobClient struct {
	UID uint32 `json:"uid"`
	PID int    `json:"pid"`
}

// JobProgress is the last progress that a worker told of a job.
type JobProgress struct {
	Progress *float64 `json:"progress"` // 0 to 1, null where unknown
	Message  string   `json:"message"`
}

// Attempt is one try at running a job on one incarnation.
type Attempt struct {
	Worker      string     `json:"worker"` // pool/slot
	Incarnation uint64     `json:"incarnation"`
	PID         int        `json:"pid"`
	StartedAt   time.Time  `json:"started_at"`
	EndedAt     *time.Time `json:"ended_at"`
	EndedBy     string     `json:"ended_by"` // "result", a Cause, or a By constant; empty while it runs
}

// EndedByResult is Attempt.EndedBy where the worker answered, with success or an error.
const EndedByResult = "result"

// Usage is what a job took.
type Usage struct {
	WaitMS      int64  `json:"wait_ms"`
	RunMS       int64  `json:"run_ms"`
	MaxRSSBytes *int64 `json:"max_rss_bytes"` // null for jobs of less than a second
}

// PluginListResult is the result of plugin.list.
type PluginListResult struct {
	Plugins []Plugin `json:"plugins"`
}

// Plugin is one plugin, over all pools that offer it.
type Plugin struct {
	Name        string          `json:"name"`
	Pools       []string        `json:"pools"`
	Streaming   bool            `json:"streaming"`   // whether a worker said that it streams
	Schema      json.RawMessage `json:"schema"`      // JSON Schema of its params, null where none was told
	Description string          `json:"description"` // empty where none was told
	// Residency is the state of the plugin on each pool that offers it, by pool name.
	Residency map[string]Residency `json:"residency"`
}

// Residency says whether a call to a plugin finds it loaded.
type Residency string

// The values of Residency.
const (
	ResidencyResident   Residency = "resident"    // some worker has it loaded
	ResidencyLoading    Residency = "loading"     // a worker that will have it is starting, or is loading it
	ResidencyUnloaded   Residency = "unloaded"    // its first call loads it
	ResidencyLoadFailed Residency = "load_failed" // the last try failed; a call tries once more
)

// PoolState is the state of a pool.
type PoolState string

// The values of PoolState.
const (
	PoolReady    PoolState = "ready" // takes calls, also where it starts its first worker on demand
	PoolStarting PoolState = "starting"
	PoolBackoff  PoolState = "backoff" // waits before the next start
	PoolFailed   PoolState = "failed"  // restarts are spent
	PoolPaused   PoolState = "paused"
	PoolStopped  PoolState = "stopped" // down by policy or by order
)

// PoolListResult is the result of pool.list.
type PoolListResult struct {
	Pools []Pool `json:"pools"`
}

// Pool is one pool.
type Pool struct {
	Name    string      `json:"name"`
	State   PoolState   `json:"state"`
	Workers PoolWorkers `json:"workers"`
	Queued  int         `json:"queued"`
	Reason  string      `json:"reason"` // why it is not ready; empty where it is
	Since   time.Time   `json:"since"`  // when it entered its state
}

// PoolWorkers counts the workers of a pool. One that runs a job is busy and not ready.
type PoolWorkers struct {
	Ready    int `json:"ready"`
	Busy     int `json:"busy"`
	Starting int `json:"starting"`
	Failed   int `json:"failed"`
}

// WorkerListResult is the result of worker.list.
type WorkerListResult struct {
	Workers []Worker `json:"workers"`
}

// WorkerState is the state of a worker.
type WorkerState string

// The values of WorkerState.
const (
	WorkerStopped      WorkerState = "stopped"
	WorkerStarting     WorkerState = "starting"
	WorkerInitializing WorkerState = "initializing" // init was sent, ready has not come
	WorkerReady        WorkerState = "ready"        // with or without jobs
	WorkerDraining     WorkerState = "draining"     // finishes its jobs and takes no more
	WorkerStopping     WorkerState = "stopping"
	WorkerBackoff      WorkerState = "backoff"
	WorkerFailed       WorkerState = "failed"
)

// Worker is one worker. PID and RSSBytes are 0 while it has no process.
type Worker struct {
	Worker        string      `json:"worker"` // pool/slot
	Pool          string      `json:"pool"`
	State         WorkerState `json:"state"`
	Incarnation   uint64      `json:"incarnation"`
	PID           int         `json:"pid"`
	JobIDs        []string    `json:"job_ids"`
	CurrentPlugin string      `json:"current_plugin"` // empty where none is
	LoadedPlugins []string    `json:"loaded_plugins"`
	RSSBytes      int64       `json:"rss_bytes"`
	Restarts      int         `json:"restarts"`
	LastExit      *LastExit   `json:"last_exit"` // null while none of its processes has ended
}

// LastExit is how the worker's previous process ended.
type LastExit struct {
	Cause    string    `json:"cause"` // a Cause, or "stopped" where the daemon meant it
	ExitCode *int      `json:"exit_code"`
	Signal   string    `json:"signal"` // "SIGKILL", empty where it exited
	Message  string    `json:"message"`
	Time     time.Time `json:"time"`
}

// ExitStopped is LastExit.Cause where the daemon ended the process on purpose.
const ExitStopped = "stopped"

// DaemonInfo is the result of daemon.info.
type DaemonInfo struct {
	Name     string         `json:"name"` // "supervisord"
	Version  string         `json:"version"`
	Protocol DaemonProtocol `json:"protocol"`
	Limits   DaemonLimits   `json:"limits"`
	Methods  []string       `json:"methods"` // those that this daemon serves
}

// DaemonProtocol says which versions of the client protocol a daemon speaks.
type DaemonProtocol struct {
	Version   int   `json:"version"`
	Supported []int `json:"supported"`
}

// DaemonLimits are the limits of a daemon, in bytes, counts and milliseconds. MaxInFlight is per connection.
type DaemonLimits struct {
	MaxConnections       int   `json:"max_connections"`
	MaxConnectionsPerUID int   `json:"max_connections_per_uid"`
	MaxInFlight          int   `json:"max_in_flight"`
	MaxInFlightPerUID    int   `json:"max_in_flight_per_uid"`
	MaxQueuedBytes       int64 `json:"max_queued_bytes"`
	MaxMessage           int64 `json:"max_message"`
	MaxBatch             int   `json:"max_batch"`
	OutputBuffer         int64 `json:"output_buffer"`
	SlowClientTimeoutMS  int64 `json:"slow_client_timeout_ms"`
}

// DaemonState is the state of a daemon.
type DaemonState string

// The values of DaemonState.
const (
	DaemonStarting      DaemonState = "starting"
	DaemonReady         DaemonState = "ready"
	DaemonDegraded      DaemonState = "degraded"       // some pool does not take calls
	DaemonConfigInvalid DaemonState = "config_invalid" // up without pools until a reload mends the configuration
	DaemonStopping      DaemonState = "stopping"
)

// DaemonStatus is the result of daemon.status.
type DaemonStatus struct {
	State       DaemonState `json:"state"`
	Version     string      `json:"version"`
	PID         int         `json:"pid"`
	StartedAt   time.Time   `json:"started_at"`
	UptimeMS    int64       `json:"uptime_ms"`
	Config      string      `json:"config"` // path of the file, empty where defaults serve
	Socket      string      `json:"socket"`
	Connections int         `json:"connections"`
	Jobs        JobCounts   `json:"jobs"`
	Pools       []Pool      `json:"pools"`
	TreeKill    string      `json:"tree_kill"` // how a worker's whole tree is killed, a TreeKill constant
}

// Values of DaemonStatus.TreeKill.
const (
	// TreeKillCgroup reaches every descendant.
	TreeKillCgroup = "cgroup"
	// TreeKillProcessGroup misses descendants that left the worker's process group.
	TreeKillProcessGroup = "process_group"
)

// JobCounts counts jobs: those that wait and run now, and those that ended since the daemon started.
type JobCounts struct {
	Queued    int64 `json:"queued"`
	Running   int64 `json:"running"`
	Completed int64 `json:"completed"`
	Failed    int64 `json:"failed"`
	Cancelled int64 `json:"cancelled"`
}

package protocol

import (
	"encoding/json"
	"time"
)

// MaxPoolWorkers is the most that PoolScaleParams may ask for, as it is for a pool's max_workers in the configuration.
const MaxPoolWorkers = 4096

// PluginReloadParams are the params of plugin.reload.
type PluginReloadParams struct {
	PluginName string          `json:"plugin_name"`
	Config     json.RawMessage `json:"config,omitempty"` // an object; absent: the one the pool's configuration has
	Pool       string          `json:"pool,omitzero"`    // absent: every pool that offers the plugin
}

// PluginUnloadParams are the params of plugin.unload.
type PluginUnloadParams struct {
	PluginName string `json:"plugin_name"`
	Pool       string `json:"pool,omitzero"` // absent: every pool that offers the plugin
}

// PluginWorkersResult is the result of plugin.reload and plugin.unload, sent when every worker has answered.
type PluginWorkersResult struct {
	Workers []PluginWorker `json:"workers"`
}

// PluginWorker is what one worker answered to a reload or unload.
type PluginWorker struct {
	Worker string `json:"worker"` // pool/slot
	Status string `json:"status"` // StatusSuccess or StatusError
	Error  string `json:"error"`  // why it failed; empty with success
}

// PoolParams are the params of pool.get, pool.restart, pool.pause and pool.resume, whose result is the Pool.
type PoolParams struct {
	Pool string `json:"pool"`
}

// PoolScaleParams are the params of pool.scale, whose result is the Pool. At least one of the two numbers is given; the
// other one stays. They hold until the next reload.
type PoolScaleParams struct {
	Pool       string `json:"pool"`
	MinWorkers *int   `json:"min_workers,omitzero"` // 0 to MaxPoolWorkers, and at most the maximum
	MaxWorkers *int   `json:"max_workers,omitzero"` // 1 to MaxPoolWorkers
}

// WorkerParams are the params of worker.get_state.
type WorkerParams struct {
	Worker string `json:"worker"` // pool/slot
}

// WorkerStopParams are the params of worker.stop, whose result is the Worker.
type WorkerStopParams struct {
	Worker string `json:"worker"`         // pool/slot
	Force  bool   `json:"force,omitzero"` // SIGKILL at once, whatever it runs
}

// WorkerGetStateResult is the result of worker.get_state: the members of the Worker and two more.
type WorkerGetStateResult struct {
	Worker
	AsOf time.Time `json:"as_of"` // when the worker said so; of a busy worker, when it last did
	// CurrentConfig is that of CurrentPlugin, as the worker told it; null where that is unknown, and for callers who may
	// not see it.
	CurrentConfig json.RawMessage `json:"current_config"`
}

// DaemonReloadResult is the result of daemon.reload: what is different now. Its lists are empty where nothing is.
type DaemonReloadResult struct {
	Settings     []string     `json:"settings"`      // keys outside of the pools whose new values hold now: "limits.max_batch"
	NeedsRestart []string     `json:"needs_restart"` // keys whose new values hold only after the daemon's next start
	Pools        []PoolChange `json:"pools"`         // those that the reload has touched
}

// PoolChange is what a reload did to one pool.
type PoolChange struct {
	Pool   string         `json:"pool"`
	Change PoolChangeKind `json:"change"`
	Reason string         `json:"reason"` // for people: the keys that differ, or with PoolKept why; may be empty
}

// PoolChangeKind says what a reload did to a pool.
type PoolChangeKind string

// The values of PoolChangeKind.
const (
	PoolAdded   PoolChangeKind = "added"
	PoolRemoved PoolChangeKind = "removed"
	PoolRolled  PoolChangeKind = "rolled" // its workers were replaced
	PoolTuned   PoolChangeKind = "tuned"  // its workers stay, and what was changed holds for them
	PoolKept    PoolChangeKind = "kept"   // a successor did not become ready: the old workers stay, with the old configuration
)

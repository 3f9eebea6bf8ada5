package config

import (
	"encoding/json"
	"time"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// The values of the keys that offer a choice; the first of each is not always the default.
var (
	logLevels       = []string{"debug", "info", "warn", "error"}
	logFormats      = []string{"auto", "json", "console", "journal"}
	jobStores       = []string{"memory"}
	replaceOrders   = []string{"before", "after"}
	restartPolicies = []string{"never", "on_cancellation", "always", "backoff"}
	loadTimes       = []string{"eager", "lazy"}
)

// Default returns the configuration without any file: no pools, and the socket path of a daemon run by root.
func Default() *Config {
	return &Config{
		Version: 1,
		Socket:  Socket{Path: "/run/supervisord/supervisord.sock", Mode: "0660"},
		Limits: Limits{
			MaxConnections:       1024,
			MaxConnectionsPerUID: 512,
			MaxInFlight:          256,
			MaxInFlightPerUID:    4096,
			MaxQueuedBytes:       256 * mib,
			MaxMessage:           16 * mib,
			MaxBatch:             1000,
			OutputBuffer:         8 * mib,
			SlowClientTimeout:    30 * time.Second,
		},
		Log: Log{Level: "info", Format: "auto"},
		Jobs: Jobs{
			KeepFinished: 1000,
			KeepFor:      time.Hour,
			KeepBytes:    64 * mib,
			ReplayBuffer: mib,
			AttachGrace:  10 * time.Second,
			Store:        "memory",
		},
		ShutdownTimeout: 30 * time.Second,
	}
}

// DefaultPool returns a pool with every default. Name and Command are empty and have to be given; Directory is "." and
// becomes absolute when it is loaded from a file.
func DefaultPool() Pool {
	return Pool{
		Directory:          ".",
		InheritEnv:         []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ"},
		MinWorkers:         1,
		MaxWorkers:         1,
		Concurrency:        1,
		Replace:            "before",
		DrainGrace:         30 * time.Second,
		RequestQueueSize:   1000,
		MaxCollationWait:   2 * time.Second,
		RestartPolicy:      "backoff",
		MaxRestartAttempts: 3,
		RestartReset:       60 * time.Second,
		RestartBackoffBase: time.Second,
		RestartBackoffMax:  60 * time.Second,
		WorkerStartTimeout: 30 * time.Second,
		CancelGrace:        5 * time.Second,
		ReloadTimeout:      30 * time.Second,
		UnloadTimeout:      10 * time.Second,
		ShutdownTimeout:    5 * time.Second,
		MaxAttempts:        1,
	}
}

// DefaultPlugin returns a plugin with every default; Name is empty and has to be given.
func DefaultPlugin() Plugin {
	return Plugin{Config: json.RawMessage("{}"), Load: "eager"}
}

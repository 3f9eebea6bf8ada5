package process

import (
	"slices"
	"strings"
	"syscall"

	"supervisord/protocol"
)

// Command is what a process is started from.
type Command struct {
	// Name tells the process from all others that live now: letters, digits and ".-_" with at most one "/".
	Name string
	// Argv is the program, found in the PATH of Env, and its arguments.
	Argv []string
	// Directory is the working directory, absolute.
	Directory string
	// Env is the whole environment, NAME=value. The last setting of a name counts.
	Env []string
	// Credential is whom it runs as; nil: as the daemon.
	Credential *syscall.Credential
	// MemoryLimit in bytes, CPULimit in cores and TasksLimit bound the process with all its descendants, where the host
	// can (see Host.Limits); 0 does not.
	MemoryLimit int64
	CPULimit    float64
	TasksLimit  int
}

// environment is Env with each name once, for a C library takes the first setting of one.
func (c *Command) environment() []string {
	env := make([]string, 0, len(c.Env))
	seen := make(map[string]bool, len(c.Env))
	for _, kv := range slices.Backward(c.Env) {
		name, _, _ := strings.Cut(kv, "=")
		if !seen[name] {
			seen[name] = true
			env = append(env, kv)
		}
	}
	slices.Reverse(env)
	return env
}

// marks are the settings by which a descendant that has kept its environment tells whose it is; nil unless both are set.
func marks(env []string) []string {
	var found []string
	for _, kv := range env {
		if strings.HasPrefix(kv, protocol.EnvWorker+"=") || strings.HasPrefix(kv, protocol.EnvIncarnation+"=") {
			found = append(found, kv)
		}
	}
	if len(found) != 2 {
		return nil
	}
	return found
}

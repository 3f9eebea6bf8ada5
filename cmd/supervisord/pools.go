package main

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"supervisord/internal/config"
	"supervisord/internal/dispatch"
	"supervisord/internal/schedule"
	"supervisord/internal/workers"
)

// frameTimeout is what a worker gets to take some of a frame, and to end one that it has begun. One that does neither is
// wedged, whatever it is; a busy one reads and writes nothing, and so is in no frame.
const frameTimeout = 30 * time.Second

// poolOptions is what a pool of the configuration is made of. The error says what in it cannot be on this machine.
func (i *instance) poolOptions(p *config.Pool) (dispatch.PoolOptions, error) {
	credential, err := credentialOf(p.User, p.Group)
	if err != nil {
		return dispatch.PoolOptions{}, fmt.Errorf("pool %q: %w", p.Name, err)
	}
	env := i.env
	if p.User != "" && credential != nil {
		if env, err = envOf(p.User, i.env); err != nil {
			return dispatch.PoolOptions{}, fmt.Errorf("pool %q: %w", p.Name, err)
		}
	}
	if credential != nil && credential.Uid == 0 && !p.AllowRoot { // by a second name of root, or its number
		return dispatch.PoolOptions{}, fmt.Errorf("pool %q: user %q is root: give another user, or set allow_root", p.Name, p.User)
	}
	o := workers.Options{
		Name: p.Name, Command: p.Command, Directory: p.Directory,
		Env: p.Env, InheritEnv: p.InheritEnv, LookupEnv: env, Credential: credential,
		MemoryLimit: p.MemoryLimit, CPULimit: p.CPULimit, TasksLimit: p.TasksLimit,
		MaxWorkers: p.MaxWorkers, Concurrency: p.Concurrency, Host: i.host, Pipes: i.pipes, MaxMessage: int(i.begun.Limits.MaxMessage),
		Policy: workers.Policy(p.RestartPolicy), MaxRestartAttempts: p.MaxRestartAttempts, RestartReset: p.RestartReset,
		RestartBackoffBase: p.RestartBackoffBase, RestartBackoffMax: p.RestartBackoffMax,
		StartTimeout: p.WorkerStartTimeout, CancelGrace: p.CancelGrace, DrainGrace: p.DrainGrace, StopTimeout: p.ShutdownTimeout,
		FrameTimeout: frameTimeout, ReloadTimeout: p.ReloadTimeout, UnloadTimeout: p.UnloadTimeout,
		MaxJobs: p.MaxJobsPerWorker, MaxAge: p.MaxWorkerAge, MaxMemory: p.MaxWorkerMemory,
		Sink: i.dispatcher, Log: i.log.Named("workers"),
	}
	spec := schedule.PoolSpec{
		Name: p.Name, MinWorkers: p.MinWorkers, MaxWorkers: p.MaxWorkers, Concurrency: p.Concurrency,
		QueueSize: p.RequestQueueSize, QueueWait: p.MaxQueueWait, RunTimeout: p.JobTimeout, StallTimeout: p.StallTimeout,
		IdleTimeout: p.IdleTimeout, CollationWait: p.MaxCollationWait, ReplaceBefore: replacesBefore(p),
	}
	for _, plugin := range p.Plugins {
		o.Plugins = append(o.Plugins, workers.Plugin{Name: plugin.Name, Config: plugin.Config})
		spec.Plugins = append(spec.Plugins, plugin.Name)
	}
	if err := o.Check(); err != nil {
		return dispatch.PoolOptions{}, err //nolint:wrapcheck // names the pool
	}
	return dispatch.PoolOptions{Spec: spec, Workers: o, MaxAttempts: p.MaxAttempts, Source: p}, nil
}

// replacesBefore reports whether a worker's successor may live beside it: not where both would use the same device or
// share of a resource.
func replacesBefore(p *config.Pool) bool {
	usesSlot := slices.ContainsFunc(p.Env, func(kv string) bool { return strings.Contains(kv, "{slot}") })
	return p.Replace == "before" && !usesSlot && len(p.Resources) == 0
}

// envOf is the daemon's environment but for what is about its own user.
func envOf(name string, env func(string) (string, bool)) (func(string) (string, bool), error) {
	u, err := lookupUser(name)
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", name, err)
	}
	own := map[string]string{"HOME": u.HomeDir, "USER": u.Username, "LOGNAME": u.Username}
	return func(key string) (string, bool) {
		if value, ok := own[key]; ok {
			return value, true
		}
		return env(key)
	}, nil
}

// credentialOf is whom the workers of a pool run as; nil for the daemon's own user and group.
func credentialOf(userName, groupName string) (*syscall.Credential, error) {
	uid, gid := os.Geteuid(), os.Getegid()
	var groups []uint32
	if userName != "" {
		u, err := lookupUser(userName)
		if err != nil {
			return nil, fmt.Errorf("user %q: %w", userName, err)
		}
		if uid, gid, err = numbers(u.Uid, u.Gid); err != nil {
			return nil, fmt.Errorf("user %q: %w", userName, err)
		}
		ids, err := u.GroupIds()
		if err != nil {
			return nil, fmt.Errorf("groups of user %q: %w", userName, err)
		}
		for _, id := range ids {
			if n, err := strconv.ParseUint(id, 10, 32); err == nil {
				groups = append(groups, uint32(n))
			}
		}
	}
	if groupName != "" {
		g, err := lookupGroup(groupName)
		if err != nil {
			return nil, fmt.Errorf("group %q: %w", groupName, err)
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return nil, fmt.Errorf("group %q: %w", groupName, err)
		}
	}
	if userName == "" && groupName == "" || os.Geteuid() != 0 && uid == os.Geteuid() && gid == os.Getegid() {
		return nil, nil //nolint:nilnil // as the daemon; setting what is set already needs a privilege, too
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: slices.Clip(groups)}, nil //nolint:gosec // parsed from 32 bits
}

func numbers(uid, gid string) (int, int, error) {
	u, err := strconv.Atoi(uid)
	if err != nil {
		return 0, 0, err //nolint:wrapcheck // wrapped by the caller
	}
	g, err := strconv.Atoi(gid)
	return u, g, err //nolint:wrapcheck // as above
}

func lookupUser(name string) (*user.User, error) {
	if _, err := strconv.Atoi(name); err == nil {
		return user.LookupId(name) //nolint:wrapcheck // wrapped by the caller
	}
	return user.Lookup(name) //nolint:wrapcheck // wrapped by the caller
}

func lookupGroup(name string) (*user.Group, error) {
	if _, err := strconv.Atoi(name); err == nil {
		return user.LookupGroupId(name) //nolint:wrapcheck // wrapped by the caller
	}
	return user.LookupGroup(name) //nolint:wrapcheck // wrapped by the caller
}

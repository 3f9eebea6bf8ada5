package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"supervisord/internal/config"
	"supervisord/internal/dispatch"
	"supervisord/internal/jobs"
	"supervisord/internal/process"
	"supervisord/internal/schedule"
	"supervisord/internal/workers"
)

// poolToAdd is a pool whose workers have not been started.
type poolToAdd struct {
	pool *workers.Pool
	spec schedule.PoolSpec
}

// makePools makes the dispatcher, the registry of jobs and the configured pools. The error names every pool that cannot be.
func (i *instance) makePools(ctx context.Context, c *cli) ([]poolToAdd, error) {
	o := i.config
	host, err := process.Open(process.Options{Subreaper: true, Cgroups: true})
	if err != nil {
		return nil, err //nolint:wrapcheck // says what could not be done
	}
	i.host = host
	i.dispatcher = dispatch.New(dispatch.Options{
		MaxQueuedBytes: o.Limits.MaxQueuedBytes, OutputBuffer: int(o.Limits.OutputBuffer),
	})
	i.backend = &backend{
		registry:   jobs.New(jobs.Options{Backlog: int(o.Jobs.ReplayBuffer), Executor: i.dispatcher}),
		dispatcher: i.dispatcher, treeKill: host.TreeKill(), config: o.File, socket: i.socket, invalid: i.invalid != nil,
	}
	var (
		pools  []poolToAdd
		faulty []error
	)
	pipes := workers.NewPipes()
	for n := range o.Pools {
		p := &o.Pools[n]
		pool, err := i.newPool(p, c.env, pipes)
		if err != nil {
			faulty = append(faulty, fmt.Errorf("pools[%d]: %w", n, err))
			continue
		}
		pools = append(pools, poolToAdd{pool: pool, spec: poolSpec(p)})
	}
	if err := errors.Join(faulty...); err != nil {
		i.dispatcher.Close(ctx)
		i.host.Close()
		return nil, err
	}
	return pools, nil
}

func (i *instance) newPool(p *config.Pool, env func(string) (string, bool), pipes *workers.Pipes) (*workers.Pool, error) {
	credential, err := credentialOf(p.User, p.Group)
	if err != nil {
		return nil, err
	}
	if credential != nil && credential.Uid == 0 && !p.AllowRoot { // by a second name of root, or its number
		return nil, fmt.Errorf("pool %q: user %q is root: give another user, or set allow_root", p.Name, p.User)
	}
	o := workers.Options{
		Name: p.Name, Command: p.Command, Directory: p.Directory,
		Env: p.Env, InheritEnv: p.InheritEnv, LookupEnv: env, Credential: credential,
		MaxWorkers: p.MaxWorkers, Concurrency: p.Concurrency, Host: i.host, Pipes: pipes, MaxMessage: int(i.config.Limits.MaxMessage),
		Policy: workers.Policy(p.RestartPolicy), MaxRestartAttempts: p.MaxRestartAttempts, RestartReset: p.RestartReset,
		RestartBackoffBase: p.RestartBackoffBase, RestartBackoffMax: p.RestartBackoffMax,
		StartTimeout: p.WorkerStartTimeout, CancelGrace: p.CancelGrace, DrainGrace: p.DrainGrace, StopTimeout: p.ShutdownTimeout,
		Sink: i.dispatcher, Log: i.log.Named("workers"),
	}
	for _, plugin := range p.Plugins {
		o.Plugins = append(o.Plugins, workers.Plugin{Name: plugin.Name, Config: plugin.Config})
	}
	return workers.New(o) //nolint:wrapcheck // names the pool
}

func poolSpec(p *config.Pool) schedule.PoolSpec {
	spec := schedule.PoolSpec{
		Name: p.Name, MinWorkers: p.MinWorkers, MaxWorkers: p.MaxWorkers, Concurrency: p.Concurrency,
		QueueSize: p.RequestQueueSize, QueueWait: p.MaxQueueWait, RunTimeout: p.JobTimeout,
	}
	for _, plugin := range p.Plugins {
		spec.Plugins = append(spec.Plugins, plugin.Name)
	}
	return spec
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

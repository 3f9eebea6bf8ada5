package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"supervisord/internal/config"
	"supervisord/internal/dispatch"
	"supervisord/internal/rpc"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

// rollPatience is what a reload waits for a pool's first new worker beyond its start timeout. One that has to wait for a
// long job is replaced later, and the reload says so.
const rollPatience = 10 * time.Second

// errStopping ends a reload that is under way when the daemon stops.
var errStopping = errors.New("the daemon stops")

// reload loads the configuration afresh and makes the daemon follow it. An invalid one changes nothing. One reload runs at
// a time. The end of ctx ends the waiting for new workers, not their coming.
func (i *instance) reload(ctx context.Context) (protocol.DaemonReloadResult, *protocol.Error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unhook := context.AfterFunc(i.stopping, func() { cancel(errStopping) }) //nolint:contextcheck // whichever ends first
	defer unhook()
	select {
	case i.reloading <- struct{}{}:
		defer func() { <-i.reloading }()
	case <-ctx.Done():
		return protocol.DaemonReloadResult{}, i.endedReload()
	}
	if i.stopping.Err() != nil {
		return protocol.DaemonReloadResult{}, i.endedReload()
	}
	return i.reloadNow(ctx)
}

// reloadNow is called by one at a time.
func (i *instance) reloadNow(ctx context.Context) (protocol.DaemonReloadResult, *protocol.Error) {
	notify(i.log, daemon.SdNotifyReloading, monotonic())
	defer func() { notify(i.log, daemon.SdNotifyReady, i.status()) }()
	var next *next
	loaded, changes, err := config.Reload(i.current(), i.options)
	if err == nil {
		next, err = i.check(loaded)
	}
	if err != nil {
		e := invalidConfig(i.config.Load().File, err)
		e.Message = "the configuration is invalid, and nothing has changed"
		logProblems(i.log, "configuration not reloaded", e)
		return protocol.DaemonReloadResult{}, e
	}
	i.logNotYet(loaded)
	i.logUnlimited(loaded)
	result := i.apply(ctx, next, changes)
	i.log.Info("configuration reloaded", zap.String("file", next.config.File), zap.Strings("settings", result.Settings),
		zap.Strings("needs_restart", result.NeedsRestart), zap.Any("pools", result.Pools))
	return result, nil
}

// next is a configuration that can be followed: everything in it that may fail has been tried.
type next struct {
	config *config.Config
	access *rpc.Access
	pools  map[string]dispatch.PoolOptions
}

// check tries everything in a valid configuration that may fail on this machine. The error names all that does.
func (i *instance) check(c *config.Config) (*next, error) {
	n := &next{config: c, pools: map[string]dispatch.PoolOptions{}}
	var (
		faults []error
		err    error
	)
	if n.access, err = rpc.NewAccess(accessRules(c.Access), uint32(os.Geteuid())); err != nil { //nolint:gosec // never negative on Linux
		faults = append(faults, err)
	}
	for k := range c.Pools {
		p := &c.Pools[k]
		o, err := i.poolOptions(p)
		if err != nil {
			faults = append(faults, fmt.Errorf("pools[%d]: %w", k, err))
		}
		n.pools[p.Name] = o
	}
	return n, errors.Join(faults...)
}

// apply makes the daemon follow the configuration.
func (i *instance) apply(ctx context.Context, n *next, changes config.Changes) protocol.DaemonReloadResult {
	result := protocol.DaemonReloadResult{Settings: []string{}, NeedsRestart: []string{}, Pools: []protocol.PoolChange{}}
	result.Settings = append(result.Settings, changes.Settings...)
	result.NeedsRestart = append(result.NeedsRestart, changes.NeedsRestart...)
	i.follow(n)

	var (
		mu    sync.Mutex
		rolls sync.WaitGroup
	)
	note := func(name string, kind protocol.PoolChangeKind, reason string) {
		mu.Lock()
		defer mu.Unlock()
		result.Pools = append(result.Pools, protocol.PoolChange{Pool: name, Change: kind, Reason: reason})
	}
	for _, name := range changes.Removed {
		i.dispatcher.Remove(name)
		note(name, protocol.PoolRemoved, "")
	}
	for _, p := range changes.Tuned {
		note(p.Name, protocol.PoolTuned, strings.Join(p.Keys, ", "))
	}
	for name, o := range n.pools { // also those that differ from the file because they were scaled
		if !slices.Contains(changes.Added, name) && !slices.ContainsFunc(changes.Rolled, func(p config.PoolChange) bool { return p.Name == name }) {
			i.dispatcher.Tune(o)
		}
	}
	for _, name := range changes.Added {
		if err := i.dispatcher.Add(n.pools[name]); err != nil {
			i.log.Error("pool cannot be added", zap.String("pool", name), zap.Error(err)) // prepare has tried it
			continue
		}
		note(name, protocol.PoolAdded, "")
	}
	for _, p := range changes.Rolled {
		rolls.Go(func() {
			kind, reason := i.roll(ctx, n.pools[p.Name])
			if kind == protocol.PoolRolled {
				reason = reason + strings.Join(p.Keys, ", ")
			}
			note(p.Name, kind, reason)
		})
	}
	rolls.Wait()
	return result
}

// roll replaces the processes of a pool, and says what has become of that.
func (i *instance) roll(ctx context.Context, o dispatch.PoolOptions) (protocol.PoolChangeKind, string) {
	limit, cancel := context.WithTimeout(ctx, o.Workers.StartTimeout+rollPatience)
	defer cancel()
	switch err := i.dispatcher.Roll(limit, o); {
	case err == nil:
		return protocol.PoolRolled, ""
	case i.stopping.Err() != nil:
		return protocol.PoolKept, errStopping.Error()
	case limit.Err() != nil && errors.Is(err, context.Cause(limit)):
		return protocol.PoolRolled, "under way, a worker is replaced when its job has ended: "
	default:
		return protocol.PoolKept, keptReason(err)
	}
}

// keptReason is why a pool keeps its old workers, in one line, for a reader who knows which pool it is: where a new one
// has said something on stderr, its last line is most likely what is wrong.
func keptReason(err error) string {
	e, ok := errors.AsType[*workers.RollError](err)
	switch {
	case !ok:
		return err.Error()
	case e.Exit == nil || len(e.Exit.Stderr) == 0:
		return e.Reason
	}
	return e.Reason + ": " + e.Exit.Stderr[len(e.Exit.Stderr)-1]
}

// current is the configuration that the daemon follows: of a pool whose roll has failed, or not been decided yet, it is
// the old one, and of keys that hold only after a restart those of the start.
func (i *instance) current() *config.Config {
	c := *i.config.Load()
	c.Socket, c.Metrics, c.Jobs = i.begun.Socket, i.begun.Metrics, i.begun.Jobs
	c.Log.Format, c.Limits.MaxMessage = i.begun.Log.Format, i.begun.Limits.MaxMessage
	pools := c.Pools
	c.Pools = nil
	for k := range pools {
		if _, o, ok := i.dispatcher.Pool(pools[k].Name); ok {
			c.Pools = append(c.Pools, *o.Source.(*config.Pool)) //nolint:forcetypeassert // set by poolOptions
		}
	}
	return &c
}

// follow puts the settings outside of the pools into force.
func (i *instance) follow(n *next) {
	o := n.config
	i.config.Store(o)
	i.invalid.Store(nil)
	if err := i.server.Reconfigure(i.serverOptions(n)); err != nil {
		i.log.Error("limits stay as they were", zap.Error(err)) // a fault of this program: config has checked them
	}
	i.dispatcher.SetLimits(dispatchLimits(o))
	i.level.SetLevel(levelOf(o.Log.Level))
}

// invalidConfig is the 1013 for what is wrong with a configuration file.
func invalidConfig(file string, err error) *protocol.Error {
	e := protocol.NewError(protocol.CodeConfigInvalid, "the daemon's configuration is invalid")
	e.Data.File = file
	faults := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		faults = joined.Unwrap()
	}
	for _, fault := range faults {
		for _, p := range config.Problems(fault) {
			e.Data.Problems = append(e.Data.Problems, protocol.Problem(p))
		}
	}
	return e
}

func logProblems(log *zap.Logger, message string, e *protocol.Error) {
	for _, p := range e.Data.Problems {
		log.Error(message, zap.String("path", p.Path), zap.Int("line", p.Line), zap.String("problem", p.Message))
	}
}

// hup is the reload of a SIGHUP.
func (i *instance) hup() {
	select {
	case i.reloading <- struct{}{}:
	case <-i.stopping.Done():
		return
	}
	<-i.hups
	_, _ = i.reloadNow(i.stopping) // both are in the log
	<-i.reloading
}

// endedReload is for a reload that was not begun.
func (i *instance) endedReload() *protocol.Error {
	if i.stopping.Err() != nil {
		e := protocol.NewError(protocol.CodeServerCancelled, "the daemon stops")
		e.Data.How, e.Data.By = new(protocol.HowQueued), protocol.ByShutdown
		return e
	}
	e := protocol.NewError(protocol.CodeCancelled, "no longer waiting for the reload before")
	e.Data.How, e.Data.By = new(protocol.HowDetached), protocol.ByCaller
	return e
}

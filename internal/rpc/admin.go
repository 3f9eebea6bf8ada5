package rpc

import (
	"context"

	"supervisord/protocol"
)

// unlessLeft is err, unless it came of the end of the wait for what.
func unlessLeft(ctx context.Context, err *protocol.Error, what string) *protocol.Error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return detached(ctx, "no longer waiting for "+what)
}

// daemonReload has the configuration read again and answers when it holds.
func daemonReload(ctx context.Context, c *conn, _ []byte) (any, *protocol.Error) {
	result, err := c.s.backend.Reload(ctx)
	if err != nil {
		return nil, unlessLeft(ctx, err, "the reload, which goes on")
	}
	result.Settings, result.NeedsRestart = list(result.Settings), list(result.NeedsRestart)
	result.Pools = list(result.Pools)
	return result, nil
}

// list is an empty list for none, as results have it.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

func pluginReload(ctx context.Context, c *conn, params []byte) (any, *protocol.Error) {
	byName, err := members(params, "plugin_name", "config", "pool")
	if err != nil {
		return nil, err
	}
	plugin, pool, err := pluginOf(byName)
	if err != nil {
		return nil, err
	}
	config, err := objectOf(byName, "config")
	if err != nil {
		return nil, err
	}
	workers, err := c.s.backend.ReloadPlugin(ctx, plugin, pool, config)
	if err != nil {
		return nil, unlessLeft(ctx, err, "the workers, of which all will be reached")
	}
	return protocol.PluginWorkersResult{Workers: list(workers)}, nil
}

func pluginUnload(ctx context.Context, c *conn, params []byte) (any, *protocol.Error) {
	byName, err := members(params, "plugin_name", "pool")
	if err != nil {
		return nil, err
	}
	plugin, pool, err := pluginOf(byName)
	if err != nil {
		return nil, err
	}
	workers, err := c.s.backend.UnloadPlugin(ctx, plugin, pool)
	if err != nil {
		return nil, unlessLeft(ctx, err, "the workers, of which all will be reached")
	}
	return protocol.PluginWorkersResult{Workers: list(workers)}, nil
}

// pluginOf is a plugin and, where it is named, the only pool that is meant.
func pluginOf(byName map[string][]byte) (plugin, pool string, err *protocol.Error) {
	if plugin, err = nameOf(byName, "plugin_name"); err != nil {
		return "", "", err
	}
	if byName["pool"] != nil {
		pool, err = nameOf(byName, "pool")
	}
	return plugin, pool, err
}

func poolGet(_ context.Context, c *conn, params []byte) (any, *protocol.Error) {
	return onPool(params, c.s.backend.Pool)
}

func poolPause(_ context.Context, c *conn, params []byte) (any, *protocol.Error) {
	return onPool(params, c.s.backend.PausePool)
}

func poolResume(_ context.Context, c *conn, params []byte) (any, *protocol.Error) {
	return onPool(params, c.s.backend.ResumePool)
}

func poolRestart(ctx context.Context, c *conn, params []byte) (any, *protocol.Error) {
	return onPool(params, func(name string) (protocol.Pool, *protocol.Error) {
		pool, err := c.s.backend.RestartPool(ctx, name)
		return pool, unlessLeft(ctx, err, "the workers, of which all will be reached")
	})
}

// onPool does something with the pool that the params name, and nothing else.
func onPool(params []byte, do func(name string) (protocol.Pool, *protocol.Error)) (any, *protocol.Error) {
	byName, err := members(params, "pool")
	if err != nil {
		return nil, err
	}
	name, err := nameOf(byName, "pool")
	if err != nil {
		return nil, err
	}
	return do(name)
}

func poolScale(_ context.Context, c *conn, params []byte) (any, *protocol.Error) {
	byName, err := members(params, "pool", "min_workers", "max_workers")
	if err != nil {
		return nil, err
	}
	name, err := nameOf(byName, "pool")
	if err != nil {
		return nil, err
	}
	least, err := integerOf(byName, "min_workers", 0, protocol.MaxPoolWorkers)
	if err != nil {
		return nil, err
	}
	most, err := integerOf(byName, "max_workers", 1, protocol.MaxPoolWorkers)
	switch {
	case err != nil:
		return nil, err
	case least == nil && most == nil:
		return nil, protocol.InvalidParams(protocol.Field{Reason: "neither min_workers nor max_workers is given"})
	case least != nil && most != nil && *least > *most:
		return nil, protocol.InvalidParams(protocol.Field{Path: "min_workers", Reason: "is more than max_workers"})
	}
	return c.s.backend.ScalePool(name, least, most)
}

func workerGetState(ctx context.Context, c *conn, params []byte) (any, *protocol.Error) {
	byName, err := members(params, "worker")
	if err != nil {
		return nil, err
	}
	worker, err := nameOf(byName, "worker")
	if err != nil {
		return nil, err
	}
	state, err := c.s.backend.WorkerState(ctx, worker)
	if err != nil {
		return nil, unlessLeft(ctx, err, "the worker's answer")
	}
	if !c.administrates() { // a plugin's config may hold a key or a password
		state.CurrentConfig = nil
	}
	return state, nil
}

func workerStop(ctx context.Context, c *conn, params []byte) (any, *protocol.Error) {
	byName, err := members(params, "worker", "force")
	if err != nil {
		return nil, err
	}
	name, err := nameOf(byName, "worker")
	if err != nil {
		return nil, err
	}
	force, err := booleanOf(byName, "force")
	if err != nil {
		return nil, err
	}
	worker, err := c.s.backend.StopWorker(ctx, name, force)
	if err != nil {
		return nil, unlessLeft(ctx, err, "the worker's end, which is to come")
	}
	return worker, nil
}

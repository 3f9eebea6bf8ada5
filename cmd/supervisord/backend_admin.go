package main

import (
	"context"

	"supervisord/internal/dispatch"
	"supervisord/internal/outq"
	"supervisord/internal/rpc"
	"supervisord/protocol"
)

var _ rpc.Admin = (*backend)(nil)

// Reload implements rpc.Admin.
func (b *backend) Reload(ctx context.Context) (protocol.DaemonReloadResult, *protocol.Error) {
	return b.instance.reload(ctx)
}

// ReloadPlugin implements rpc.Admin.
func (b *backend) ReloadPlugin(ctx context.Context, plugin, pool string, config []byte) ([]protocol.PluginWorker, *protocol.Error) {
	return b.dispatcher().ReloadPlugin(ctx, plugin, pool, config)
}

// UnloadPlugin implements rpc.Admin.
func (b *backend) UnloadPlugin(ctx context.Context, plugin, pool string) ([]protocol.PluginWorker, *protocol.Error) {
	return b.dispatcher().UnloadPlugin(ctx, plugin, pool)
}

// Pool implements rpc.Admin.
func (b *backend) Pool(name string) (protocol.Pool, *protocol.Error) {
	pool, _, ok := b.dispatcher().Pool(name)
	if !ok {
		return pool, b.dispatcher().UnknownPool(name)
	}
	return pool, nil
}

// ScalePool implements rpc.Admin.
func (b *backend) ScalePool(name string, minWorkers, maxWorkers *int) (protocol.Pool, *protocol.Error) {
	fault := ""
	ok := b.dispatcher().Change(name, func(o *dispatch.PoolOptions) bool {
		least, most := o.Spec.MinWorkers, o.Spec.MaxWorkers
		if minWorkers != nil {
			least = *minWorkers
		}
		if maxWorkers != nil {
			most = *maxWorkers
		}
		if least > most {
			fault = "max_workers"
			if minWorkers != nil {
				fault = "min_workers"
			}
			return false
		}
		o.Spec.MinWorkers, o.Spec.MaxWorkers, o.Workers.MaxWorkers = least, most, most
		return true
	})
	if fault != "" {
		return protocol.Pool{}, protocol.InvalidParams(protocol.Field{Path: fault, Reason: "min_workers would be more than max_workers"})
	}
	return b.after(name, ok)
}

// after is a pool that something was done to, where there is one.
func (b *backend) after(name string, ok bool) (protocol.Pool, *protocol.Error) {
	if !ok {
		return protocol.Pool{}, b.dispatcher().UnknownPool(name)
	}
	return b.Pool(name)
}

// RestartPool implements rpc.Admin.
func (b *backend) RestartPool(ctx context.Context, name string) (protocol.Pool, *protocol.Error) {
	if err := b.dispatcher().Restart(ctx, name); err != nil {
		return protocol.Pool{}, err
	}
	return b.Pool(name)
}

// PausePool implements rpc.Admin.
func (b *backend) PausePool(name string) (protocol.Pool, *protocol.Error) { return b.pause(name, true) }

// ResumePool implements rpc.Admin.
func (b *backend) ResumePool(name string) (protocol.Pool, *protocol.Error) {
	return b.pause(name, false)
}

func (b *backend) pause(name string, paused bool) (protocol.Pool, *protocol.Error) {
	return b.after(name, b.dispatcher().Change(name, func(o *dispatch.PoolOptions) bool {
		o.Spec.Paused = paused
		return true
	}))
}

// WorkerState implements rpc.Admin.
func (b *backend) WorkerState(ctx context.Context, worker string) (protocol.WorkerGetStateResult, *protocol.Error) {
	return b.dispatcher().WorkerState(ctx, worker)
}

// StopWorker implements rpc.Admin.
func (b *backend) StopWorker(ctx context.Context, worker string, force bool) (protocol.Worker, *protocol.Error) {
	if force {
		// Its jobs are told who has ended them, before the end of their process could.
		var set outq.Set
		for _, j := range b.registry.All() {
			if r := j.Record(); len(r.Attempts) > 0 && r.Status == protocol.JobRunning && r.Attempts[len(r.Attempts)-1].Worker == worker {
				j.Cancel(protocol.ByOperator, true, &set)
			}
		}
		set.Flush()
	}
	return b.dispatcher().StopWorker(ctx, worker, force)
}

package main

import (
	"context"
	"os"
	"time"

	"supervisord/internal/dispatch"
	"supervisord/internal/jobs"
	"supervisord/internal/rpc"
	"supervisord/protocol"
)

// backend joins the front door to the jobs and to what runs them.
type backend struct {
	registry   *jobs.Registry
	dispatcher *dispatch.Dispatcher
	started    time.Time
	treeKill   string // as process.Host.TreeKill says
	config     string // path of the file
	socket     string
	// invalid says that the configuration is, and no pools run.
	invalid bool
}

var _ rpc.Backend = (*backend)(nil)

// Make implements rpc.Backend.
func (b *backend) Make(x rpc.Execution, caller rpc.Caller) (rpc.Job, *protocol.Error) {
	j, err := b.registry.Make(jobs.Spec{
		ID: x.JobID, Plugin: x.Plugin, Pool: x.Pool, Params: x.Params, Metadata: x.Metadata,
		Stream: x.Stream, Continue: x.Continue, Priority: x.Priority, UID: x.UID, PID: x.PID,
		Timeout: x.Timeout, MaxWait: x.MaxWait, HasMaxWait: x.HasMaxWait, Created: x.Created,
	}, caller)
	if err != nil {
		return nil, err
	}
	return j, nil
}

// Find implements rpc.Backend.
func (b *backend) Find(jobID string, uid uint32, admin bool) rpc.Job {
	if j := b.registry.Find(jobID, uid, admin); j != nil {
		return j
	}
	return nil
}

// Plugins implements rpc.Backend.
func (b *backend) Plugins() []protocol.Plugin { return b.dispatcher.Plugins() }

// Pools implements rpc.Backend.
func (b *backend) Pools() []protocol.Pool { return b.dispatcher.Pools() }

// Workers implements rpc.Backend.
func (b *backend) Workers() []protocol.Worker { return b.dispatcher.Workers() }

// Status implements rpc.Backend.
func (b *backend) Status() protocol.DaemonStatus {
	pools := b.dispatcher.Pools()
	return protocol.DaemonStatus{
		State:     b.state(pools),
		Version:   version,
		PID:       os.Getpid(),
		StartedAt: b.started.UTC(),
		UptimeMS:  *protocol.Milliseconds(time.Since(b.started)),
		Config:    b.config,
		Socket:    b.socket,
		Jobs:      b.registry.Counts(),
		Pools:     pools,
		TreeKill:  b.treeKill,
	}
}

func (b *backend) state(pools []protocol.Pool) protocol.DaemonState {
	switch {
	case b.dispatcher.Draining():
		return protocol.DaemonStopping
	case b.invalid:
		return protocol.DaemonConfigInvalid
	}
	select {
	case <-b.dispatcher.Settled():
	default:
		return protocol.DaemonStarting
	}
	for i := range pools {
		if pools[i].State != protocol.PoolReady {
			return protocol.DaemonDegraded
		}
	}
	return protocol.DaemonReady
}

// TODO lead: what follows stands in for the methods of rpc.Admin until they do what they say.

func notWired() *protocol.Error {
	return protocol.NewError(protocol.CodeInternalError, "not served yet")
}

// Reload implements rpc.Admin.
func (b *backend) Reload(context.Context) (protocol.DaemonReloadResult, *protocol.Error) {
	return protocol.DaemonReloadResult{}, notWired()
}

// ReloadPlugin implements rpc.Admin.
func (b *backend) ReloadPlugin(context.Context, string, string, []byte) ([]protocol.PluginWorker, *protocol.Error) {
	return nil, notWired()
}

// UnloadPlugin implements rpc.Admin.
func (b *backend) UnloadPlugin(context.Context, string, string) ([]protocol.PluginWorker, *protocol.Error) {
	return nil, notWired()
}

// Pool implements rpc.Admin.
func (b *backend) Pool(string) (protocol.Pool, *protocol.Error) { return protocol.Pool{}, notWired() }

// ScalePool implements rpc.Admin.
func (b *backend) ScalePool(string, *int, *int) (protocol.Pool, *protocol.Error) {
	return protocol.Pool{}, notWired()
}

// RestartPool implements rpc.Admin.
func (b *backend) RestartPool(context.Context, string) (protocol.Pool, *protocol.Error) {
	return protocol.Pool{}, notWired()
}

// PausePool implements rpc.Admin.
func (b *backend) PausePool(string) (protocol.Pool, *protocol.Error) {
	return protocol.Pool{}, notWired()
}

// ResumePool implements rpc.Admin.
func (b *backend) ResumePool(string) (protocol.Pool, *protocol.Error) {
	return protocol.Pool{}, notWired()
}

// WorkerState implements rpc.Admin.
func (b *backend) WorkerState(context.Context, string) (protocol.WorkerGetStateResult, *protocol.Error) {
	return protocol.WorkerGetStateResult{}, notWired()
}

// StopWorker implements rpc.Admin.
func (b *backend) StopWorker(context.Context, string, bool) (protocol.Worker, *protocol.Error) {
	return protocol.Worker{}, notWired()
}

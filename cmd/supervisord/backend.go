package main

import (
	"os"
	"time"

	"supervisord/internal/dispatch"
	"supervisord/internal/jobs"
	"supervisord/internal/rpc"
	"supervisord/protocol"
)

// backend joins the front door to the jobs and to what runs them.
type backend struct {
	instance *instance
	registry *jobs.Registry
	started  time.Time
}

var _ rpc.Backend = (*backend)(nil)

func newBackend(i *instance) *backend {
	backlog := int(i.config.Load().Jobs.ReplayBuffer)
	return &backend{
		instance: i, registry: jobs.New(jobs.Options{Backlog: backlog, Executor: i.dispatcher}), started: time.Now(),
	}
}

func (b *backend) dispatcher() *dispatch.Dispatcher { return b.instance.dispatcher }

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
func (b *backend) Plugins() []protocol.Plugin { return b.dispatcher().Plugins() }

// Pools implements rpc.Backend.
func (b *backend) Pools() []protocol.Pool { return b.dispatcher().Pools() }

// Workers implements rpc.Backend.
func (b *backend) Workers() []protocol.Worker { return b.dispatcher().Workers() }

// Status implements rpc.Backend.
func (b *backend) Status() protocol.DaemonStatus {
	pools := b.dispatcher().Pools()
	return protocol.DaemonStatus{
		State:     b.state(pools),
		Version:   version,
		PID:       os.Getpid(),
		StartedAt: b.started.UTC(),
		UptimeMS:  *protocol.Milliseconds(time.Since(b.started)),
		Config:    b.instance.config.Load().File,
		Socket:    b.instance.socket,
		Jobs:      b.registry.Counts(),
		Pools:     pools,
		TreeKill:  b.instance.host.TreeKill(),
	}
}

func (b *backend) state(pools []protocol.Pool) protocol.DaemonState {
	switch {
	case b.dispatcher().Draining():
		return protocol.DaemonStopping
	case b.instance.invalid.Load() != nil:
		return protocol.DaemonConfigInvalid
	}
	select {
	case <-b.dispatcher().Settled():
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

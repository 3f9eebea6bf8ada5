package rpc

import (
	"context"
	"errors"
	"strings"

	"supervisord/internal/outq"
	"supervisord/protocol"
)

// method is an entry of the method table. execute is not in it: it goes a way of its own.
type method struct {
	name string
	// admin says that only administrators may call it, where no access rule says otherwise.
	admin bool
	// waits says that it may take long, and so runs on a goroutine of its own.
	waits bool
	run   func(ctx context.Context, c *conn, params []byte) (any, *protocol.Error)
}

// methods is every method that this daemon serves besides execute.
var methods = table(
	method{name: protocol.MethodJobCancel, waits: true, run: jobCancel},
	method{name: protocol.MethodPluginList, run: pluginList},
	method{name: protocol.MethodPluginReload, admin: true, waits: true, run: pluginReload},
	method{name: protocol.MethodPluginUnload, admin: true, waits: true, run: pluginUnload},
	method{name: protocol.MethodPoolList, run: poolList},
	method{name: protocol.MethodPoolGet, run: poolGet},
	method{name: protocol.MethodPoolScale, admin: true, run: poolScale},
	method{name: protocol.MethodPoolRestart, admin: true, waits: true, run: poolRestart},
	method{name: protocol.MethodPoolPause, admin: true, run: poolPause},
	method{name: protocol.MethodPoolResume, admin: true, run: poolResume},
	method{name: protocol.MethodWorkerList, run: workerList},
	method{name: protocol.MethodWorkerGetState, waits: true, run: workerGetState},
	method{name: protocol.MethodWorkerStop, admin: true, waits: true, run: workerStop},
	method{name: protocol.MethodDaemonInfo, run: daemonInfo},
	method{name: protocol.MethodDaemonStatus, run: daemonStatus},
	method{name: protocol.MethodDaemonReload, admin: true, waits: true, run: daemonReload},
	method{name: protocol.MethodDaemonPing, run: daemonPing},
)

func table(list ...method) map[string]*method {
	byName := make(map[string]*method, len(list))
	for i := range list {
		byName[list[i].name] = &list[i]
	}
	return byName
}

// served is the methods that this daemon serves, in the order of the protocol.
func served() []string {
	var names []string
	for _, name := range protocol.Methods() {
		if _, ok := methods[name]; ok || name == protocol.MethodExecute {
			names = append(names, name)
		}
	}
	return names
}

// admit says why a peer may not call a method now, nil where it may.
func (s *Server) admit(p *Peer, name string) *protocol.Error {
	var m *method
	if name != protocol.MethodExecute {
		m = methods[name]
	}
	if m == nil && name != protocol.MethodExecute {
		const longest = 100
		if len(name) > longest {
			name = strings.ToValidUTF8(name[:longest], "")
		}
		err := protocol.NewError(protocol.CodeMethodNotFound, "there is no method of this name here")
		err.Data.Method = name
		return err
	}
	now := s.now.Load()
	if now.Invalid != nil && !strings.HasPrefix(name, "daemon.") && name != protocol.MethodRPCDiscover {
		return now.Invalid
	}
	if !now.Access.allows(p, name, m != nil && m.admin) {
		err := protocol.NewError(protocol.CodePermissionDenied, "this user may not call "+name)
		err.Data.Method, err.Data.UID = name, &p.UID
		return err
	}
	return nil
}

// jobCancel ends a job and answers when it has ended.
func jobCancel(ctx context.Context, c *conn, params []byte) (any, *protocol.Error) {
	p, err := jobCancelParams(params)
	if err != nil {
		return nil, err
	}
	job := c.s.backend.Find(p.JobID, c.peer.UID, c.administrates())
	if job == nil {
		err := protocol.NewError(protocol.CodeUnknownJob, "no job of this user has this id, or it has ended and is not kept")
		err.Data.JobID = p.JobID
		return nil, err
	}
	by := protocol.ByOwner
	if job.Owner() != c.peer.UID {
		by = protocol.ByOperator
	}
	var set outq.Set
	job.Cancel(by, p.Force, &set)
	set.Flush()
	select {
	case <-job.Done():
	case <-ctx.Done():
		err := detached(ctx, "no longer waiting for the end of the job, which is still cancelled")
		err.Data.JobID = p.JobID
		return nil, err
	}
	result := protocol.JobCancelResult{JobID: p.JobID}
	var how protocol.How
	if result.Status, how = job.Outcome(); how != "" {
		result.How = &how
	}
	return result, nil
}

// administrates reports whether the client may see and end what is other users'.
func (c *conn) administrates() bool { return c.s.now.Load().Access.administrates(c.peer) }

// detached is the answer to a request that no longer waits for what goes on without it.
func detached(ctx context.Context, message string) *protocol.Error {
	err := protocol.NewError(protocol.CodeCancelled, message)
	err.Data.How, err.Data.By = new(protocol.HowDetached), protocol.ByDisconnect
	if errors.Is(context.Cause(ctx), errDetached) {
		err.Data.By = protocol.ByCaller
	}
	return err
}

func jobCancelParams(params []byte) (p protocol.JobCancelParams, err *protocol.Error) {
	byName, err := members(params, "job_id", "force")
	if err != nil {
		return p, err
	}
	if p.JobID, err = textOf(byName, "job_id"); err != nil {
		return p, err
	}
	if !protocol.ValidJobID(p.JobID) { // nor is it repeated, however long
		return p, protocol.InvalidParams(protocol.Field{Path: "job_id", Reason: badJobID})
	}
	p.Force, err = booleanOf(byName, "force")
	return p, err
}

func pluginList(_ context.Context, c *conn, _ []byte) (any, *protocol.Error) {
	return protocol.PluginListResult{Plugins: c.s.backend.Plugins()}, nil
}

func poolList(_ context.Context, c *conn, _ []byte) (any, *protocol.Error) {
	return protocol.PoolListResult{Pools: c.s.backend.Pools()}, nil
}

func workerList(_ context.Context, c *conn, _ []byte) (any, *protocol.Error) {
	return protocol.WorkerListResult{Workers: c.s.backend.Workers()}, nil
}

func daemonInfo(_ context.Context, c *conn, _ []byte) (any, *protocol.Error) {
	now := c.s.now.Load()
	return protocol.DaemonInfo{
		Name:     "supervisord",
		Version:  c.s.version,
		Protocol: protocol.DaemonProtocol{Version: protocol.Version, Supported: []int{protocol.Version}},
		Limits: protocol.DaemonLimits{
			MaxConnections: now.MaxConnections, MaxConnectionsPerUID: now.MaxConnectionsPerUID,
			MaxInFlight: now.MaxInFlight, MaxInFlightPerUID: now.MaxInFlightPerUID,
			MaxQueuedBytes: now.MaxQueuedBytes, MaxMessage: int64(c.maxMessage), MaxBatch: now.MaxBatch,
			OutputBuffer: int64(c.outputBuffer), SlowClientTimeoutMS: *protocol.Milliseconds(c.slowTimeout),
		},
		Methods: c.s.served,
	}, nil
}

func daemonStatus(_ context.Context, c *conn, _ []byte) (any, *protocol.Error) {
	status := c.s.backend.Status()
	status.Connections = c.s.connections()
	return status, nil
}

func daemonPing(context.Context, *conn, []byte) (any, *protocol.Error) { return struct{}{}, nil }

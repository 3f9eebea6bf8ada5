package rpc_test

import (
	"context"
	"fmt"
	"time"

	"supervisord/internal/rpc"
	"supervisord/protocol"
)

// admin is the half of the fake that the methods for administrators reach. Its one pool is text, whose worker text/0
// offers spell.
type admin struct {
	asked chan string // what was asked, one text a call, as far as there is room
	// release lets calls with a context return; nil: they do at once.
	release chan struct{}
	reload  protocol.DaemonReloadResult
	failure *protocol.Error // what all of them answer, unless nil
}

// adminIs is an option of start.
func adminIs(change func(*admin)) func(*rpc.Options) {
	return func(o *rpc.Options) { change(&o.Backend.(*backend).admin) }
}

func (a *admin) note(format string, args ...any) {
	select {
	case a.asked <- fmt.Sprintf(format, args...):
	default: // nobody looks
	}
}

func (a *admin) ask(ctx context.Context, format string, args ...any) *protocol.Error {
	a.note(format, args...)
	if a.release != nil {
		select {
		case <-a.release:
		case <-ctx.Done():
			return protocol.NewError(protocol.CodeInternalError, "the context has ended")
		}
	}
	return a.failure
}

// unknown is the error for another name than the one there is.
func unknown(code protocol.Code, name, want string) *protocol.Error {
	if name == want || name == "" {
		return nil
	}
	err := protocol.NewError(code, "unknown")
	err.Data.Known = []string{want}
	return err
}

func (b *backend) Reload(ctx context.Context) (protocol.DaemonReloadResult, *protocol.Error) {
	return b.admin.reload, b.admin.ask(ctx, "reload")
}

func (b *backend) ReloadPlugin(ctx context.Context, plugin, pool string, config []byte) ([]protocol.PluginWorker, *protocol.Error) {
	err := b.admin.ask(ctx, "reload %s of %q with %s", plugin, pool, config)
	return b.reached(plugin, pool, err)
}

func (b *backend) UnloadPlugin(ctx context.Context, plugin, pool string) ([]protocol.PluginWorker, *protocol.Error) {
	err := b.admin.ask(ctx, "unload %s of %q", plugin, pool)
	return b.reached(plugin, pool, err)
}

func (b *backend) reached(plugin, pool string, err *protocol.Error) ([]protocol.PluginWorker, *protocol.Error) {
	for _, e := range []*protocol.Error{err, unknown(protocol.CodeUnknownPlugin, plugin, "spell"), unknown(protocol.CodeUnknownPool, pool, "text")} {
		if e != nil {
			return nil, e
		}
	}
	if pool == "" {
		return nil, nil // no worker has a process now
	}
	return []protocol.PluginWorker{{Worker: "text/0", Status: protocol.StatusError, Error: "no <memory>"}}, nil
}

func (b *backend) onPool(name string, err *protocol.Error) (protocol.Pool, *protocol.Error) {
	if err == nil {
		err = unknown(protocol.CodeUnknownPool, name, "text")
	}
	return protocol.Pool{Name: name, State: protocol.PoolReady}, err
}

func (b *backend) Pool(name string) (protocol.Pool, *protocol.Error) { return b.onPool(name, nil) }

func (b *backend) ScalePool(name string, minWorkers, maxWorkers *int) (protocol.Pool, *protocol.Error) {
	text := func(n *int) string {
		if n == nil {
			return "-"
		}
		return fmt.Sprint(*n)
	}
	b.admin.note("scale %s to %s..%s", name, text(minWorkers), text(maxWorkers))
	return b.onPool(name, nil)
}

func (b *backend) RestartPool(ctx context.Context, name string) (protocol.Pool, *protocol.Error) {
	return b.onPool(name, b.admin.ask(ctx, "restart %s", name))
}

func (b *backend) PausePool(name string) (protocol.Pool, *protocol.Error) {
	b.admin.note("pause %s", name)
	return b.onPool(name, nil)
}

func (b *backend) ResumePool(name string) (protocol.Pool, *protocol.Error) {
	b.admin.note("resume %s", name)
	return b.onPool(name, nil)
}

func (b *backend) WorkerState(ctx context.Context, worker string) (protocol.WorkerGetStateResult, *protocol.Error) {
	if err := b.admin.ask(ctx, "state of %s", worker); err != nil {
		return protocol.WorkerGetStateResult{}, err
	}
	return protocol.WorkerGetStateResult{
		Worker: protocol.Worker{Worker: worker, Pool: "text", JobIDs: []string{}, LoadedPlugins: []string{"spell"}},
		AsOf:   time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), CurrentConfig: []byte(`{"key": "secret"}`),
	}, unknown(protocol.CodeUnknownWorker, worker, "text/0")
}

func (b *backend) StopWorker(ctx context.Context, worker string, force bool) (protocol.Worker, *protocol.Error) {
	if err := b.admin.ask(ctx, "stop %s, force %v", worker, force); err != nil {
		return protocol.Worker{}, err
	}
	return protocol.Worker{Worker: worker, Pool: "text", JobIDs: []string{}, LoadedPlugins: []string{}}, unknown(protocol.CodeUnknownWorker, worker, "text/0")
}

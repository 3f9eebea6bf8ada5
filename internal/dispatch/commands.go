package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"supervisord/internal/workers"
	"supervisord/protocol"
)

// errBuiltIn says why a worker is not told to unload a plugin that it has without having been told to load it.
var errBuiltIn = errors.New("the pool has no plugins of its configuration: what its workers offer by themselves stays loaded")

// errGone says that a worker has ended, or takes no more jobs, before it could be told anything.
var errGone = errors.New("the worker is being replaced")

// tell tells one worker something, once it has no job: nothing else goes to it meanwhile. The end of ctx ends the waiting,
// not what the worker was told.
func (d *Dispatcher) tell(ctx context.Context, at *place, q workers.Request) (*workers.Answer, error) {
	select {
	case at.turn <- struct{}{}:
	case <-at.gone:
		return nil, errGone
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	reserved := make(chan struct{})
	if !d.reserve(at, func() { close(reserved) }) {
		<-at.turn
		return nil, errGone
	}
	select {
	case <-reserved:
	case <-at.gone:
		return nil, errGone
	case <-ctx.Done():
		d.release(at)
		return nil, context.Cause(ctx)
	}
	type outcome struct {
		answer *workers.Answer
		err    error
	}
	told := make(chan outcome, 1)
	if err := at.Ask(q, func(a *workers.Answer, err error) {
		d.release(at)
		told <- outcome{a, err}
	}); err != nil {
		d.release(at)
		return nil, err //nolint:wrapcheck // says which worker and what it was to do
	}
	select {
	case o := <-told:
		return o.answer, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// reserve asks for a worker without jobs; then is called once it is that, with the dispatcher's lock.
func (d *Dispatcher) reserve(at *place, then func()) bool {
	ok := false
	d.event(func(time.Time) {
		if ok = d.up[at.Incarnation] == at; ok {
			if ok = d.sched.Reserve(at.worker); ok {
				at.reserved = then
			}
		}
	})
	return ok
}

// release gives a worker back to its jobs, and lets the next command have its turn.
func (d *Dispatcher) release(at *place) {
	defer func() { <-at.turn }()
	d.event(func(now time.Time) {
		if d.up[at.Incarnation] == at {
			at.reserved = nil
			d.sched.Release(at.worker, at.Loaded(), now)
		}
	})
}

// loadLocked carries out the scheduler's wish for a plugin that a worker, which it has reserved, has not loaded.
func (d *Dispatcher) loadLocked(at *place, plugin string) {
	q := workers.Request{Type: protocol.TypeReload, Plugin: plugin, Config: at.pool.config(plugin)}
	_ = at.Ask(q, func(a *workers.Answer, err error) { // ErrDown: WorkerDown is on its way
		if err == nil && a.Error != "" {
			err = errors.New(a.Error)
		}
		d.event(func(now time.Time) {
			if err != nil {
				at.pool.refused[plugin] = refusal{err.Error(), at.Incarnation}
			} else {
				delete(at.pool.refused, plugin)
			}
			if d.up[at.Incarnation] == at {
				d.sched.Loaded(at.worker, plugin, err == nil, at.Loaded(), now)
			}
		})
	})
}

// config is the configuration of one of the pool's plugins; nil where it has none.
func (p *pool) config(plugin string) json.RawMessage {
	for _, c := range p.opts.Workers.Plugins {
		if c.Name == plugin {
			return c.Config
		}
	}
	return nil
}

// ReloadPlugin makes every worker of the pools that offer a plugin (of one pool where poolName names it) load it anew, one
// after the other, each between two jobs. With config, a JSON object, that one counts from now on, also for workers that
// start later, until the pool is tuned or rolled.
func (d *Dispatcher) ReloadPlugin(ctx context.Context, plugin, poolName string, config json.RawMessage) ([]protocol.PluginWorker, *protocol.Error) {
	return d.eachWorker(ctx, plugin, poolName, func(p *pool) workers.Request {
		if config != nil {
			p.setConfig(plugin, config)
		}
		q := workers.Request{Type: protocol.TypeReload, Plugin: plugin, Config: p.config(plugin)}
		if config != nil { // also where the pool has none to remember it in
			q.Config = config
		}
		return q
	})
}

// UnloadPlugin makes every worker that has a plugin give it up, in the same way. The next call to it loads it again.
func (d *Dispatcher) UnloadPlugin(ctx context.Context, plugin, poolName string) ([]protocol.PluginWorker, *protocol.Error) {
	return d.eachWorker(ctx, plugin, poolName, func(*pool) workers.Request {
		return workers.Request{Type: protocol.TypeUnload, Plugin: plugin}
	})
}

// setConfig is called with the dispatcher's lock.
func (p *pool) setConfig(plugin string, config json.RawMessage) {
	plugins := slices.Clone(p.opts.Workers.Plugins)
	i := slices.IndexFunc(plugins, func(c workers.Plugin) bool { return c.Name == plugin })
	if i < 0 {
		return // the pool offers what its workers name, and has no configs
	}
	plugins[i].Config = config
	o := p.opts
	o.Workers.Plugins = plugins
	p.tune(o)
}

func (d *Dispatcher) eachWorker(
	ctx context.Context, plugin, poolName string, request func(*pool) workers.Request,
) ([]protocol.PluginWorker, *protocol.Error) {
	d.mu.Lock()
	var pools []*pool
	for _, p := range d.pools {
		if (poolName == "" || p.opts.Spec.Name == poolName) && p.offers(plugin) && !p.leaving {
			pools = append(pools, p)
		}
	}
	var err *protocol.Error
	switch {
	case poolName != "" && d.byName[poolName] == nil:
		err = d.unknownPoolLocked(poolName)
	case len(pools) == 0:
		err = d.unknownPluginLocked(plugin, poolName)
	}
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	outcomes := []protocol.PluginWorker{}
	for _, p := range pools {
		list, err := d.eachWorkerOf(ctx, p, request)
		if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, list...)
	}
	return outcomes, nil
}

func (d *Dispatcher) eachWorkerOf(ctx context.Context, p *pool, request func(*pool) workers.Request) ([]protocol.PluginWorker, *protocol.Error) {
	select {
	case p.commands <- struct{}{}:
		defer func() { <-p.commands }()
	case <-ctx.Done():
		return nil, leftError()
	}
	d.mu.Lock()
	q := request(p)
	places := d.placesLocked(p)
	builtIn := len(p.opts.Spec.Plugins) == 0
	d.mu.Unlock()
	var outcomes []protocol.PluginWorker
	for _, at := range places {
		if q.Type == protocol.TypeUnload && builtIn { // and nothing could load it again
			outcomes = append(outcomes, protocol.PluginWorker{Worker: at.WorkerID(), Status: protocol.StatusError, Error: errBuiltIn.Error()})
			continue
		}
		answer, err := d.tell(ctx, at, q)
		if ctx.Err() != nil {
			return nil, leftError()
		}
		o := protocol.PluginWorker{Worker: at.WorkerID(), Status: protocol.StatusSuccess}
		switch {
		case err != nil:
			o.Status, o.Error = protocol.StatusError, err.Error()
		case answer.Error != "":
			o.Status, o.Error = protocol.StatusError, answer.Error
		case q.Type == protocol.TypeReload:
			d.event(func(time.Time) { delete(p.refused, q.Plugin) })
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, nil
}

// placesLocked are the workers of a pool that take jobs, by slot.
func (d *Dispatcher) placesLocked(p *pool) []*place {
	var places []*place
	for _, at := range d.up {
		if at.pool == p {
			places = append(places, at)
		}
	}
	slices.SortFunc(places, func(a, b *place) int { return a.Slot() - b.Slot() })
	return places
}

// leftError is for nobody: whoever asked has left, or has cancelled.
func leftError() *protocol.Error {
	err := protocol.NewError(protocol.CodeCancelled, "no longer waiting; what a worker was told goes on")
	err.Data.How, err.Data.By = new(protocol.HowDetached), protocol.ByCaller
	return err
}

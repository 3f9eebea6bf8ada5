package dispatch

import (
	"slices"

	"supervisord/protocol"
)

// Pools is the state of every pool, in the order of the configuration.
func (d *Dispatcher) Pools() []protocol.Pool {
	d.mu.Lock()
	pools := slices.Clone(d.pools)
	queued, made := make([]int, len(pools)), make([]PoolOptions, len(pools))
	for i, p := range pools {
		made[i], queued[i] = p.opts, d.sched.QueuedIn(p.opts.Spec.Name)
	}
	d.mu.Unlock()
	list := make([]protocol.Pool, len(pools))
	for i, p := range pools {
		list[i] = status(p, made[i], queued[i])
	}
	return list
}

// Workers is the state of every worker, pool by pool.
func (d *Dispatcher) Workers() []protocol.Worker {
	d.mu.Lock()
	pools := slices.Clone(d.pools)
	d.mu.Unlock()
	list := []protocol.Worker{}
	for _, p := range pools {
		list = append(list, p.List()...)
	}
	return list
}

// Plugins is what can be called, by name.
func (d *Dispatcher) Plugins() []protocol.Plugin {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []protocol.Plugin{}
	for _, name := range d.pluginNamesLocked("") {
		plugin := protocol.Plugin{Name: name, Residency: map[string]protocol.Residency{}}
		for _, p := range d.pools {
			if !p.offers(name) {
				continue
			}
			plugin.Pools = append(plugin.Pools, p.opts.Spec.Name)
			plugin.Residency[p.opts.Spec.Name] = d.residencyLocked(p, name)
			if info, ok := p.told[name]; ok {
				plugin.Streaming = plugin.Streaming || info.Streaming
				if plugin.Schema == nil {
					plugin.Schema = info.Schema
				}
				if plugin.Description == "" {
					plugin.Description = info.Description
				}
			}
		}
		list = append(list, plugin)
	}
	return list
}

func (d *Dispatcher) residencyLocked(p *pool, plugin string) protocol.Residency {
	_, failed := p.refused[plugin]
	resident, refused := false, failed
	for inc := range d.up {
		if inc.Pool() != p.Pool {
			continue
		}
		if slices.Contains(inc.Loaded(), plugin) {
			resident = true
		} else if !slices.Contains(inc.Ready().LoadedPlugins, plugin) { // else it was unloaded since
			refused = true
		}
	}
	switch {
	case resident:
		return protocol.ResidencyResident
	case refused:
		return protocol.ResidencyLoadFailed
	case p.Status().Workers.Starting > 0:
		return protocol.ResidencyLoading
	}
	return protocol.ResidencyUnloaded
}

// offers reports whether the pool is known to have the plugin.
func (p *pool) offers(plugin string) bool {
	if len(p.opts.Spec.Plugins) > 0 {
		return slices.Contains(p.opts.Spec.Plugins, plugin)
	}
	_, ok := p.told[plugin]
	return ok
}

// pluginNamesLocked is the sorted names of what a pool offers, of all pools for "".
func (d *Dispatcher) pluginNamesLocked(poolName string) []string {
	var names []string
	for _, p := range d.pools {
		if poolName != "" && p.opts.Spec.Name != poolName {
			continue
		}
		names = append(names, p.opts.Spec.Plugins...)
		if len(p.opts.Spec.Plugins) == 0 {
			for name := range p.told {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (d *Dispatcher) poolNamesLocked() []string {
	names := make([]string, len(d.pools))
	for i, p := range d.pools {
		names[i] = p.opts.Spec.Name
	}
	return names
}

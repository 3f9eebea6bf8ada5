package schedule

import (
	"slices"
	"time"
)

// loads reports whether the workers of the pool can be told to load a plugin: those it is configured to offer.
func (p *pool) loads() bool { return len(p.spec.Plugins) > 0 }

// mayLoad reports whether w should load the route's plugin, once it has no task: nobody serves it, and w has not refused.
func (w *Worker) mayLoad(r *route) bool {
	return w.pool.loads() && !w.refused[r.key.plugin] && !r.attended()
}

// attended reports whether a worker, busy or not, serves the route's plugin or is being told to load it.
func (r *route) attended() bool {
	plugin := r.key.plugin
	for _, p := range r.pools {
		if p.spec.Paused {
			continue
		}
		for _, w := range p.workers {
			if w.serves(plugin) || (w.hold == holdLoad && w.loading == plugin) {
				return true
			}
		}
	}
	return false
}

// seek finds an idle worker that should load the plugin for which the tasks of a route wait: that which was used least
// recently, since loading may cost it what it has loaded.
func (m *Machine) seek(r *route) {
	if r.head == nil {
		return
	}
	for _, p := range r.pools {
		for w := p.idleLast; w != nil && p.loads(); w = w.prev {
			switch {
			case w.refused[r.key.plugin]:
			case r.attended():
				return
			default:
				m.load(w, r.key.plugin)
				return
			}
		}
	}
}

func (m *Machine) load(w *Worker, plugin string) {
	w.hold, w.loading = holdLoad, plugin
	w.permit()
	w.pool.unlist(w)
	w.pool.loading++
	m.emit(Effect{Kind: Load, Worker: w, Plugin: plugin})
}

// Loaded answers Load: w has loaded the plugin, or could not, and these are all that it has loaded now. In the second case
// it has refused the plugin, until Release or a later Loaded says that it has it. Where all workers that are up have
// refused, and none comes, the tasks for the plugin are rejected.
func (m *Machine) Loaded(w *Worker, plugin string, ok bool, loaded []string, now time.Time) {
	if w.hold != holdLoad {
		return // it is down
	}
	if !w.down {
		w.pool.loading--
	}
	w.loading = ""
	if ok && !slices.Contains(loaded, plugin) {
		loaded = append(slices.Clip(loaded), plugin)
	}
	m.setLoaded(w, loaded)
	if !w.serves(plugin) {
		if w.refused == nil {
			w.refused = map[string]bool{}
		}
		w.refused[plugin] = true
	}
	if w.wanted {
		w.wanted, w.hold = false, holdAsked
		m.drained(w)
		m.reconsider(w.pool)
		return
	}
	m.giveBack(w, now)
}

// setLoaded notes the plugins that w has loaded, all of which a pool without configured ones offers from now on.
func (m *Machine) setLoaded(w *Worker, loaded []string) {
	p := w.pool
	clear(w.loaded)
	for _, name := range loaded {
		w.loaded[name] = true
		delete(w.refused, name)
	}
	if p.loads() || w.down || !p.open(w.slot) {
		return
	}
	for _, name := range loaded {
		m.offer(p, name)
	}
}

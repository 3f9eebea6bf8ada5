package dispatch

import "supervisord/internal/workers"

// PoolOf is the pool behind a name, for tests that look at its counters or stop it.
func (d *Dispatcher) PoolOf(name string) *workers.Pool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.byName[name].Pool
}

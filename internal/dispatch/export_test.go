package dispatch

import "supervisord/internal/workers"

// PoolOf is the pool behind a name, for tests that look at its counters or stop it.
func (d *Dispatcher) PoolOf(name string) *workers.Pool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.byName[name].Pool
}

// Rolls is how many generations of a pool are on their way.
func (d *Dispatcher) Rolls(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.byName[name].rolls)
}

// Due reports whether a worker is to be replaced for a reason of its own.
func (d *Dispatcher) Due(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for inc, at := range d.up {
		if inc.WorkerID() == id {
			return at.due
		}
	}
	return false
}

package schedule

import "time"

// admit decides whether a task that cannot start now may wait, and picks the pool in whose bound it counts.
func (m *Machine) admit(t *Task, now time.Time) (*pool, Reason) {
	if reason := t.route.unserved(); reason != 0 {
		return nil, reason
	}
	if t.NoWait || past(t.StartBy, now) {
		return nil, Expired
	}
	if m.maxBytes > 0 && m.bytes+t.Bytes > m.maxBytes {
		return nil, BytesFull
	}
	for _, p := range t.route.pools {
		if (p.spec.QueueSize == 0 || p.queued < p.spec.QueueSize) && p.mayServe(t.Plugin) {
			return p, 0
		}
	}
	return nil, QueueFull
}

// QueuedIn is the number of tasks that wait in a pool's bound.
func (m *Machine) QueuedIn(poolName string) int {
	if p := m.pools[poolName]; p != nil {
		return p.queued
	}
	return 0
}

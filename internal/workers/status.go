package workers

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"supervisord/protocol"
)

// view is what the owner of a worker shows of it.
type view struct {
	state  State
	since  time.Time
	number uint64
	inc    *Incarnation // nil while there is no process
	last   *Exit        // nil while none has ended
	next   time.Time    // of the next start, where one is due
	spent  bool         // the restarts are; the next start is a probe
}

// show publishes the view of a worker.
func (p *Pool) show(slot int, v view) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.views[slot] = v
	p.settleLocked()
}

// settleLocked derives the state of the pool from those of its workers.
func (p *Pool) settleLocked() {
	if s := p.stateLocked(); s != p.state {
		p.state, p.since = s, time.Now()
	}
}

func (p *Pool) stateLocked() protocol.PoolState {
	if p.stopping {
		return protocol.PoolStopped
	}
	var n [stateEnd]int
	spent := 0
	for i := range p.views {
		v := &p.views[i]
		if v.spent && v.state != Ready { // a probe, too, is not to be counted on
			spent++
		} else {
			n[v.state]++
		}
	}
	switch {
	case n[Ready] > 0:
		return protocol.PoolReady
	case n[Starting]+n[Initializing]+n[Draining]+n[Stopping] > 0:
		return protocol.PoolStarting
	case n[Backoff] > 0:
		return protocol.PoolBackoff
	case n[Stopped] > 0: // the next job starts one
		return protocol.PoolReady
	case spent > 0:
		return protocol.PoolFailed
	}
	return protocol.PoolStopped
}

// List is a snapshot of all workers, by slot.
func (p *Pool) List() []protocol.Worker {
	views := p.snapshot()
	list := make([]protocol.Worker, len(views))
	for slot, v := range views {
		w := protocol.Worker{
			Worker: p.workers[slot].id, Pool: p.opts.Name, State: protocol.WorkerState(v.state.String()), Incarnation: v.number,
			JobIDs: []string{}, LoadedPlugins: []string{},
		}
		if v.number > 1 {
			w.Restarts = int(v.number - 1) //nolint:gosec // a process each nanosecond would take centuries
		}
		if v.last != nil {
			w.LastExit = v.last.LastExit()
		}
		if v.inc != nil {
			w.PID, w.JobIDs, w.RSSBytes = v.inc.pid, v.inc.jobIDs(), residentBytes(v.inc.pid)
			if (v.state == Ready || v.state == Draining) && v.inc.ready != nil {
				w.LoadedPlugins = append(w.LoadedPlugins, v.inc.ready.LoadedPlugins...)
			}
		}
		list[slot] = w
	}
	return list
}

// Status is a snapshot of the pool, without what only the queue knows.
func (p *Pool) Status() protocol.Pool {
	p.mu.Lock()
	views := append([]view(nil), p.views...)
	status := protocol.Pool{Name: p.opts.Name, State: p.state, Since: p.since.UTC()}
	p.mu.Unlock()
	for i := range views {
		v := &views[i]
		switch {
		case v.state == Ready || v.state == Draining:
			if held, _ := v.inc.count(); held > 0 {
				status.Workers.Busy++
			} else if v.state == Ready {
				status.Workers.Ready++
			}
		case v.state == Failed || v.spent:
			status.Workers.Failed++
		case v.state == Starting || v.state == Initializing || v.state == Backoff:
			status.Workers.Starting++
		}
	}
	if status.State != protocol.PoolReady {
		status.Reason = p.reason(views)
	}
	return status
}

// Unavailable is the 1008 for a job that no worker of the pool can take.
func (p *Pool) Unavailable() *protocol.Error {
	p.mu.Lock()
	views := append([]view(nil), p.views...)
	state := p.state
	p.mu.Unlock()
	if state == protocol.PoolReady { // a worker came up, or a slot became free, since the job was refused
		state = protocol.PoolStarting
	}
	reason := p.reason(views)
	text := fmt.Sprintf("pool %s is not available: %s", p.opts.Name, state)
	if reason != "" {
		text += ": " + reason
	}
	err := protocol.NewError(protocol.CodePoolUnavailable, text)
	err.Data.State, err.Data.Reason = state, reason
	if last := lastFailure(views); last != nil && last.last != nil {
		err.Data.StderrTail = last.last.Stderr
	}
	err.Data.RetryAfterMS = retryAfter(views, time.Now())
	return err
}

func (p *Pool) snapshot() []view {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]view(nil), p.views...)
}

// reason says why there is no worker: how the last process to fail ended.
func (p *Pool) reason(views []view) string {
	v := lastFailure(views)
	if v == nil {
		return ""
	}
	for slot := range views {
		if &views[slot] == v {
			return fmt.Sprintf("worker %s: %s", p.workers[slot].id, v.last.Message)
		}
	}
	return ""
}

// lastFailure is the view with the latest exit that nobody asked for, nil for none.
func lastFailure(views []view) *view {
	var latest *view
	for i := range views {
		v := &views[i]
		if v.last != nil && v.last.kind != endPlanned && (latest == nil || v.last.Time.After(latest.last.Time)) {
			latest = v
		}
	}
	return latest
}

// retryAfter is the time until the first start that is due, nil where none is.
func retryAfter(views []view, now time.Time) *int64 {
	var next time.Time
	for i := range views {
		if t := views[i].next; !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if next.IsZero() {
		return nil
	}
	return protocol.Milliseconds(max(next.Sub(now), time.Millisecond))
}

// residentBytes is how much memory a process holds, 0 where that cannot be known.
func residentBytes(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0 // it has ended
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

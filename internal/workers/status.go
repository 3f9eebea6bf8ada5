package workers

import (
	"bytes"
	"cmp"
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
}

// shown is what is to be seen of a slot: its worker, and what outlives that.
type shown struct {
	view
	id    string
	last  *Exit     // nil while none has ended
	why   string    // there is no process
	next  time.Time // of the next start, where one is due
	spent bool      // the restarts are; the next start is a probe
}

// show publishes the view of a worker.
func (p *Pool) show(w *Worker, v view) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.view = v
	p.settleLocked()
}

// shownLocked is what is to be seen of the slots, those that are emptied as long as they have a process.
func (p *Pool) shownLocked() []shown {
	list := make([]shown, 0, len(p.slots))
	for _, s := range p.slots {
		if p.surplusLocked(s) && s.worker.view.inc == nil {
			continue
		}
		list = append(list, shown{view: s.worker.view, id: s.id, last: s.last, why: s.why, next: s.next, spent: s.spent})
	}
	return list
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
	for _, s := range p.slots {
		switch state := s.worker.view.state; {
		case s.spent && state != Ready: // a probe, too, is not to be counted on
			spent++
		case state == Stopped && p.surplusLocked(s):
		default:
			n[state]++
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

// List is a snapshot of all workers, by slot: the process that serves, where there are two.
func (p *Pool) List() []protocol.Worker {
	p.mu.Lock()
	slots := p.shownLocked()
	p.mu.Unlock()
	list := make([]protocol.Worker, len(slots))
	for i := range slots {
		v := &slots[i]
		w := protocol.Worker{
			Worker: v.id, Pool: p.name, State: protocol.WorkerState(v.state.String()), Incarnation: v.number,
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
			if v.state == Ready || v.state == Draining {
				w.CurrentPlugin, w.LoadedPlugins = v.inc.CurrentPlugin(), append(w.LoadedPlugins, v.inc.Loaded()...)
			}
		}
		list[i] = w
	}
	return list
}

// Status is a snapshot of the pool, without what only the queue knows.
func (p *Pool) Status() protocol.Pool {
	p.mu.Lock()
	slots := p.shownLocked()
	status := protocol.Pool{Name: p.name, State: p.state, Since: p.since.UTC()}
	p.mu.Unlock()
	for i := range slots {
		v := &slots[i]
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
		status.Reason = reason(slots)
	}
	return status
}

// Unavailable is the 1008 for a job that no worker of the pool can take.
func (p *Pool) Unavailable() *protocol.Error {
	p.mu.Lock()
	slots := p.shownLocked()
	state := p.state
	p.mu.Unlock()
	if state == protocol.PoolReady { // a worker came up, or a slot became free, since the job was refused
		state = protocol.PoolStarting
	}
	reason := reason(slots)
	text := fmt.Sprintf("pool %s is not available: %s", p.name, state)
	if reason != "" {
		text += ": " + reason
	}
	err := protocol.NewError(protocol.CodePoolUnavailable, text)
	err.Data.State, err.Data.Reason = state, reason
	if last := lastFailure(slots); last != nil {
		err.Data.StderrTail = last.last.Stderr
	}
	err.Data.RetryAfterMS = retryAfter(slots, time.Now())
	return err
}

// reason says why there is no worker: how the last process to fail ended.
func reason(slots []shown) string {
	v := lastFailure(slots)
	if v == nil {
		return ""
	}
	return fmt.Sprintf("worker %s: %s", v.id, cmp.Or(v.why, v.last.Message))
}

// lastFailure is the slot with the latest exit that nobody asked for, nil for none.
func lastFailure(slots []shown) *shown {
	var latest *shown
	for i := range slots {
		v := &slots[i]
		if v.last != nil && v.last.kind != endPlanned && (latest == nil || v.last.Time.After(latest.last.Time)) {
			latest = v
		}
	}
	return latest
}

// retryAfter is the time until the first start that is due, nil where none is.
func retryAfter(slots []shown, now time.Time) *int64 {
	var next time.Time
	for i := range slots {
		if t := slots[i].next; !t.IsZero() && (next.IsZero() || t.Before(next)) {
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

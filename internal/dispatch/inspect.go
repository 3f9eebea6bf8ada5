package dispatch

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"supervisord/internal/workers"
	"supervisord/protocol"
)

// WorkerState asks an idle worker for its state. Of one that is busy, with a job or a command, it tells what is known.
func (d *Dispatcher) WorkerState(ctx context.Context, id string) (protocol.WorkerGetStateResult, *protocol.Error) {
	p, at, err := d.findWorker(id)
	if err != nil {
		return protocol.WorkerGetStateResult{}, err
	}
	if at != nil && d.idle(at) {
		answer, failed := d.tell(ctx, at, workers.Request{Type: protocol.TypeGetState})
		if ctx.Err() != nil {
			return protocol.WorkerGetStateResult{}, leftError()
		}
		if failed == nil {
			d.event(func(now time.Time) { at.asOf, at.config = now, answer.State.CurrentConfig })
		}
	}
	result := protocol.WorkerGetStateResult{AsOf: time.Now().UTC()}
	if at != nil {
		d.mu.Lock()
		result.AsOf, result.CurrentConfig = at.asOf.UTC(), at.config
		d.mu.Unlock()
	}
	result.Worker = record(p, id)
	return result, nil
}

func (d *Dispatcher) idle(at *place) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return at.worker.Running() == 0 && !at.worker.Held()
}

// StopWorker ends a worker's process once it has no jobs, or with force at once, and lets another take its place. It
// waits until the process has ended. The error may be that it stays, since its successor did not become ready.
func (d *Dispatcher) StopWorker(ctx context.Context, id string, force bool) (protocol.Worker, *protocol.Error) {
	p, at, err := d.findWorker(id)
	if err != nil {
		return protocol.Worker{}, err
	}
	if at == nil {
		return record(p, id), nil
	}
	var r *failedSuccessor
	d.event(func(time.Time) {
		r = at.failed
		switch {
		case force: // also one that ends its jobs before it goes
			p.Kill(at.Incarnation)
		case d.up[at.Incarnation] == at:
			d.recycleLocked(at)
		}
	})
	select {
	case <-at.Exited():
		return record(p, id), nil
	case <-r.done:
		return protocol.Worker{}, at.stays(r)
	case <-ctx.Done():
		return protocol.Worker{}, leftError()
	}
}

// findWorker finds a worker by its id. Its place, which may take no more jobs, is nil while it has no process that was
// ready.
func (d *Dispatcher) findWorker(id string) (*pool, *place, *protocol.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var ids []string
	for _, p := range d.pools {
		for slot := range p.opts.Spec.MaxWorkers {
			ids = append(ids, p.Name()+"/"+strconv.Itoa(slot))
		}
	}
	if !slices.Contains(ids, id) {
		err := protocol.NewError(protocol.CodeUnknownWorker, fmt.Sprintf("there is no worker %q", short(id)))
		err.Data.Known = nearest(id, ids)
		return nil, nil, err
	}
	name, _, _ := strings.Cut(id, "/")
	p := d.byName[name]
	for _, at := range p.latest {
		if at.WorkerID() == id && !at.ended() {
			return p, at, nil
		}
	}
	return p, nil, nil
}

func (at *place) ended() bool {
	select {
	case <-at.Exited():
		return true
	default:
		return false
	}
}

// record is what a pool tells of one of its workers.
func record(p *pool, id string) protocol.Worker {
	for _, w := range p.List() {
		if w.Worker == id {
			return w
		}
	}
	return protocol.Worker{Worker: id, Pool: p.Name(), State: protocol.WorkerStopped, JobIDs: []string{}, LoadedPlugins: []string{}}
}

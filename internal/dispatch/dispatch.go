package dispatch

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"supervisord/internal/jobs"
	"supervisord/internal/outq"
	"supervisord/internal/schedule"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

// Options are what a Dispatcher needs.
type Options struct {
	// MaxQueuedBytes bounds the params of all jobs that wait; 0 does not.
	MaxQueuedBytes int64
	// OutputBuffer is how many bytes of chunks the caller of a job may leave untaken before the job is ended, where its
	// worker runs others beside it and so cannot be made to wait.
	OutputBuffer int
}

// Dispatcher is the jobs.Executor and the workers.Sink of a daemon. It is safe for concurrent use.
type Dispatcher struct {
	outputBuffer atomic.Int64 // Options.OutputBuffer

	mu      sync.Mutex // see the package's doc
	sched   *schedule.Machine
	pools   []*pool // in the order of the configuration
	byName  map[string]*pool
	up      map[*workers.Incarnation]*place
	free    []*run        // to be used again
	armed   time.Time     // when the timer fires; zero where it need not
	drained chan struct{} // closed when no job is left; nil until Drain

	unsettled map[slotKey]struct{} // workers that Add asked for and of whom nothing is known yet
	settled   chan struct{}        // closed when there are none; nil until Settled

	closed bool // Close was called: nothing is begun any more
	// cut ends with what Close may wait for.
	cut    context.Context //nolint:containedctx // pools end by themselves, at any time
	cutNow context.CancelFunc

	epoch   time.Time // what run.heard counts from
	timer   *time.Timer
	done    chan struct{}  // ends tick
	ticks   sync.WaitGroup // tick
	closing sync.WaitGroup // pools that were removed and end
}

type slotKey struct {
	pool string
	slot int
}

// Settled is closed once every worker that a pool wants to have at least is ready or has been given up. It is called
// after the pools were added; those that are added later do not count.
func (d *Dispatcher) Settled() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.settled == nil {
		d.settled = make(chan struct{})
		if len(d.unsettled) == 0 {
			close(d.settled)
		}
	}
	return d.settled
}

// settleLocked notes that something is known of a worker.
func (d *Dispatcher) settleLocked(poolName string, slot int) {
	key := slotKey{poolName, slot}
	if _, ok := d.unsettled[key]; !ok {
		return
	}
	delete(d.unsettled, key)
	if len(d.unsettled) > 0 || d.settled == nil {
		return
	}
	select {
	case <-d.settled: // before another pool was added
	default:
		close(d.settled)
	}
}

// New makes a dispatcher without pools. Close ends it.
func New(o Options) *Dispatcher {
	d := &Dispatcher{
		sched:     schedule.New(o.MaxQueuedBytes),
		byName:    map[string]*pool{},
		up:        map[*workers.Incarnation]*place{},
		unsettled: map[slotKey]struct{}{},
		epoch:     time.Now(),
		timer:     time.NewTimer(time.Hour),
		done:      make(chan struct{}),
	}
	d.cut, d.cutNow = context.WithCancel(context.Background())
	d.outputBuffer.Store(int64(o.OutputBuffer))
	d.timer.Stop()
	d.ticks.Go(d.tick)
	return d
}

// Submit implements jobs.Executor.
func (d *Dispatcher) Submit(j *jobs.Job, set *outq.Set) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.drained != nil {
		j.End(jobs.Ending{Code: protocol.CodeServerCancelled, By: protocol.ByShutdown})
	}
	if j.Ending() { // by Drain, or by somebody who found it before it came here
		j.Finish(nil, nil, "", protocol.HowQueued, j.Created, set)
		return
	}
	r := d.newRunLocked(j)
	d.sched.Submit(&r.task, j.Created)
	d.carryOutLocked(j.Created, set)
}

// End implements jobs.Executor.
func (d *Dispatcher) End(j *jobs.Job, e jobs.Ending, set *outq.Set) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endLocked(j, e, now, set)
	d.carryOutLocked(now, set)
}

func (d *Dispatcher) endLocked(j *jobs.Job, e jobs.Ending, now time.Time, set *outq.Set) {
	first := j.End(e)
	r, submitted := j.Handle.(*run)
	switch {
	case !submitted: // Submit will see it; or it has ended
	case d.sched.Cancel(&r.task):
		j.Finish(nil, nil, e.By, protocol.HowQueued, now, set)
		d.freeRunLocked(r)
	case r.at != nil && (first || e.Force):
		r.cancelled = true
		if e.Code == protocol.CodeWorkerDied {
			r.at.Stall(j.LinkID)
		} else {
			r.at.Cancel(j.LinkID, e.Force)
		}
	}
}

// carryOutLocked does what the scheduler asks for, until it asks for nothing more.
func (d *Dispatcher) carryOutLocked(now time.Time, set *outq.Set) {
	var undelivered []*run
	for {
		effects := d.sched.Effects()
		for i := range effects {
			e := &effects[i]
			switch e.Kind {
			case schedule.Grant:
				if r := ownerOf(e.Task); !r.grant(now, set) {
					undelivered = append(undelivered, r)
				}
			case schedule.Reject:
				r := ownerOf(e.Task)
				r.job.Finish(nil, d.rejection(r.job, e), "", protocol.HowQueued, now, set)
				d.freeRunLocked(r)
			case schedule.Start:
				if !d.byName[e.Pool].start(e.Slot) { // it has fewer slots now
					d.sched.SlotGone(e.Pool, e.Slot)
				}
			case schedule.Expire:
				r := ownerOf(e.Task)
				d.endLocked(r.job, deadlineEnding(protocol.PhaseRun, e.Limit), now, set)
			case schedule.Quiet:
				d.quietLocked(e.Task, now)
			case schedule.Stalled:
				r := ownerOf(e.Task)
				d.endLocked(r.job, stalled(r.at.WorkerID(), e.Limit), now, set)
			case schedule.Replace:
				if !d.byName[e.Pool].replace(e.Slot) { // it has ended a moment ago, or ends
					d.sched.ReplaceFailed(e.Pool, e.Slot)
				}
			case schedule.Retire:
				at := placeOf(e.Worker)
				at.pool.Retire(at.Incarnation)
			case schedule.Reserved:
				placeOf(e.Worker).reserved()
			case schedule.Load:
				d.loadLocked(placeOf(e.Worker), e.Plugin)
			case schedule.PoolGone:
				d.goneLocked(e.Pool)
			}
		}
		if len(effects) == 0 {
			break
		}
		// A worker that ended a moment ago took nothing; the jobs wait again, in their old places.
		for _, r := range undelivered {
			d.sched.Requeue(&r.task, now)
		}
		undelivered = undelivered[:0]
	}
	d.armLocked(now)
}

func ownerOf(t *schedule.Task) *run { return t.Owner.(*run) } //nolint:forcetypeassert // every task is made by Submit

func placeOf(w *schedule.Worker) *place { return w.Owner.(*place) } //nolint:forcetypeassert // set by WorkerUp

func deadlineEnding(phase protocol.Phase, limit time.Duration) jobs.Ending {
	code := protocol.CodeDeadlineExceeded
	return jobs.Ending{Code: code, By: code.Kind(), Phase: phase, Limit: limit}
}

// armLocked sets the timer where the next deadline is earlier than what it is set to. One that is later is not worth the
// call: the timer then fires once in vain.
func (d *Dispatcher) armLocked(now time.Time) {
	next := d.sched.Next()
	if next.IsZero() || (!d.armed.IsZero() && !next.Before(d.armed)) {
		return
	}
	d.armed = next
	d.timer.Reset(next.Sub(now))
}

// tick tells the scheduler the time whenever a deadline has passed.
func (d *Dispatcher) tick() {
	var set outq.Set
	for {
		select {
		case <-d.done:
			return
		case <-d.timer.C:
		}
		now := time.Now()
		d.mu.Lock()
		d.armed = time.Time{}
		d.sched.Tick(now)
		d.carryOutLocked(now, &set)
		d.mu.Unlock()
		set.Flush()
	}
}

// Drain refuses new jobs from now on and waits until those there are have left their workers, or ctx has ended. The last
// answers may come a moment later; Close waits for them.
func (d *Dispatcher) Drain(ctx context.Context) error {
	d.mu.Lock()
	if d.drained == nil {
		d.drained = make(chan struct{})
		d.checkDrainedLocked()
	}
	drained := d.drained
	d.mu.Unlock()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Draining reports whether Drain was called.
func (d *Dispatcher) Draining() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.drained != nil
}

// EndAll ends jobs because the daemon stops.
func (d *Dispatcher) EndAll(list []*jobs.Job) {
	var set outq.Set
	for _, j := range list {
		j.Cancel(protocol.ByShutdown, false, &set)
	}
	set.Flush()
}

func (d *Dispatcher) checkDrainedLocked() {
	if d.drained == nil || d.sched.Queued() > 0 || d.sched.Running() > 0 {
		return
	}
	select {
	case <-d.drained:
	default:
		close(d.drained)
	}
}

// Close stops all workers at once, waits until they are gone or ctx has ended, which kills them, and ends the
// dispatcher. Jobs that still run are lost, so Drain comes first.
func (d *Dispatcher) Close(ctx context.Context) {
	d.mu.Lock()
	d.closed = true
	pools := slices.Clone(d.pools)
	d.mu.Unlock()
	unhook := context.AfterFunc(ctx, d.cutNow)
	defer unhook()
	var stops sync.WaitGroup
	for _, p := range pools {
		stops.Go(func() { p.Stop(ctx) })
	}
	stops.Wait()
	d.closing.Wait()
	d.cutNow()
	close(d.done)
	d.ticks.Wait()
}

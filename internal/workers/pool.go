package workers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"supervisord/protocol"
)

// Pool is the workers that run one command. Its methods are safe for concurrent use.
type Pool struct {
	opts    Options
	log     *zap.Logger
	workers []*Worker
	counts  counts
	owners  sync.WaitGroup // begun only under mu and before stopping is set
	cut     chan struct{}  // closed when Stop may wait no longer
	cutOnce sync.Once

	mu       sync.Mutex // a leaf
	stopping bool
	views    []view // by slot
	state    protocol.PoolState
	since    time.Time // of state
}

// counts count what peers or faults of this program have caused, from the start on.
type counts struct{ dropped, ignored, illegal atomic.Uint64 }

// Stats are counters, from the pool's start on.
type Stats struct {
	// DroppedAnswers are answers of workers for jobs that they did not hold.
	DroppedAnswers uint64
	// IgnoredMessages are messages of a type that this version does not know.
	IgnoredMessages uint64
	// IllegalEvents are faults of this program.
	IllegalEvents uint64
}

// New makes a pool without processes. Workers are brought up by Start.
func New(o Options) (*Pool, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("pool %q: %w", o.Name, err)
	}
	if _, err := protocol.Encode(o.init()); err != nil {
		return nil, fmt.Errorf("pool %q: %w", o.Name, err)
	}
	p := &Pool{
		opts: o, log: o.Log.With(zap.String("pool", o.Name)),
		workers: make([]*Worker, o.MaxWorkers), views: make([]view, o.MaxWorkers), cut: make(chan struct{}),
		state: protocol.PoolReady, since: time.Now(),
	}
	for slot := range p.workers {
		id := o.Name + "/" + strconv.Itoa(slot)
		p.workers[slot] = &Worker{
			pool: p, slot: slot, id: id, log: p.log.With(zap.String("worker", id)),
			mail: newMailbox(), state: Stopped,
			restarts: restarts{
				policy: o.Policy, max: o.MaxRestartAttempts, base: o.RestartBackoffBase, cap: o.RestartBackoffMax,
				reset: o.RestartReset, random: rand.Float64,
			},
		}
		p.views[slot] = view{state: Stopped, since: p.since}
	}
	return p, nil
}

// Name is the pool's name.
func (p *Pool) Name() string { return p.opts.Name }

// Start asks for a process in slot, which must be below Options.MaxWorkers, where there is none and none will come by
// itself; the failures of the slot are forgotten. Sink tells what becomes of it. After Stop it does nothing.
func (p *Pool) Start(slot int) {
	w := p.workers[slot]
	p.mu.Lock()
	if p.stopping {
		p.mu.Unlock()
		return
	}
	if !w.running {
		w.running = true
		p.owners.Go(w.run)
	}
	p.mu.Unlock()
	w.mail.put(letter{kind: mailStart})
}

// Stop stops all workers at once: each gets the message stop and the end of its requests, after Options.StopTimeout
// SIGTERM, and two seconds later SIGKILL; when ctx ends, SIGKILL at once. It does not wait for jobs: those that are
// not answered by then are lost. It returns when no process, goroutine or descriptor of the pool is left; a second
// call waits for the same.
func (p *Pool) Stop(ctx context.Context) {
	p.mu.Lock()
	first := !p.stopping
	p.stopping = true
	if first {
		p.settleLocked()
	}
	p.mu.Unlock()
	if first {
		for _, w := range p.workers {
			w.mail.put(letter{kind: mailStop})
		}
	}
	unhook := context.AfterFunc(ctx, func() { p.cutOnce.Do(func() { close(p.cut) }) })
	defer unhook()
	p.owners.Wait()
}

// Stats returns the counters.
func (p *Pool) Stats() Stats {
	return Stats{
		DroppedAnswers: p.counts.dropped.Load(), IgnoredMessages: p.counts.ignored.Load(), IllegalEvents: p.counts.illegal.Load(),
	}
}

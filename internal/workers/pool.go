package workers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"supervisord/protocol"
)

// ErrStopped is why a pool that stops takes no new options.
var ErrStopped = errors.New("the pool stops")

// Pool is the workers that run one command. Its methods are safe for concurrent use, and but for Stop do not block.
type Pool struct {
	name    string
	sink    Sink
	log     *zap.Logger
	counts  counts
	owners  sync.WaitGroup // begun only under mu and before stopping is set
	cut     chan struct{}  // closed when Stop may wait no longer
	cutOnce sync.Once
	current atomic.Pointer[generation] // stored under mu

	mu          sync.Mutex // before that of a mailbox
	stopping    bool
	slots       []*slot
	size        int    // of slots that are wanted; those from there on are emptied
	prober      *slot  // whose probe goes on; nil while none does
	roll        *roll  // nil while none is open
	generations uint64 // the last number that was given
	state       protocol.PoolState
	since       time.Time // of state
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
	p := &Pool{
		name: o.Name, sink: o.Sink, log: o.Log.With(zap.String("pool", o.Name)), cut: make(chan struct{}),
		generations: 1, state: protocol.PoolReady, since: time.Now(),
	}
	p.current.Store(&generation{number: p.generations, opts: &o})
	p.mu.Lock()
	p.resizeLocked()
	p.mu.Unlock()
	return p, nil
}

// Name is the pool's name.
func (p *Pool) Name() string { return p.name }

// Start asks for a process in slot where there is none and none will come by itself; the failures of the slot are
// forgotten. Sink tells what becomes of it. After Stop, or for a slot that is not below Options.MaxWorkers, it does
// nothing.
func (p *Pool) Start(slot int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping || slot >= p.size {
		return false
	}
	w := p.slots[slot].worker
	p.runLocked(w)
	w.mail.put(letter{kind: mailStart})
	return true
}

// Stop stops all workers at once: each process gets the message stop and the end of its requests, after
// Options.StopTimeout SIGTERM, and two seconds later SIGKILL; when ctx ends, SIGKILL at once. It does not wait for jobs:
// those that are not answered by then are lost. A successor that is not ready yet ends without a word. It returns when no
// process, goroutine or descriptor of the pool is left; a second call waits for the same.
func (p *Pool) Stop(ctx context.Context) {
	p.mu.Lock()
	if !p.stopping {
		p.supersedeLocked("the pool stops")
		p.stopping = true
		p.settleLocked()
		for _, w := range p.runningLocked() {
			w.mail.put(letter{kind: mailStop})
		}
	}
	p.mu.Unlock()
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

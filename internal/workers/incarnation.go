package workers

import (
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"supervisord/internal/outq"
	"supervisord/internal/process"
	"supervisord/protocol"
)

// keepBuffer is the largest drained output buffer of a link that is used again.
const keepBuffer = 256 << 10

// Incarnation is one process of a worker with its link. Its exported methods are safe for concurrent use and do not
// block, so that Sink's owner may call them under its own lock.
type Incarnation struct {
	worker  *Worker
	number  uint64
	gen     *generation // that it was started from
	pid     int
	proc    *process.Process
	queue   *outq.Queue
	link    *link
	output  *output
	log     *zap.Logger
	created time.Time

	// readers are all goroutines of this incarnation; they end once exit is closed, the pipes are drained or their
	// deadline has passed, and the queue has ended.
	readers sync.WaitGroup
	// exit is closed when the process has ended.
	exit chan struct{}

	// Set by the link's reader before it mails ready, immutable after that.
	ready      *protocol.Ready
	capacity   int
	cancels    bool              // the worker has protocol.FeatureCancel
	meta       bool              // and protocol.FeatureMeta
	requestIDs bool              // and protocol.FeatureRequestID
	quoted     map[string][]byte // its plugin names as JSON strings

	succeeded atomic.Bool // a job ended with success
	// See recycle.go: what it may use up, nil for no limit; and its memory will be looked at.
	quota   atomic.Pointer[quota]
	looking atomic.Bool
	// See watch.go: when the frame began to which a read has to wait, 1 at created, 0 for none; and the owner watches it.
	tornAt      atomic.Int64
	tornWatched atomic.Bool

	// Set by the goroutine that watches the requests, and then by finish.
	unheld bool  // nobody has their reading end
	read   int64 // how many bytes of them were read, as far as that is known

	mu        sync.Mutex // taken after the caller's lock and before the queue's
	accepting bool       // from WorkerUp to WorkerDown
	draining  bool       // the owner wants to know when jobs end
	jobs      map[string]held
	asked     *asked // nil while no command is to be answered
	asks      uint64 // commands, from the start on
	plugins   plugins
}

// Pool is the pool that the incarnation belongs to.
func (i *Incarnation) Pool() *Pool { return i.worker.pool }

// Slot is its worker's slot.
func (i *Incarnation) Slot() int { return i.worker.slot.index }

// WorkerID is its worker's id, pool/slot.
func (i *Incarnation) WorkerID() string { return i.worker.slot.id }

// Number counts the processes of the worker, from 1.
func (i *Incarnation) Number() uint64 { return i.number }

// PID is the process's id.
func (i *Incarnation) PID() int { return i.pid }

// Current reports whether it was started from the pool's current generation of options (see Pool.Roll).
func (i *Incarnation) Current() bool { return i.gen.number == i.worker.pool.current.Load().number }

// Generation numbers it.
func (i *Incarnation) Generation() uint64 { return i.gen.number }

// Exited is closed when the process has ended.
func (i *Incarnation) Exited() <-chan struct{} { return i.exit }

// Stderr is the last lines of its stderr, oldest first.
func (i *Incarnation) Stderr() []string { return i.output.stderrTail() }

// Capacity is how many jobs it takes at once. Known from Sink.WorkerUp on.
func (i *Incarnation) Capacity() int { return i.capacity }

// Ready is what it answered to init, which the caller must not change. Known from Sink.WorkerUp on.
func (i *Incarnation) Ready() *protocol.Ready { return i.ready }

// setReady takes over what the process answered to init.
func (i *Incarnation) setReady(m *protocol.Ready) {
	i.ready = m
	i.meta = slices.Contains(m.Features, protocol.FeatureMeta)
	i.cancels = slices.Contains(m.Features, protocol.FeatureCancel)
	i.requestIDs = slices.Contains(m.Features, protocol.FeatureRequestID)
	i.capacity = 1
	if i.cancels && slices.Contains(m.Features, protocol.FeatureConcurrent) {
		i.capacity = i.gen.opts.Concurrency
	}
	i.plugins.loaded = m.LoadedPlugins // nobody else knows it yet
	i.quoted = make(map[string][]byte, len(m.LoadedPlugins))
	for _, name := range m.LoadedPlugins {
		i.quoted[name] = quoteJSON(name)
	}
}

// begin starts the process and its goroutines. The caller owns the incarnation.
func (w *Worker) begin() (*Incarnation, error) {
	o := w.gen.opts
	proc, err := o.Host.Start(&process.Command{
		Name: w.slot.id + "." + strconv.FormatUint(w.number, 10), Argv: o.Command, Directory: o.Directory,
		Env: o.environment(w.slot.index, w.number), Credential: o.Credential,
		MemoryLimit: o.MemoryLimit, CPULimit: o.CPULimit, TasksLimit: o.TasksLimit,
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // says what could not be done
	}
	inc := &Incarnation{
		worker: w, number: w.number, gen: w.gen, pid: proc.PID(), proc: proc, created: time.Now(),
		log:  w.log.With(zap.Uint64("incarnation", w.number), zap.Int("pid", proc.PID())),
		exit: make(chan struct{}), jobs: make(map[string]held),
	}
	inc.output = &output{log: inc.log, job: inc.soleJob}
	inc.queue = outq.New(proc.Requests, outq.Options{Keep: keepBuffer, Failed: inc.cannotWrite})
	inc.link = newLink(inc, o.MaxMessage)
	inc.readers.Go(func() {
		if err := proc.WaitExit(); err != nil {
			inc.log.Error("watching worker process", zap.Error(err)) // it is killed, so that its end is known
		}
		close(inc.exit)
	})
	inc.readers.Go(func() { inc.output.read(proc.Stdout, "stdout") })
	inc.readers.Go(func() { inc.output.read(proc.Stderr, "stderr") })
	inc.readers.Go(inc.watchRequests)
	inc.readers.Go(inc.link.run)
	return inc, nil
}

// closeRequests ends the requests once all that is queued has been written.
func (i *Incarnation) closeRequests() {
	i.readers.Go(func() {
		_ = i.queue.WaitBelow(0) // the queue's end comes to the same
		i.queue.End()
		_ = i.proc.Requests.Close() // closed already: the process has ended
	})
}

// cannotWrite is told by the queue why it has ended.
func (i *Incarnation) cannotWrite(err error) {
	kind := mailClosed
	switch {
	case errors.Is(err, outq.ErrStalled):
		kind, err = mailFault, errors.New("took nothing of what was sent to it for too long")
	case errors.Is(err, syscall.EPIPE):
		err = errClosedRequests
	}
	i.worker.mail.put(letter{kind: kind, inc: i, err: err})
}

// finish takes what the process left in its pipes, reaps it and frees all that it had. The process has ended.
func (i *Incarnation) finish() (*process.Exit, error) {
	i.proc.Kill() // what is left of its tree
	taken := i.queue.Halt()
	until := time.Now().Add(drainTime)
	i.proc.DrainUntil(until)
	_ = i.proc.Requests.SetReadDeadline(until) // of watchRequests; closed already: it has ended
	i.readers.Wait()
	i.output.close()
	exit, err := i.proc.Reap()
	i.measure(taken)
	i.proc.Close()
	i.queue.Wait()
	return exit, err //nolint:wrapcheck // names the process
}

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
	worker *Worker
	number uint64
	pid    int
	proc   *process.Process
	queue  *outq.Queue
	link   *link
	output *output
	log    *zap.Logger

	// readers are all goroutines of this incarnation; they end once exit is closed, the pipes are drained or their
	// deadline has passed, and the queue has ended.
	readers sync.WaitGroup
	// exit is closed when the process has ended.
	exit chan struct{}

	// Set by the link's reader before it mails ready, immutable after that.
	ready    *protocol.Ready
	capacity int
	cancels  bool              // the worker has protocol.FeatureCancel
	meta     bool              // and protocol.FeatureMeta
	quoted   map[string][]byte // its plugin names as JSON strings

	succeeded atomic.Bool // a job ended with success

	mu        sync.Mutex // taken after the caller's lock and before the queue's
	accepting bool       // from WorkerUp to WorkerDown
	draining  bool       // the owner wants to know when jobs end
	jobs      map[string]held
}

// held is a job that the process has and that has not ended. The reader of the link removes it, and the owner once the
// reader has ended.
type held struct {
	job          Job
	id           string // the client's
	linkID       string
	cancelled    bool
	unresponsive bool
}

// Pool is the pool that the incarnation belongs to.
func (i *Incarnation) Pool() *Pool { return i.worker.pool }

// Slot is its worker's slot.
func (i *Incarnation) Slot() int { return i.worker.slot }

// WorkerID is its worker's id, pool/slot.
func (i *Incarnation) WorkerID() string { return i.worker.id }

// Number counts the processes of the worker, from 1.
func (i *Incarnation) Number() uint64 { return i.number }

// PID is the process's id.
func (i *Incarnation) PID() int { return i.pid }

// Capacity is how many jobs it takes at once. Known from Sink.WorkerUp on.
func (i *Incarnation) Capacity() int { return i.capacity }

// Ready is what it answered to init, which the caller must not change. Known from Sink.WorkerUp on.
func (i *Incarnation) Ready() *protocol.Ready { return i.ready }

// Execute gives it a job and adds the queue that the frame waits in to set. It calls job.ID, and job.Result or job.Lost
// may come before it returns. False says that the incarnation takes no jobs any more, and will not: WorkerDown has been
// called or is about to be, and job is not held.
func (i *Incarnation) Execute(e *Execution, job Job, set *outq.Set) bool {
	id := job.ID()
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.accepting || !i.sendExecute(e) {
		return false
	}
	i.jobs[e.LinkID] = held{job: job, id: id, linkID: e.LinkID}
	set.Add(i.queue)
	if i.link.paused.Load() {
		i.link.Resume()
	}
	return true
}

// Cancel makes a job end, by the gentlest means that work: the message cancel where the worker knows it, then, when the
// grace is over, the end of the process; with force the process is killed at once. Nothing happens when the job has
// ended or force adds nothing to an earlier call. Job.Result or Job.Lost follows, and before that Job.Unresponsive where
// the process has to live on for the jobs beside it.
func (i *Incarnation) Cancel(linkID string, force bool) {
	i.mu.Lock()
	h, ok := i.jobs[linkID]
	news := ok && (force || !h.cancelled)
	if news && !h.cancelled {
		h.cancelled = true
		i.jobs[linkID] = h
		if i.cancels && !force {
			i.sendCancel(linkID)
		}
	}
	i.mu.Unlock()
	if !news {
		return
	}
	kind := mailCancel
	if force {
		kind = mailKill
	}
	i.worker.mail.put(letter{kind: kind, inc: i, job: linkID})
}

// take removes the job with the raw link id, which has ended.
func (i *Incarnation) take(linkID []byte) (Job, bool) {
	i.mu.Lock()
	h, ok := i.jobs[string(linkID)]
	if ok {
		delete(i.jobs, string(linkID))
	}
	tell := ok && i.draining
	i.mu.Unlock()
	if tell {
		i.worker.mail.put(letter{kind: mailJobEnded, inc: i})
	}
	return h.job, ok
}

// isAlone reports whether it has one job and no other.
func (i *Incarnation) isAlone() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.jobs) == 1
}

// find looks a job up by its raw link id.
func (i *Incarnation) find(linkID []byte) (held, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	h, ok := i.jobs[string(linkID)]
	return h, ok
}

// accept opens the incarnation for jobs.
func (i *Incarnation) accept() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.accepting = true
}

// refuse closes it again.
func (i *Incarnation) refuse() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.accepting = false
}

// condemn says that a job did not heed its cancel: from now on the incarnation takes no jobs, and tells when one ends.
// It returns the job, nil when it has ended, and whether another beside it still deserves its time.
func (i *Incarnation) condemn(linkID string) (job Job, siblings bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	h, ok := i.jobs[linkID]
	if !ok {
		return nil, false
	}
	h.unresponsive = true
	i.jobs[linkID] = h
	i.accepting, i.draining = false, true
	_, responsive := i.countLocked()
	return h.job, responsive > 0
}

// count is how many jobs it holds, and how many of them have not been found unresponsive.
func (i *Incarnation) count() (held, responsive int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.countLocked()
}

func (i *Incarnation) countLocked() (held, responsive int) {
	for _, h := range i.jobs {
		if !h.unresponsive {
			responsive++
		}
	}
	return len(i.jobs), responsive
}

// takeAll removes all jobs, in the order of their link ids.
func (i *Incarnation) takeAll() []Job {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.accepting = false
	ids := make([]string, 0, len(i.jobs))
	for id := range i.jobs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	jobs := make([]Job, 0, len(ids))
	for _, id := range ids {
		jobs = append(jobs, i.jobs[id].job)
	}
	clear(i.jobs)
	return jobs
}

// jobIDs are the ids by which clients know the jobs it holds, sorted.
func (i *Incarnation) jobIDs() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	ids := make([]string, 0, len(i.jobs))
	for _, h := range i.jobs {
		ids = append(ids, h.id)
	}
	slices.Sort(ids)
	return ids
}

// soleJob is the id of its job where it has just one, else "".
func (i *Incarnation) soleJob() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.jobs) != 1 {
		return ""
	}
	for _, h := range i.jobs {
		return h.id
	}
	return ""
}

// setReady takes over what the process answered to init.
func (i *Incarnation) setReady(m *protocol.Ready) {
	i.ready = m
	i.meta = slices.Contains(m.Features, protocol.FeatureMeta)
	i.cancels = slices.Contains(m.Features, protocol.FeatureCancel)
	i.capacity = 1
	if i.cancels && slices.Contains(m.Features, protocol.FeatureConcurrent) {
		i.capacity = i.worker.pool.opts.Concurrency
	}
	i.quoted = make(map[string][]byte, len(m.LoadedPlugins))
	for _, name := range m.LoadedPlugins {
		i.quoted[name] = quoteJSON(name)
	}
}

// begin starts the process and its goroutines. The caller owns the incarnation.
func (w *Worker) begin() (*Incarnation, error) {
	o := &w.pool.opts
	env := o.environment(w.slot, w.number, o.LookupEnv)
	proc, err := o.Host.Start(&process.Command{
		Name: w.id + "." + strconv.FormatUint(w.number, 10), Argv: o.Command, Directory: o.Directory, Env: env,
		Credential: o.Credential,
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // says what could not be done
	}
	inc := &Incarnation{
		worker: w, number: w.number, pid: proc.PID(), proc: proc,
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
	if errors.Is(err, syscall.EPIPE) {
		err = errClosedRequests
	}
	i.worker.mail.put(letter{kind: mailClosed, inc: i, err: err})
}

// finish takes what the process left in its pipes, reaps it and frees all that it had. The process has ended.
func (i *Incarnation) finish() (*process.Exit, error) {
	i.proc.Kill() // what is left of its group
	i.queue.End()
	i.proc.DrainUntil(time.Now().Add(drainTime))
	i.readers.Wait()
	i.output.close()
	exit, err := i.proc.Reap()
	i.proc.Close()
	i.queue.Wait()
	return exit, err //nolint:wrapcheck // names the process
}

package workers

import (
	"slices"

	"supervisord/internal/outq"
)

// held is a job that the process has and that has not ended. The reader of the link removes it, and the owner once the
// reader has ended.
type held struct {
	job          Job
	id           string // the client's
	linkID       string
	begin        int64 // of its frame, in the stream of requests
	cancelled    bool
	stalled      bool
	unresponsive bool
}

// Execute gives it a job and adds the queue that the frame waits in to set. It calls job.ID, and job.Result or job.Lost
// may come before it returns. False says that the incarnation takes no jobs any more, and will not: WorkerDown has been
// called or is about to be, and job is not held.
func (i *Incarnation) Execute(e *Execution, job Job, set *outq.Set) bool {
	id := job.ID()
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.accepting {
		return false
	}
	begin, ok := i.sendExecute(e)
	if !ok {
		return false
	}
	i.jobs[e.LinkID] = held{job: job, id: id, linkID: e.LinkID, begin: begin}
	i.plugins.current = e.Plugin
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
func (i *Incarnation) Cancel(linkID string, force bool) { i.cancel(linkID, force, false) }

// Stall is Cancel without force for a job that makes no progress: if its process has to end, the cause of that is
// protocol.CauseStalled.
func (i *Incarnation) Stall(linkID string) { i.cancel(linkID, false, true) }

func (i *Incarnation) cancel(linkID string, force, stalled bool) {
	i.mu.Lock()
	h, ok := i.jobs[linkID]
	news := ok && (force || !h.cancelled)
	if news && !h.cancelled {
		h.cancelled, h.stalled = true, stalled
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

// drainJobs makes it take no jobs, and tell when one ends.
func (i *Incarnation) drainJobs() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.accepting, i.draining = false, true
}

// condemn says that a job did not heed its cancel: from now on the incarnation takes no jobs, and tells when one ends.
// It returns the job, whose job is nil when it has ended, and whether another beside it still deserves its time.
func (i *Incarnation) condemn(linkID string) (h held, siblings bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	h, ok := i.jobs[linkID]
	if !ok {
		return held{}, false
	}
	h.unresponsive = true
	i.jobs[linkID] = h
	i.accepting, i.draining = false, true
	_, responsive := i.countLocked()
	return h, responsive > 0
}

func (i *Incarnation) isDraining() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.draining
}

// stuck is why the process is made to end where only jobs are left that did not heed their cancel, or too long ago.
func (i *Incarnation) stuck() doom {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, h := range i.jobs {
		if h.unresponsive && h.stalled {
			return stalled
		}
	}
	return unheeded
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
func (i *Incarnation) takeAll() []held {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.accepting = false
	ids := make([]string, 0, len(i.jobs))
	for id := range i.jobs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	jobs := make([]held, 0, len(ids))
	for _, id := range ids {
		jobs = append(jobs, i.jobs[id])
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

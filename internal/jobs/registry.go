package jobs

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"supervisord/internal/outq"
	"supervisord/protocol"
)

// Executor runs jobs. The one of this daemon joins the scheduler and the workers.
type Executor interface {
	// Submit takes a new job. It will be finished through Job.Finish, perhaps during the call. Nothing blocks.
	Submit(j *Job, set *outq.Set)
	// End ends a job for the reason e, also one that has not been submitted yet; it is finished when it has really
	// ended, perhaps during the call.
	End(j *Job, e Ending, set *outq.Set)
}

// Options are what a Registry needs.
type Options struct {
	// Backlog bounds, in bytes, the chunks of one job that its caller has not taken.
	Backlog int
	// Executor runs the jobs.
	Executor Executor
}

// Registry holds the jobs that have not ended. It is safe for concurrent use.
type Registry struct {
	opts   Options
	boot   string // makes ids differ from those of an earlier daemon
	counts counters

	mu     sync.Mutex
	ids    string // ready-made ids, one after the other in one string, so that most jobs allocate none
	last   uint64 // number of the last id that was given out
	live   map[uint64]*Job
	chosen map[chosenID]*Job // those of live whose callers chose an id
	unsafe quarantine
}

// chosenID is an id that a caller chose, which is unique for each user.
type chosenID struct {
	uid uint32
	id  string
}

// New makes an empty registry.
func New(o Options) *Registry {
	var boot [4]byte
	rand.Read(boot[:]) // never fails
	return &Registry{opts: o, boot: hex.EncodeToString(boot[:]), live: map[uint64]*Job{}, chosen: map[chosenID]*Job{}, unsafe: newQuarantine()}
}

// An id of ours is boot, a hyphen and the job's number, in base 36 and with leading zeros: enough for 10^15 jobs.
const (
	idDigits = 10
	idLength = 8 + 1 + idDigits
	idBlock  = 64
)

// newIDLocked makes an id that no other job has, had or will have, and the number in it.
func (r *Registry) newIDLocked() (string, uint64) {
	if len(r.ids) == 0 {
		block := make([]byte, 0, idBlock*idLength)
		for i := range uint64(idBlock) {
			var digits [16]byte
			n := strconv.AppendUint(digits[:0], r.last+1+i, 36)
			block = append(append(block, r.boot...), '-')
			for range idDigits - len(n) {
				block = append(block, '0')
			}
			block = append(block, n...)
		}
		r.ids = string(block)
	}
	id := r.ids[:idLength]
	r.ids = r.ids[idLength:]
	r.last++
	return id, r.last
}

// numberIn is the number in an id of ours, 0 for any other text.
func (r *Registry) numberIn(id string) uint64 {
	digits, ok := strings.CutPrefix(id, r.boot+"-")
	if !ok || len(digits) != idDigits {
		return 0
	}
	n, err := strconv.ParseUint(digits, 36, 64)
	if err != nil || strings.ToLower(digits) != digits {
		return 0
	}
	return n
}

// Make makes a job, whose caller is not called before Job.Start. The error says that the caller's own id is in use,
// CodeConflict, or that of a job which has killed its workers, CodeQuarantined.
func (r *Registry) Make(s Spec, caller Caller) (*Job, *protocol.Error) {
	j := &Job{Spec: s, registry: r, limit: r.opts.Backlog, status: protocol.JobPending, caller: caller}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.ID != "" {
		key := chosenID{s.UID, s.ID}
		if r.chosen[key] != nil {
			err := protocol.NewError(protocol.CodeConflict, "a job with this job_id has not ended yet")
			err.Data.JobID = s.ID
			return nil, err
		}
		if err := r.unsafe.refuse(key); err != nil {
			return nil, err
		}
		r.chosen[key], j.chosen = j, true
	}
	j.LinkID, j.number = r.newIDLocked()
	for !j.chosen && r.chosen[chosenID{s.UID, j.LinkID}] != nil { // somebody has guessed it
		j.LinkID, j.number = r.newIDLocked()
	}
	if j.ID == "" {
		j.ID = j.LinkID
	}
	r.live[j.number] = j
	return j, nil
}

// Find returns the live job that the user uid knows as id: one of his own, or any where admin.
func (r *Registry) Find(id string, uid uint32, admin bool) *Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	if j := r.chosen[chosenID{uid, id}]; j != nil {
		return j
	}
	if j := r.live[r.numberIn(id)]; j != nil && j.ID == id && (admin || j.UID == uid) {
		return j
	}
	if admin {
		for key, j := range r.chosen { // other users' own ids: rare, and an administrator's alone
			if key.id == id {
				return j
			}
		}
	}
	return nil
}

// All returns the live jobs, in no order.
func (r *Registry) All() []*Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.live))
}

// ended forgets a job; it is called with the job's lock held.
func (r *Registry) ended(j *Job, before, now protocol.JobStatus) {
	r.counts.ended(before, now)
	r.mu.Lock()
	delete(r.live, j.number)
	if j.chosen {
		delete(r.chosen, chosenID{j.UID, j.ID})
	}
	r.mu.Unlock()
}

// Counts is how many jobs wait and run, and how many have ended so far.
func (r *Registry) Counts() protocol.JobCounts {
	c := &r.counts
	return protocol.JobCounts{
		Queued: c.queued.Load(), Running: c.running.Load(),
		Completed: c.completed.Load(), Failed: c.failed.Load(), Cancelled: c.cancelled.Load(),
	}
}

type counters struct{ queued, running, completed, failed, cancelled atomic.Int64 }

func (c *counters) started()  { c.queued.Add(-1); c.running.Add(1) }
func (c *counters) requeued() { c.running.Add(-1); c.queued.Add(1) }

func (c *counters) ended(before, now protocol.JobStatus) {
	if before == protocol.JobRunning {
		c.running.Add(-1)
	} else {
		c.queued.Add(-1)
	}
	switch now {
	case protocol.JobCompleted:
		c.completed.Add(1)
	case protocol.JobFailed:
		c.failed.Add(1)
	case protocol.JobCancelled:
		c.cancelled.Add(1)
	case protocol.JobPending, protocol.JobRunning: // no end
	}
}

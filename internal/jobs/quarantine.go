package jobs

import "supervisord/protocol"

// maxQuarantined is how many ids are kept; the oldest is forgotten for a new one.
const maxQuarantined = 1024

// quarantine is the ids of jobs each of whose attempts killed its worker. A caller who chose an id will try again with it,
// and only those ids are worth keeping.
type quarantine struct {
	ids   map[chosenID][]protocol.Attempt
	order []chosenID // a ring once it is full
	next  int        // in order: the oldest
}

func newQuarantine() quarantine { return quarantine{ids: map[chosenID][]protocol.Attempt{}} }

func (q *quarantine) add(key chosenID, attempts []protocol.Attempt) {
	if _, known := q.ids[key]; known {
		return
	}
	q.ids[key] = attempts
	if len(q.order) < maxQuarantined {
		q.order = append(q.order, key)
		return
	}
	delete(q.ids, q.order[q.next])
	q.order[q.next] = key
	q.next = (q.next + 1) % maxQuarantined
}

// refuse is the error for an id that is quarantined, nil for any other.
func (q *quarantine) refuse(key chosenID) *protocol.Error {
	attempts, known := q.ids[key]
	if !known {
		return nil
	}
	err := protocol.NewError(protocol.CodeQuarantined, "each attempt at the job of this job_id has killed its worker")
	err.Data.JobID, err.Data.Attempts = key.id, attempts
	return err
}

// quarantine keeps the id of a job that has ended so. It is called with the job's lock held.
func (r *Registry) quarantine(j *Job) {
	if !j.chosen {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsafe.add(chosenID{j.UID, j.ID}, j.attempts)
}

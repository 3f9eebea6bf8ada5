package jobs_test

import (
	"fmt"
	"sync"
	"testing"

	"supervisord/internal/jobs"
	"supervisord/internal/outq"
	"supervisord/protocol"
)

// No two jobs have the same id, on the link or for clients, and nothing is left of those that have ended.
func TestIDsAreUnique(t *testing.T) {
	const makers, each = 4, 25_000
	r := jobs.New(jobs.Options{Backlog: limit, Executor: &executor{}})
	made := make([][]*jobs.Job, makers)
	var wg sync.WaitGroup
	for m := range makers {
		wg.Go(func() {
			var set outq.Set
			for range each {
				j, err := r.Make(jobs.Spec{}, &caller{t: t})
				if err != nil {
					t.Error(err)
					return
				}
				made[m] = append(made[m], j)
				j.Start(&set)
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool, makers*each)
	for _, list := range made {
		for _, j := range list {
			if seen[j.ID] || j.ID != j.LinkID || !protocol.ValidJobID(j.ID) {
				t.Fatalf("id %q, on the link %q", j.ID, j.LinkID)
			}
			seen[j.ID] = true
		}
	}
	if n := len(r.All()); n != makers*each {
		t.Errorf("%d live jobs", n)
	}
	for _, list := range made {
		wg.Go(func() {
			var set outq.Set
			for _, j := range list {
				j.Finish(nil, nil, "", "", finished, &set)
			}
		})
	}
	wg.Wait()
	if n := len(r.All()); n != 0 {
		t.Errorf("%d live jobs after all have ended", n)
	}
	if c := r.Counts(); c != (protocol.JobCounts{Completed: makers * each}) {
		t.Errorf("counts %+v", c)
	}
}

// Two daemons, one after the other, do not make the same ids.
func TestIDsDifferFromBootToBoot(t *testing.T) {
	var ids [2]string
	for i := range ids {
		ids[i] = newFixture(t, nil).job.ID
	}
	if ids[0] == ids[1] {
		t.Errorf("ids %q", ids)
	}
}

// maker makes jobs in one registry.
type maker struct {
	t *testing.T
	r *jobs.Registry
}

func newMaker(t *testing.T) *maker {
	return &maker{t: t, r: jobs.New(jobs.Options{Executor: &executor{}})}
}

func (m *maker) try(uid uint32, id string) (*jobs.Job, *protocol.Error) {
	return m.r.Make(jobs.Spec{ID: id, UID: uid}, &caller{t: m.t})
}

func (m *maker) make(uid uint32, id string) *jobs.Job {
	m.t.Helper()
	j, err := m.try(uid, id)
	if err != nil {
		m.t.Fatal(err)
	}
	return j
}

// end runs a job to its end.
func (m *maker) end(j *jobs.Job) {
	var set outq.Set
	j.Start(&set)
	j.Finish(nil, nil, "", "", finished, &set)
}

// A caller's own id is his alone, as long as its job lives.
func TestOwnID(t *testing.T) {
	m := newMaker(t)
	first := m.make(1, "mine")
	if first.ID != "mine" || first.LinkID == "mine" || first.JobID() != "mine" || first.Owner() != 1 {
		t.Errorf("id %q, on the link %q", first.ID, first.LinkID)
	}
	_, err := m.try(1, "mine")
	if err == nil || err.Code != protocol.CodeConflict || err.Data.JobID != "mine" {
		t.Errorf("second job with the id: %v", err)
	}
	other := m.make(2, "mine")
	if other.LinkID == first.LinkID {
		t.Error("two jobs with the same id on the link")
	}
	if m.r.Find("mine", 1, false) != first || m.r.Find("mine", 2, false) != other {
		t.Error("users find each other's jobs")
	}
	m.end(first)
	if m.r.Find("mine", 1, false) != nil {
		t.Error("a job is found after its end")
	}
	again := m.make(1, "mine")
	if again.LinkID == first.LinkID {
		t.Error("an id was used again on the link")
	}
	m.end(again)
	m.end(other)
	if n := len(m.r.All()); n != 0 {
		t.Errorf("%d live jobs", n)
	}
}

func TestFind(t *testing.T) {
	m := newMaker(t)
	made, chosen := m.make(1, ""), m.make(1, "mine")
	for _, c := range []struct {
		name  string
		id    string
		uid   uint32
		admin bool
		want  *jobs.Job
	}{
		{"owner, made id", made.ID, 1, false, made},
		{"owner, own id", "mine", 1, false, chosen},
		{"other user, made id", made.ID, 2, false, nil},
		{"other user, own id", "mine", 2, false, nil},
		{"admin, made id", made.ID, 2, true, made},
		{"admin, own id", "mine", 2, true, chosen},
		{"admin of his own", "mine", 1, true, chosen},
		{"id on the link", chosen.LinkID, 1, true, nil},
		{"no such id", "none", 1, true, nil},
		{"no id", "", 1, true, nil},
		{"half an id", made.ID[:9], 1, true, nil},
		{"id in capitals", made.ID[:9] + "00000000A1", 1, true, nil},
		{"sign in the id", made.ID[:9] + "+000000001", 1, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := m.r.Find(c.id, c.uid, c.admin); got != c.want {
				t.Errorf("found %v", got)
			}
		})
	}
}

// Ids of the registry can be guessed, as they are numbered. A caller who chooses one that has not been made yet gets it,
// and nothing of his job stays behind; nobody else's job gets the same.
func TestGuessedID(t *testing.T) {
	m := newMaker(t)
	first := m.make(1, "").ID
	guess := func(n int) string { return first[:len(first)-1] + fmt.Sprint(n) }

	own := m.make(1, guess(2)) // is number two on the link as well
	if own.LinkID != own.ID {
		t.Fatalf("guessed %q, got %q on the link", own.ID, own.LinkID)
	}
	m.end(own)
	m.end(m.make(1, guess(2)))

	chosen, theirs := m.make(1, guess(6)), m.make(2, guess(6))
	made := m.make(1, "") // is not number six, which its user has
	if made.ID == chosen.ID || m.r.Find(chosen.ID, 1, false) != chosen || m.r.Find(made.ID, 1, false) != made {
		t.Errorf("chosen %q, then made %q", chosen.ID, made.ID)
	}
	if m.r.Find(theirs.ID, 2, false) != theirs {
		t.Error("another user's job is hidden")
	}
}

// resender sends its call again as soon as it has the answer, which is under the job's lock.
type resender struct {
	caller
	again func() *protocol.Error
}

func (r *resender) Done(data []byte, chunks int64, err *protocol.Error, set *outq.Set) {
	r.caller.Done(data, chunks, err, set)
	if err := r.again(); err != nil {
		r.t.Errorf("the same call, sent after the answer: %v", err)
	}
}

// Once a caller has his answer, his id is free, and the job counts among the ended ones.
func TestIDIsFreeWithTheAnswer(t *testing.T) {
	var set outq.Set
	r := jobs.New(jobs.Options{Executor: &executor{}})
	first := &resender{caller: caller{t: t}}
	first.again = func() *protocol.Error {
		if c := r.Counts(); c != (protocol.JobCounts{Completed: 1}) {
			t.Errorf("counts %+v", c)
		}
		_, err := r.Make(jobs.Spec{ID: "mine"}, &caller{t: t})
		return err
	}
	j, err := r.Make(jobs.Spec{ID: "mine"}, first)
	if err != nil {
		t.Fatal(err)
	}
	j.Start(&set)
	j.Finish(nil, nil, "", "", finished, &set)
	if first.done != 1 {
		t.Errorf("%d answers", first.done)
	}
}

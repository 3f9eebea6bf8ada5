package jobs_test

import (
	"reflect"
	"testing"

	"supervisord/internal/jobs"
	"supervisord/protocol"
)

// Each way through a job's life: its state, what the registry counts, and what its caller is told.
func TestStates(t *testing.T) {
	for _, c := range []struct {
		name   string
		steps  []func(*fixture)
		status protocol.JobStatus
		how    protocol.How
		counts protocol.JobCounts
		told   string
	}{
		{name: "waits", status: protocol.JobPending, counts: protocol.JobCounts{Queued: 1}},
		{
			name: "runs", steps: []func(*fixture){(*fixture).run},
			status: protocol.JobRunning, counts: protocol.JobCounts{Running: 1},
		},
		{
			name: "waits again", steps: []func(*fixture){(*fixture).run, (*fixture).requeue},
			status: protocol.JobPending, counts: protocol.JobCounts{Queued: 1},
		},
		{
			name: "succeeds", steps: []func(*fixture){(*fixture).run, (*fixture).succeed},
			status: protocol.JobCompleted, counts: protocol.JobCounts{Completed: 1}, told: `done {"ok":1}`,
		},
		{
			name: "succeeds at the second try", steps: []func(*fixture){(*fixture).run, (*fixture).requeue, (*fixture).run, (*fixture).succeed},
			status: protocol.JobCompleted, counts: protocol.JobCounts{Completed: 1}, told: `done {"ok":1}`,
		},
		{
			name: "fails", steps: []func(*fixture){(*fixture).run, func(f *fixture) { f.fail(protocol.CodeJobFailed) }},
			status: protocol.JobFailed, counts: protocol.JobCounts{Failed: 1}, told: "error job_failed",
		},
		{
			name: "is refused", steps: []func(*fixture){func(f *fixture) { f.fail(protocol.CodeOverloaded) }},
			status: protocol.JobFailed, counts: protocol.JobCounts{Failed: 1}, told: "error overloaded",
		},
		{
			name: "is superseded", steps: []func(*fixture){func(f *fixture) { f.fail(protocol.CodeSuperseded) }},
			status: protocol.JobCancelled, counts: protocol.JobCounts{Cancelled: 1}, told: "error superseded",
		},
		{
			name: "is cancelled, and not ended yet", steps: []func(*fixture){(*fixture).run, (*fixture).cancel},
			status: protocol.JobRunning, counts: protocol.JobCounts{Running: 1},
		},
		{
			name: "is cancelled", steps: []func(*fixture){(*fixture).run, (*fixture).cancel, func(f *fixture) { f.fail(protocol.CodeWorkerDied) }},
			status: protocol.JobCancelled, how: protocol.HowTerminated, counts: protocol.JobCounts{Cancelled: 1}, told: "error cancelled",
		},
		{
			name: "succeeds too late", steps: []func(*fixture){(*fixture).run, (*fixture).cancel, (*fixture).succeed},
			status: protocol.JobCancelled, counts: protocol.JobCounts{Cancelled: 1}, told: "error cancelled",
		},
		{
			name: "has lost its caller", steps: []func(*fixture){(*fixture).run, (*fixture).leave, (*fixture).succeed},
			status: protocol.JobCompleted, counts: protocol.JobCounts{Completed: 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.start()
			for _, step := range c.steps {
				step(f)
			}
			if got := f.job.Record().Status; got != c.status {
				t.Errorf("status %s, want %s", got, c.status)
			}
			if got := f.registry.Counts(); got != c.counts {
				t.Errorf("counts %+v, want %+v", got, c.counts)
			}
			if told := f.caller.take(); told != c.told {
				t.Errorf("caller was told %q, want %q", told, c.told)
			}
			status, how := f.job.Outcome()
			ended := c.status.Terminal()
			if ended && (status != c.status || how != c.how) || !ended && status != "" {
				t.Errorf("outcome %q, %q", status, how)
			}
			select {
			case <-f.job.Done():
				if !ended {
					t.Error("Done is closed before the end")
				}
			default:
				if ended {
					t.Error("Done is not closed after the end")
				}
			}
			if live := f.registry.Find(f.job.ID, 1000, false) != nil; live == ended {
				t.Errorf("live %t, ended %t", live, ended)
			}
		})
	}
}

// However a job has ended, nothing that comes later changes it or reaches its caller.
func TestTerminalStatesNeverChange(t *testing.T) {
	ends := map[string]func(*fixture){
		"completed": (*fixture).succeed,
		"failed":    func(f *fixture) { f.fail(protocol.CodeWorkerDied) },
		"cancelled": func(f *fixture) { f.cancel(); f.succeed() },
	}
	later := map[string]func(*fixture){
		"run": (*fixture).run, "requeue": (*fixture).requeue, "chunk": func(f *fixture) { f.chunk("1") },
		"progress": (*fixture).progress, "feed": (*fixture).feed, "succeed": (*fixture).succeed, "cancel": (*fixture).cancel,
		"fail": func(f *fixture) { f.fail(protocol.CodeJobFailed) }, "too slow": func(f *fixture) { f.job.TooSlow(1, &f.set) },
		"leave": func(f *fixture) {
			if f.job.Leave() {
				panic("a job that has ended is to be cancelled")
			}
		},
		"hold": func(f *fixture) {
			if f.job.HoldFor(&holder{}) {
				panic("a job that has ended makes a reader wait")
			}
		},
		"end": func(f *fixture) {
			if f.job.End(jobs.Ending{Code: protocol.CodeCancelled, By: protocol.ByOwner}) {
				panic("a job has ended twice")
			}
		},
	}
	for name, end := range ends {
		for what, step := range later {
			t.Run(name+", "+what, func(t *testing.T) {
				f := newFixture(t, nil)
				f.start()
				f.run()
				f.chunk("0")
				end(f)
				before, counts, told := f.job.Record(), f.registry.Counts(), f.caller.take()
				if f.caller.done != 1 {
					t.Fatalf("caller was told %q", told)
				}
				step(f)
				if after := f.job.Record(); !reflect.DeepEqual(before, after) {
					t.Errorf("record was\n%+v and is\n%+v", before, after)
				}
				if got := f.registry.Counts(); got != counts {
					t.Errorf("counts were %+v and are %+v", counts, got)
				}
				if told := f.caller.take(); told != "" {
					t.Errorf("caller was told %q", told)
				}
			})
		}
	}
}

// Done may be asked for before the end, too, and by many.
func TestDoneBeforeTheEnd(t *testing.T) {
	f := newFixture(t, nil)
	f.start()
	first, second := f.job.Done(), f.job.Done()
	f.succeed()
	<-first
	<-second
}

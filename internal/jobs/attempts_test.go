package jobs_test

import (
	"fmt"
	"testing"

	"supervisord/internal/jobs"
	"supervisord/protocol"
)

func (f *fixture) retry() bool { return f.job.Retry("signal", finished) }

// A job that runs again keeps the record of each attempt, and its caller sees nothing of the first.
func TestRetry(t *testing.T) {
	f := newFixture(t, nil)
	f.start()
	f.run()
	if !f.retry() {
		t.Fatal("the attempt was refused")
	}
	if c := f.registry.Counts(); c != (protocol.JobCounts{Queued: 1}) {
		t.Errorf("counts %+v while it waits again", c)
	}
	if r := f.job.Record(); r.Status != protocol.JobPending || r.StartedAt != nil {
		t.Errorf("record %+v while it waits again", r)
	}
	f.run()
	f.succeed()
	if told := f.caller.take(); told != `done {"ok":1}` {
		t.Errorf("caller was told %q", told)
	}
	attempts := f.job.Record().Attempts
	if len(attempts) != 2 || f.job.Attempts() != 2 || attempts[0].EndedBy != "signal" || attempts[0].EndedAt == nil ||
		attempts[1].EndedBy != protocol.EndedByResult {
		t.Errorf("attempts %+v", attempts)
	}
}

// There is no second attempt for what nobody wants any more, or what a caller has seen a part of.
func TestNoRetry(t *testing.T) {
	for name, step := range map[string]func(*fixture){
		"waits":        func(f *fixture) { f.requeue() },
		"is cancelled": func(f *fixture) { f.cancel() },
		"has a chunk":  func(f *fixture) { f.chunk("0") },
		"has ended":    func(f *fixture) { f.succeed() },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.start()
			f.run()
			step(f)
			before := f.registry.Counts()
			if f.retry() {
				t.Error("another attempt was granted")
			}
			if after := f.registry.Counts(); after != before {
				t.Errorf("counts %+v, were %+v", after, before)
			}
		})
	}
}

// A job that has stalled gets the error of a worker that died, with that worker's last words.
func TestStalled(t *testing.T) {
	f := newFixture(t, nil)
	f.start()
	f.run()
	f.job.End(jobs.Ending{Code: protocol.CodeWorkerDied, By: string(protocol.CauseStalled), Worker: "text/0", Limit: 3e9})
	died := protocol.NewError(protocol.CodeWorkerDied, "it was killed")
	died.Data.StderrTail = []string{"last words"}
	f.job.Finish(nil, died, "stopped", protocol.HowKilled, finished, &f.set)
	err := f.caller.err
	if err == nil || err.Code != protocol.CodeWorkerDied || err.Data.Cause != protocol.CauseStalled || len(err.Data.StderrTail) != 1 ||
		len(err.Data.Attempts) != 1 || err.Data.Attempts[0].EndedBy != "stalled" {
		t.Errorf("error %v, data %+v", err, err.Data)
	}
}

// The id of a job that has killed each of its workers is refused, to its owner alone, and only the last thousand are kept.
func TestQuarantine(t *testing.T) {
	f := newFixture(t, func(s *jobs.Spec) { s.ID = "poison" })
	f.start()
	f.run()
	f.retry()
	f.run()
	f.fail(protocol.CodeQuarantined)
	if err := f.caller.err; len(err.Data.Attempts) != 2 || err.Data.JobID != "poison" {
		t.Errorf("error %v, data %+v", err, err.Data)
	}
	again := func(uid uint32) *protocol.Error {
		job, err := f.registry.Make(jobs.Spec{ID: "poison", UID: uid}, nil)
		if err == nil {
			job.Start(&f.set)
			job.Finish(nil, nil, "", "", finished, &f.set)
		}
		return err
	}
	if err := again(1000); err == nil || err.Code != protocol.CodeQuarantined || len(err.Data.Attempts) != 2 || err.Data.JobID != "poison" {
		t.Errorf("the owner got %v", err)
	}
	if err := again(1001); err != nil {
		t.Errorf("another user got %v", err)
	}
	for i := range 1024 {
		job, err := f.registry.Make(jobs.Spec{ID: fmt.Sprint("other-", i), UID: 1000}, nil)
		if err != nil {
			t.Fatal(err)
		}
		job.Start(&f.set)
		job.Finish(nil, protocol.NewError(protocol.CodeQuarantined, ""), "", "", finished, &f.set)
	}
	if err := again(1000); err != nil {
		t.Errorf("the oldest is not forgotten: %v", err)
	}
}

// Who waits for room cannot be heard.
func TestHeld(t *testing.T) {
	f := newFixture(t, nil)
	f.caller.room = 0
	f.start()
	f.run()
	for f.chunk("0123456789") != jobs.Full {
	}
	if f.job.Held() {
		t.Error("held before a reader waits")
	}
	if h := (&holder{}); !f.job.HoldFor(h) || !f.job.Held() {
		t.Error("not held while a reader waits")
	}
	f.caller.room = -1
	f.feed()
	if f.job.Held() {
		t.Error("still held")
	}
}

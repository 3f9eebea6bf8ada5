package jobs_test

import (
	"encoding/json"
	"testing"
	"time"

	"supervisord/internal/jobs"
	"supervisord/protocol"
)

// What the caller is told for each reason that somebody other than the worker may have to end a job.
func TestEndings(t *testing.T) {
	for _, c := range []struct {
		name    string
		end     func(*fixture)
		error   string
		status  protocol.JobStatus
		endedBy string
	}{
		{
			name: "caller", end: func(f *fixture) { f.job.Cancel(protocol.ByCaller, false, &f.set) },
			error:  `{"code":-32800,"message":"job cancelled by caller","data":{"kind":"cancelled","retryable":false,"job_id":"mine","how":"killed","by":"caller"}}`,
			status: protocol.JobCancelled, endedBy: "caller",
		},
		{
			name: "owner", end: func(f *fixture) { f.job.Cancel(protocol.ByOwner, true, &f.set) },
			error:  `{"code":-32800,"message":"job cancelled by owner","data":{"kind":"cancelled","retryable":false,"job_id":"mine","how":"killed","by":"owner"}}`,
			status: protocol.JobCancelled, endedBy: "owner",
		},
		{
			name: "operator", end: func(f *fixture) { f.job.Cancel(protocol.ByOperator, false, &f.set) },
			error:  `{"code":-32802,"message":"job cancelled by operator","data":{"kind":"server_cancelled","retryable":true,"job_id":"mine","how":"killed","by":"operator"}}`,
			status: protocol.JobCancelled, endedBy: "operator",
		},
		{
			name: "shutdown", end: func(f *fixture) { f.job.Cancel(protocol.ByShutdown, false, &f.set) },
			error:  `{"code":-32802,"message":"job cancelled by shutdown","data":{"kind":"server_cancelled","retryable":true,"job_id":"mine","how":"killed","by":"shutdown"}}`,
			status: protocol.JobCancelled, endedBy: "shutdown",
		},
		{
			name: "reload", end: func(f *fixture) { f.job.Cancel(protocol.ByReload, false, &f.set) },
			error:  `{"code":-32802,"message":"job cancelled by reload","data":{"kind":"server_cancelled","retryable":true,"job_id":"mine","how":"killed","by":"reload"}}`,
			status: protocol.JobCancelled, endedBy: "reload",
		},
		{
			name: "deadline", end: func(f *fixture) {
				f.job.End(jobs.Ending{
					Code: protocol.CodeDeadlineExceeded, By: "deadline_exceeded", Phase: protocol.PhaseRun, Limit: 1500 * time.Millisecond,
				})
			},
			error:  `{"code":1003,"message":"deadline of 1.5s exceeded in phase run","data":{"kind":"deadline_exceeded","retryable":false,"job_id":"mine","chunks":2,"phase":"run","limit_ms":1500}}`,
			status: protocol.JobFailed, endedBy: "deadline_exceeded",
		},
		{
			name: "too slow", end: func(f *fixture) { f.job.TooSlow(99, &f.set) },
			error:  `{"code":1010,"message":"client does not read its stream","data":{"kind":"client_too_slow","retryable":true,"job_id":"mine","buffered_bytes":99}}`,
			status: protocol.JobFailed, endedBy: "client_too_slow",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(s *jobs.Spec) { s.ID = "mine" })
			f.start()
			f.run()
			f.caller.room = 1
			f.chunk("0")
			f.chunk("1") // waits, and is dropped by the end
			c.end(f)
			if !f.job.Ending() {
				t.Error("nobody has asked for its end")
			}
			// Of two reasons the first counts, and the worker's own answer comes too late.
			f.job.End(jobs.Ending{Code: protocol.CodeCancelled, By: protocol.ByDisconnect})
			f.chunk("2")
			f.job.Finish([]byte("{}"), nil, protocol.EndedByResult, protocol.HowKilled, finished, &f.set)
			got, err := json.Marshal(f.caller.err)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.error {
				t.Errorf("error\n%s, want\n%s", got, c.error)
			}
			r := f.job.Record()
			if r.Status != c.status || r.Attempts[0].EndedBy != c.endedBy || r.FirstSeq != 2 {
				t.Errorf("record %+v", r)
			}
			if _, how := f.job.Outcome(); how != protocol.HowKilled {
				t.Errorf("how %q", how)
			}
		})
	}
}

// The executor is told of every cancel, so that a later one may add force.
func TestForceComesLater(t *testing.T) {
	f := newFixture(t, nil)
	f.start()
	f.run()
	f.cancel()
	f.job.Cancel(protocol.ByOwner, true, &f.set)
	if ends := f.executor.ends; len(ends) != 2 || ends[0].Force || !ends[1].Force {
		t.Errorf("ends %+v", ends)
	}
	f.fail(protocol.CodeWorkerDied)
	if f.caller.err.Data.By != protocol.ByCaller {
		t.Errorf("ended by %s", f.caller.err.Data.By)
	}
}

package jobs_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"supervisord/internal/jobs"
	"supervisord/protocol"
)

// The record of a job from its request to its end, as clients see it: times in UTC, no member missing.
func TestRecord(t *testing.T) {
	f := newFixture(t, func(s *jobs.Spec) {
		s.ID, s.Priority, s.Metadata = "mine", 7, []byte(`{"page":7}`)
	})
	f.start()
	f.run()
	f.caller.room = 1
	f.chunk("0")
	f.chunk("1")
	f.fail(protocol.CodeWorkerDied)
	expectRecord(t, f, `{"job_id":"mine","plugin_name":"echo","pool":"text","status":"failed",
		"created_at":"2026-01-02T02:04:05Z","started_at":"2026-01-02T02:04:05.25Z","completed_at":"2026-01-02T02:04:06.25Z",
		"priority":7,"client":{"uid":1000,"pid":42},"metadata":{"page":7},
		"attempts":[{"worker":"text/0","incarnation":3,"pid":4711,"started_at":"2026-01-02T02:04:05.25Z",
			"ended_at":"2026-01-02T02:04:06.25Z","ended_by":""}],
		"progress":null,"chunks":2,"result":null,
		"error":{"code":1001,"message":"it failed","data":{"kind":"worker_died","retryable":true,"job_id":"mine",
			"attempts":[{"worker":"text/0","incarnation":3,"pid":4711,"started_at":"2026-01-02T02:04:05.25Z",
			"ended_at":"2026-01-02T02:04:06.25Z","ended_by":""}]}},
		"usage":{"wait_ms":250,"run_ms":1000,"max_rss_bytes":null},"first_seq":1}`)
}

// A job that was refused has never run.
func TestRecordOfRefused(t *testing.T) {
	f := newFixture(t, func(s *jobs.Spec) { s.ID, s.Pool = "mine", "text" })
	f.start()
	f.fail(protocol.CodeOverloaded)
	expectRecord(t, f, `{"job_id":"mine","plugin_name":"echo","pool":"text","status":"failed",
		"created_at":"2026-01-02T02:04:05Z","started_at":null,"completed_at":"2026-01-02T02:04:06.25Z",
		"priority":0,"client":{"uid":1000,"pid":42},"metadata":{},"attempts":[],"progress":null,"chunks":0,"result":null,
		"error":{"code":1000,"message":"it failed","data":{"kind":"overloaded","retryable":true,"job_id":"mine"}},
		"usage":{"wait_ms":1250,"run_ms":0,"max_rss_bytes":null},"first_seq":0}`)
}

// While a job lives, its usage goes on.
func TestUsageOfLiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(s *jobs.Spec) { s.Created = time.Now() })
		f.start()
		time.Sleep(2 * time.Second)
		if u := f.job.Record().Usage; u.WaitMS != 2000 || u.RunMS != 0 {
			t.Errorf("usage of one that waits %+v", u)
		}
		f.job.Running("a/b/0", 1, 1, time.Now())
		time.Sleep(3 * time.Second)
		r := f.job.Record()
		if r.Usage.WaitMS != 2000 || r.Usage.RunMS != 3000 {
			t.Errorf("usage of one that runs %+v", r.Usage)
		}
		if r.Pool != "a/b" {
			t.Errorf("pool %q", r.Pool)
		}
	})
}

func expectRecord(t *testing.T, f *fixture, want string) {
	t.Helper()
	got, err := json.Marshal(f.job.Record())
	if err != nil {
		t.Fatal(err)
	}
	want = strings.NewReplacer("\n", "", "\t", "").Replace(want)
	if string(got) != want {
		t.Errorf("record\n%s, want\n%s", got, want)
	}
}

package dispatch_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervisord/internal/jobs"
	"supervisord/protocol"
)

// A worker that is killed in mid stream: its caller gets all that it had said, then how it ended; the next call works.
func TestKilledInMidStream(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	c := f.run(`{"stderr":"loading weights","chunks":3,"hang":true}`)
	c.produced(3)
	pid := c.job.Record().Attempts[0].PID
	next := f.run("{}") // waits already
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := c.fail(protocol.CodeWorkerDied)
	d := err.Data
	if d.Cause != protocol.CauseSignal || d.Signal != "SIGKILL" || d.ExitCode != nil || !d.Retryable || *d.Chunks != 3 ||
		!slices.Equal(d.StderrTail, []string{"loading weights"}) || err.Message != "worker text/0 died: killed by SIGKILL, not by the daemon: perhaps out of memory" {
		t.Errorf("error %v of %+v", err, d)
	}
	if len(d.Attempts) != 1 || d.Attempts[0].Worker != "text/0" || d.Attempts[0].Incarnation != 1 || d.Attempts[0].PID != pid ||
		d.Attempts[0].EndedBy != "signal" || d.Attempts[0].EndedAt == nil {
		t.Errorf("attempts %+v", d.Attempts)
	}
	if c.all != 3 || len(c.chunks) != 3 {
		t.Errorf("chunks %q, told of %d", c.chunks, c.all)
	}
	next.succeed("{}")
	if r := next.job.Record(); r.Attempts[0].Incarnation != 2 || len(r.Attempts) != 1 {
		t.Errorf("the next call was tried as %+v", r.Attempts)
	}
}

// The other ways in which a worker may fail one job, and what is left of it for the next.
func TestWorkerFails(t *testing.T) {
	for _, c := range []struct {
		name    string
		params  string
		code    protocol.Code
		cause   protocol.Cause
		message string // contains
		lives   bool   // the process does
	}{
		{name: "exit", params: `{"exit":3}`, code: protocol.CodeWorkerDied, cause: protocol.CauseExit, message: "exited with status 3"},
		{name: "nonsense", params: `{"raw":"nonsense"}`, code: protocol.CodeWorkerDied, cause: protocol.CauseProtocol, message: "protocol error"},
		{name: "no type", params: `{"raw":"{}"}`, code: protocol.CodeWorkerDied, cause: protocol.CauseProtocol, message: "protocol error"},
		{
			name: "no status", params: `{"raw":"{\"type\":\"result\",\"job_id\":\"ID\"}"}`,
			code: protocol.CodeWorkerDied, cause: protocol.CauseProtocol, message: "status",
		},
		{
			name: "too large", params: `{"big":2000000}`,
			code: protocol.CodeResultTooLarge, message: "longer than a message may be", lives: true,
		},
		{
			name: "error", params: `{"raw":"{\"type\":\"result\",\"job_id\":\"ID\",\"status\":\"error\",\"error\":\"no such file\"}"}`,
			code: protocol.CodeJobFailed, message: "no such file", lives: true,
		},
		{
			name: "error without a text", params: `{"raw":"{\"type\":\"result\",\"job_id\":\"ID\",\"status\":\"error\",\"error\":\"\"}"}`,
			code: protocol.CodeJobFailed, message: "no more than that the job failed", lives: true,
		},
		{
			name: "cancels by itself", params: `{"raw":"{\"type\":\"result\",\"job_id\":\"ID\",\"status\":\"cancelled\"}"}`,
			code: protocol.CodeJobFailed, message: "cancelled the job by itself", lives: true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.add("text", "actor", nil)
			err := f.run(c.params).fail(c.code)
			if err.Data.Cause != c.cause || !strings.Contains(err.Message, c.message) {
				t.Errorf("error %v of %+v", err, err.Data)
			}
			if c.code == protocol.CodeResultTooLarge && err.Data.Limit != int64(1<<20) {
				t.Errorf("limit %v", err.Data.Limit)
			}
			next := f.run("{}")
			next.succeed("{}")
			if lives := next.job.Record().Attempts[0].Incarnation == 1; lives != c.lives {
				t.Errorf("the process lives on: %t", lives)
			}
		})
	}
}

// A job whose chunk is over the limit is of no use to its caller: it ends, and the worker with it where it must.
func TestOversizedChunk(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	err := f.run(`{"chunks":1,"pad":2000000,"hang":true}`).fail(protocol.CodeResultTooLarge)
	if err.Data.Limit != int64(1<<20) {
		t.Errorf("limit %v", err.Data.Limit)
	}
	next := f.run("{}")
	next.succeed("{}")
	if n := next.job.Record().Attempts[0].Incarnation; n != 2 {
		t.Errorf("incarnation %d: the job that hangs would have held it", n)
	}
}

// What the worker says of an error reaches the caller, and decides whether to try again.
func TestErrorInfo(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	for retriable, category := range map[bool]string{true: "transient", false: "user_input"} {
		info := fmt.Sprintf(`{\"category\":\"%s\",\"retriable\":%t}`, category, retriable)
		err := f.run(`{"raw":"{\"type\":\"result\",\"job_id\":\"ID\",\"status\":\"error\",\"error\":\"it failed\",\"error_info\":` + info + `}"}`).
			fail(protocol.CodeJobFailed)
		if err.Data.Retryable != retriable || err.Data.ErrorInfo == nil || err.Data.ErrorInfo.Category != category {
			t.Errorf("error %v of %+v", err, err.Data)
		}
	}
}

// Many workers that die one after the other, with calls waiting for them: each caller gets one answer, and none is lost.
func TestCrashStorm(t *testing.T) {
	const crashes = 200
	f := newFixture(t, nil)
	f.add("text", "actor", spare(3))
	var calls []*call
	for i := range crashes {
		calls = append(calls, f.run(fmt.Sprintf(`{"chunks":%d,"signal":9}`, i%4)))
		if i%10 == 0 {
			calls = append(calls, f.run("{}"))
		}
	}
	died := 0
	for _, c := range calls {
		if string(c.job.Params) == "{}" {
			c.succeed("{}")
			continue
		}
		err := c.fail(protocol.CodeWorkerDied)
		if err.Data.Signal != "SIGKILL" || *err.Data.Chunks != int64(len(c.chunks)) || len(err.Data.Attempts) != 1 {
			t.Errorf("error %v of %+v", err, err.Data)
		}
		died++
	}
	if c := f.registry.Counts(); died != crashes || c.Failed != crashes || c.Completed != crashes/10 {
		t.Errorf("counts %+v", c)
	}
	f.run("{}").succeed("{}")
}

// A worker that dies while others are granted to it: those that had not reached it wait for the next one.
func TestKilledBetweenCalls(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "concurrent", func(s *setup) { s.Options.Concurrency = 8 })
	f.settled()
	for range 10 {
		warm := f.run("{}")
		warm.succeed("{}")
		pid := warm.job.Record().Attempts[0].PID
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		var calls []*call
		for range 20 {
			calls = append(calls, f.start(jobs.Spec{}))
		}
		for _, c := range calls {
			// Whether one reached the dying process is the kernel's affair, but then it is told.
			if err := c.wait(); err == nil && c.data != "{}" || err != nil && err.Code != protocol.CodeWorkerDied {
				t.Errorf("data %s, error %v", c.data, err)
			}
			if n := len(c.job.Record().Attempts); n != 1 {
				t.Errorf("%d attempts", n)
			}
		}
	}
}

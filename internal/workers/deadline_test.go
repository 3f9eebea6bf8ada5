package workers_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"supervisord/internal/outq"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

func shortFrames(o *workers.Options) { o.FrameTimeout = 100 * time.Millisecond }

// A frame that does not end, be it ours or the worker's, is the end of the process.
func TestFrameTimeout(t *testing.T) {
	for _, c := range []struct {
		name, role, params string
		args               []string
		text               string
	}{
		{"a frame is not taken", "deaf", `{"a":"` + strings.Repeat("x", 1<<19) + `"}`, nil, "protocol error: took nothing of what was sent to it for too long"},
		{"a frame does not end", "write", "{}", []string{"\x00\x00\x01\x00{\"type\":"}, "protocol error: a frame that it has begun did not end within 100ms"},
		{"a header does not end", "write", "{}", []string{"\x00\x00"}, "protocol error: a frame that it has begun did not end within 100ms"},
		{
			"a frame over the limit does not end", "write", "{}",
			[]string{"\x00\x40\x00\x00" + `{"type":"result","job_id":"{id}","status":"success","data":"` + strings.Repeat("x", 8192)},
			"protocol error: a frame that it has begun did not end within 100ms",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, shortFrames, c.role, c.args...)
			f.run(f.up(0), c.params)
			if strings.Contains(c.name, "over the limit") {
				f.expect("j1 too large 1048576", "down 1", "ended gone")
			} else {
				f.expect("down 1", "j1 lost protocol", "ended gone")
			}
			if last := f.pool.List()[0].LastExit; last.Cause != string(protocol.CauseProtocol) || last.Message != c.text {
				t.Errorf("last exit %+v", last)
			}
		})
	}
}

// A worker may be silent for as long as it likes between frames, also behind one that came in pieces or was passed over;
// and a large init may wait for as long as the start may take.
func TestNoFrameTimeout(t *testing.T) {
	for name, pieces := range map[string][]string{
		"in pieces":   {"\x00\x00\x00\x3b", `{"type":"result","job_id":"j1","st`, `atus":"success","data":1}`},
		"passed over": {"\x00\x20\x00\x3c" + `{"type":"result","job_id":"j1","status":"success","data":"`, "{mebi}", `{mebi}"}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(o *workers.Options) { o.FrameTimeout = time.Second }, "pieces", pieces...)
			inc := f.up(0)
			f.run(inc, "{}")
			f.expect("j1*")
			time.Sleep(2200 * time.Millisecond) // twice the limit, in which nothing may happen
			f.run(inc, "{}")
			f.expect("j2 success {}")
		})
	}
	t.Run("init", func(t *testing.T) {
		f := newFixture(t, func(o *workers.Options) {
			shortFrames(o)
			o.Plugins = []workers.Plugin{{Name: "echo", Config: []byte(`"` + strings.Repeat("x", 1<<19) + `"`)}}
		}, "late-reader")
		f.up(0)
	})
}

// While the reader waits for room, no frame is overdue.
func TestNoFrameTimeoutInPause(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) { o.FrameTimeout = time.Second }, "stream")
	inc := f.up(0)
	j := &job{f: f, id: "j1", full: true}
	var set outq.Set
	inc.Execute(&workers.Execution{LinkID: "j1", Plugin: "echo", Params: []byte(`{"count":2,"pad":500000}`)}, j, &set)
	set.Flush()
	f.expect("j1 chunk 500016 bytes {} false", "j1 hold true")
	time.Sleep(2200 * time.Millisecond) // the second chunk is in the pipe in part
	j.mu.Lock()
	j.full = false
	j.mu.Unlock()
	j.holder.Resume()
	f.expect("j1 hold false", "j1 chunk 500016 bytes {} false", `j1 success {"streamed":true}`)
}

// A process that will not take requests any more is found without one.
func TestClosedRequestsWithoutJob(t *testing.T) {
	f := newFixture(t, nil, "close", "3", "hup")
	if err := syscall.Kill(f.up(0).PID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	f.expect("down 1", "ended gone")
	if last := f.pool.List()[0].LastExit; last.Cause != string(protocol.CauseProtocol) || last.Message != "closed its request pipe and did not exit" {
		t.Errorf("last exit %+v", last)
	}
}

// What ends a job without progress is told from what ends one that was cancelled, and is no failure either.
func TestStall(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) { o.Policy = workers.PolicyOnCancellation }, "echo-nothing")
	inc := f.up(0)
	j := f.run(inc, "{}")
	inc.Stall("j1")
	f.expect("down 1", "j1 lost stalled", "ended coming")
	if e := j.exit.Error("p/0"); e.Data.Cause != protocol.CauseStalled || j.exit.How != protocol.HowTerminated {
		t.Errorf("error %+v, exit %+v", e, j.exit)
	}
	f.nextUp()
	if last := f.pool.List()[0].LastExit; last.Cause != string(protocol.CauseStalled) {
		t.Errorf("last exit %+v", last)
	}
}

// Beside others a stalled job is as one that ignores its cancel.
func TestStallBesideOthers(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) {
		o.Concurrency, o.CancelGrace, o.DrainGrace = 8, time.Millisecond, time.Millisecond
	}, "concurrent")
	inc := f.up(0)
	f.run(inc, `{"stubborn":true}`)
	f.run(inc, `{"hold":true}`)
	inc.Stall("j1")
	f.expect("j1 unresponsive", "due 1 ignored_cancel", "down 1", "j1 lost stalled", "j2 lost stalled", "ended gone")
}

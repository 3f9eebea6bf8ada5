package dispatch_test

import (
	"fmt"
	"testing"

	"supervisord/internal/jobs"
	"supervisord/internal/outq"
	"supervisord/protocol"
)

// A worker that streams faster than its caller reads is held back, loses nothing, and goes on.
func TestSlowReader(t *testing.T) {
	const chunks = 3000
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	params := fmt.Sprintf(`{"chunks":%d,"pad":1000}`, chunks)
	c := f.startWithRoom(jobs.Spec{Params: []byte(params), Stream: true}, 0)
	c.stuck()
	for n := range 40 {
		c.feed(10)
		c.produced(10 * (n + 1))
	}
	// The daemon holds no more than the backlog and one chunk; the rest waits in the worker and its pipe.
	if n := c.job.Backlog(); n > backlog+2000 {
		t.Errorf("backlog of %d bytes", n)
	}
	c.feed(-1)
	c.succeed(params)
	if len(c.chunks) != chunks || c.all != chunks {
		t.Errorf("%d chunks, told of %d", len(c.chunks), c.all)
	}
}

// While the answer waits behind chunks that nobody has read, the worker is free for others.
func TestAnswerBehindChunks(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	c := f.startWithRoom(jobs.Spec{Params: []byte(`{"chunks":3}`), Stream: true}, 1)
	f.run("{}").succeed("{}")
	if status, _ := c.job.Outcome(); status != protocol.JobCompleted {
		t.Errorf("status %q", status)
	}
	select {
	case <-c.done:
		t.Error("answered before its chunks")
	default:
	}
	c.feed(-1)
	c.succeed(`{"chunks":3}`)
}

// A caller that leaves a stream unread, and the end of a job that is held, let its worker go on.
func TestEndOfHeld(t *testing.T) {
	const params = `{"chunks":3000,"pad":1000}`
	for name, end := range map[string]func(*call){
		"cancelled": func(c *call) { c.cancel(protocol.ByCaller, false) },
		"left":      (*call).leave,
		"too slow":  func(c *call) { c.tooSlow(7) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.add("text", "actor", nil)
			c := f.startWithRoom(jobs.Spec{Params: []byte(params), Stream: true}, 0)
			c.stuck()
			next := f.run("{}")
			end(c)
			next.succeed("{}")
			await(t, c.job.Done(), "the end of the job")
			if name == "too slow" {
				if err := c.fail(protocol.CodeClientTooSlow); *err.Data.Buffered != 7 {
					t.Errorf("error %v of %+v", err, err.Data)
				}
			}
		})
	}
	t.Run("left, and goes on", func(t *testing.T) {
		f := newFixture(t, nil)
		f.add("text", "actor", nil)
		c := f.startWithRoom(jobs.Spec{Params: []byte(params), Stream: true, Continue: true}, 0)
		c.stuck()
		c.leave()
		await(t, c.job.Done(), "the end of the job")
		if r := c.job.Record(); r.Status != protocol.JobCompleted || r.Chunks != 3000 {
			t.Errorf("record %+v", r)
		}
	})
}

// On a worker that runs others beside it, a stream that is not read cannot be held back: it is ended, and they go on.
func TestTooSlowBesideOthers(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "flood", func(s *setup) { s.Options.Concurrency = 4 })
	f.settled()
	read, unread := f.run(`{"flood":true}`), f.startWithRoom(jobs.Spec{Params: []byte(`{"flood":true}`), Stream: true}, 0)
	err := unread.fail(protocol.CodeClientTooSlow)
	if n := *err.Data.Buffered; n < outputBuffer || n > outputBuffer+2000 || !err.Data.Retryable {
		t.Errorf("error %v of %+v", err, err.Data)
	}
	if len(unread.chunks) != 0 {
		t.Errorf("%d chunks", len(unread.chunks))
	}
	read.mu.Lock()
	n := len(read.chunks)
	read.mu.Unlock()
	read.produced(n + 100) // it has not been stopped
	read.cancel(protocol.ByCaller, false)
	read.cancelled(protocol.CodeCancelled, protocol.ByCaller, protocol.HowCooperative)
	next := f.run("{}")
	next.succeed("{}")
	if a := next.job.Record().Attempts[0]; a.Incarnation != 1 {
		t.Errorf("the next call ran on incarnation %d", a.Incarnation)
	}
}

// tooSlow ends the job as a connection does that nobody reads.
func (c *call) tooSlow(buffered int64) {
	var set outq.Set
	c.job.TooSlow(buffered, &set)
	set.Flush()
}

// What a worker says of its progress reaches the caller, before the answer.
func TestProgress(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", func(s *setup) { s.args = []string{protocol.FeatureProgress} })
	const params = `{"raw":"{\"type\":\"progress\",\"job_id\":\"ID\",\"progress\":0.5,\"message\":\"half\"}"}`
	c := f.run(params)
	c.succeed(params)
	if len(c.progress) != 1 || c.progress[0] != `0.5 "half"` {
		t.Errorf("progress %q", c.progress)
	}
}

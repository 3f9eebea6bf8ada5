package dispatch_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"supervisord/internal/jobs"
	"supervisord/protocol"
)

// noWait is a call that runs at once or not at all.
var noWait = jobs.Spec{HasMaxWait: true}

// A daemon that stops lets what it has taken end, and takes nothing more.
func TestDrain(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	first, g := f.occupy(t)
	second := f.run("{}")
	if f.d.Draining() {
		t.Error("draining before Drain")
	}
	past, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.d.Drain(past); !errors.Is(err, context.Canceled) || !f.d.Draining() {
		t.Errorf("drained: %v, draining %t", err, f.d.Draining())
	}
	drained := make(chan error, 1)
	go func() { drained <- f.d.Drain(t.Context()) }()
	f.run("{}").cancelled(protocol.CodeServerCancelled, protocol.ByShutdown, protocol.HowQueued)
	f.start(noWait).cancelled(protocol.CodeServerCancelled, protocol.ByShutdown, protocol.HowQueued)
	select {
	case err := <-drained:
		t.Fatalf("drained while a job runs: %v", err)
	default:
	}
	g.open(t)
	first.succeed(g.params())
	second.succeed("{}")
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if err := f.d.Drain(t.Context()); err != nil { // again
		t.Error(err)
	}
}

// What has not ended in time is ended, each with its own answer; then there is nothing left to wait for.
func TestEndAll(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	f.add("concurrent", "concurrent", plugins("hold"))
	f.settled()
	running := f.run(`{"chunks":1,"hang":true}`)
	running.produced(1)
	queued := f.run("{}")
	held := f.start(jobs.Spec{Plugin: "hold", Params: []byte(`{"hold":true}`)})
	made := f.make(jobs.Spec{}, -1)

	late := errors.New("late")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(late)
	if err := f.d.Drain(ctx); !errors.Is(err, late) {
		t.Errorf("drained: %v", err)
	}
	f.d.EndAll(f.registry.All())
	queued.cancelled(protocol.CodeServerCancelled, protocol.ByShutdown, protocol.HowQueued)
	running.cancelled(protocol.CodeServerCancelled, protocol.ByShutdown, protocol.HowTerminated)
	held.cancelled(protocol.CodeServerCancelled, protocol.ByShutdown, protocol.HowCooperative)
	made.begin()
	made.cancelled(protocol.CodeServerCancelled, protocol.ByShutdown, protocol.HowQueued)
	if err := f.d.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

// A job that ignores its cancel beside others has been answered, and is waited for all the same.
func TestDrainWaitsForDetached(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "concurrent", func(s *setup) { s.Options.Concurrency, s.CancelGrace = 4, time.Millisecond })
	f.settled()
	stuck, sibling := f.run(`{"stubborn":true}`), f.run(`{"hold":true}`)
	stuck.cancel(protocol.ByCaller, false)
	stuck.cancelled(protocol.CodeCancelled, protocol.ByCaller, protocol.HowDetached)
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if f.d.Drain(late) == nil {
		t.Error("drained while a sibling runs")
	}
	sibling.cancel(protocol.ByCaller, false)
	sibling.cancelled(protocol.CodeCancelled, protocol.ByCaller, protocol.HowCooperative)
	if err := f.d.Drain(t.Context()); err != nil { // the process of the stuck one has been ended
		t.Error(err)
	}
}

// Closed without an end of its jobs: those that run are lost with their workers, and told.
func TestCloseLosesWhatRuns(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	c := f.run(`{"chunks":2,"hang":true}`)
	c.produced(2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.d.Close(ctx)
	f.host.Close()
	f.closed = true
	err := c.fail(protocol.CodeWorkerDied)
	if err.Data.Cause != protocol.CauseSignal || *err.Data.Chunks != 2 {
		t.Errorf("error %v of %+v", err, err.Data)
	}
	c.check()
}

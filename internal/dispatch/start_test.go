package dispatch_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"supervisord/internal/workers"
	"supervisord/protocol"
)

// A pool without workers starts them for calls, no more than are needed, and the calls wait for them.
func TestStartsOnDemand(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", func(s *setup) { s.MinWorkers, s.PoolSpec.MaxWorkers = 0, 3 })
	f.settled() // there is nothing to wait for
	if w := f.d.Pools()[0].Workers; w != (protocol.PoolWorkers{}) {
		t.Errorf("workers before the first call: %+v", w)
	}
	first := f.run("{}")
	first.succeed("{}")
	one, two := newGate(t), newGate(t)
	second, third := f.run(one.params()), f.run(two.params())
	second.produced(1)
	third.produced(1)
	if w := f.d.Pools()[0].Workers; w != (protocol.PoolWorkers{Busy: 2}) {
		t.Errorf("workers while two calls run: %+v", w)
	}
	one.open(t)
	two.open(t)
	second.succeed(one.params())
	third.succeed(two.params())
}

// max_wait_ms 0 does not wait for a worker that would have to be started first.
func TestNoWaitStartsNothing(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", func(s *setup) { s.MinWorkers = 0 })
	f.start(noWait).refused(protocol.CodeDeadlineExceeded)
	f.run("{}").succeed("{}")
	f.start(noWait).succeed("{}")
}

// A pool whose program is missing says so at once, to those who wait and to those who come.
func TestProgramIsMissing(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "", func(s *setup) { s.Command, s.Policy = []string{"/nowhere/at-all"}, workers.PolicyNever })
	waiting := f.run("{}")
	f.settled()
	for _, c := range []*call{waiting, f.run("{}")} {
		err := c.fail(protocol.CodePoolUnavailable)
		if d := err.Data; d.State != protocol.PoolStopped || !strings.Contains(d.Reason, "/nowhere/at-all") || d.RetryAfterMS != nil {
			t.Errorf("error %v of %+v", err, d)
		}
	}
}

// A pool whose restarts are spent refuses calls at once, with the last words of its worker, until a probe succeeds.
func TestPoolHeals(t *testing.T) {
	dir, err := os.MkdirTemp("", "sv")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	f := newFixture(t, nil)
	f.add("text", "needs-file", func(s *setup) {
		s.args, s.MaxRestartAttempts, s.RestartBackoffMax = []string{dir + "/weights"}, 2, 200*time.Millisecond
	})
	waiting := f.run("{}")
	f.settled()
	for _, c := range []*call{waiting, f.run("{}")} {
		err := c.fail(protocol.CodePoolUnavailable)
		d := err.Data
		if d.State != protocol.PoolFailed || !d.Retryable || d.RetryAfterMS == nil || *d.RetryAfterMS < 1 || *d.RetryAfterMS > 200 ||
			!slices.Equal(d.StderrTail, []string{"no weights yet"}) || !strings.Contains(d.Reason, "exited with status 1") {
			t.Errorf("error %v of %+v", err, d)
		}
	}
	if err := os.WriteFile(dir+"/weights", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		c := f.run("{}")
		if err := c.wait(); err == nil {
			return
		} else if err.Code != protocol.CodePoolUnavailable || time.Now().After(deadline) {
			t.Fatal(err)
		}
		wait := time.Millisecond // while the probe is on its way
		if after := c.err.Data.RetryAfterMS; after != nil {
			wait = time.Duration(*after) * time.Millisecond
		}
		time.Sleep(wait) // as a client would
	}
}

// One pool that cannot start hurts no other, also where both offer the plugin.
func TestOtherPoolServes(t *testing.T) {
	f := newFixture(t, nil)
	f.add("broken", "exit-at-start", func(s *setup) {
		s.Policy, s.args, s.PoolSpec.Plugins = workers.PolicyNever, []string{"3"}, []string{"echo"}
	})
	f.add("text", "actor", plugins("echo"))
	f.settled()
	for range 5 {
		f.run("{}").succeed("{}")
	}
}

// Calls wait for a worker that takes its time, and Settled for all that the pools want to have.
func TestSlowStart(t *testing.T) {
	f := newFixture(t, nil)
	f.add("fast", "echo", plugins("quick"))
	f.add("slow", "slow-start", func(s *setup) { s.args, s.PoolSpec.Plugins = []string{"3"}, []string{"echo"} })
	settled := f.d.Settled()
	c := f.run("{}")
	select {
	case <-settled:
		t.Error("settled before the slow one was ready")
	default:
	}
	c.succeed("{}")
	await(t, settled, "the workers to be ready")
}

package dispatch_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"supervisord/internal/jobs"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

// interposer does something between the moment at which a process takes no more jobs and that at which the dispatcher
// learns of it: there is always such a moment.
type interposer struct {
	workers.Sink
	meanwhile chan func() // what to do, once
}

func (s *interposer) WorkerDown(inc *workers.Incarnation) {
	select {
	case do := <-s.meanwhile:
		do()
	default:
	}
	s.Sink.WorkerDown(inc)
}

// Calls that are granted to a process which has just ended wait for the next one, in their old order, or go to another
// worker, or are refused where they may not wait.
func TestUndelivered(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy workers.Policy
		other  bool // a pool that offers the plugin, too
		calls  protocol.Code
		noWait protocol.Code
	}{
		{name: "replaced", policy: workers.PolicyAlways, noWait: protocol.CodeDeadlineExceeded},
		{name: "stays down", policy: workers.PolicyNever, calls: protocol.CodePoolUnavailable, noWait: protocol.CodeDeadlineExceeded},
		{name: "another pool", policy: workers.PolicyNever, other: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			s := &interposer{Sink: f.d, meanwhile: make(chan func(), 1)}
			f.add("text", "concurrent", func(set *setup) {
				set.Options.Concurrency, set.Policy, set.Sink, set.PoolSpec.Plugins = 4, c.policy, s, []string{"echo"}
			})
			f.settled()
			warm := f.run("{}")
			warm.succeed("{}")
			if c.other {
				f.add("other", "concurrent", func(set *setup) { set.Options.Concurrency, set.PoolSpec.Plugins = 8, []string{"echo", "ready"} })
				f.start(jobs.Spec{Plugin: "ready"}).succeed("{}")
			}
			var calls []*call
			var noWaits *call
			done := make(chan struct{})
			s.meanwhile <- func() {
				defer close(done)
				for range 3 {
					calls = append(calls, f.run("{}"))
				}
				noWaits = f.start(noWait)
			}
			if err := unix.Kill(warm.job.Record().Attempts[0].PID, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			await(t, done, "the end of the process")
			expect := func(call *call, code protocol.Code, attempts int) {
				t.Helper()
				if code == 0 {
					call.succeed("{}")
				} else {
					call.refused(code)
				}
				// A try that reached no process is none.
				if got := call.job.Record().Attempts; len(got) != attempts {
					t.Errorf("attempts %+v", got)
				}
			}
			for _, call := range calls {
				expect(call, c.calls, map[bool]int{true: 1}[c.calls == 0])
			}
			expect(noWaits, c.noWait, map[bool]int{true: 1}[c.noWait == 0])
			if counts := f.registry.Counts(); counts.Queued != 0 || counts.Running != 0 {
				t.Errorf("counts %+v", counts)
			}
		})
	}
}

package workers_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"supervisord/internal/outq"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

func concurrent(o *workers.Options) { o.Concurrency = 8 }

func TestCancelCooperative(t *testing.T) {
	f := newFixture(t, concurrent, "concurrent")
	inc := f.up(0)
	if inc.Capacity() != 8 {
		t.Errorf("capacity %d", inc.Capacity())
	}
	f.run(inc, `{"hold":true}`)
	f.run(inc, `{"hold":true}`)
	if s := f.pool.Status(); s.Workers.Busy != 1 || s.Workers.Ready != 0 {
		t.Errorf("status %+v", s)
	}
	if ids := fmt.Sprint(f.pool.List()[0].JobIDs); ids != "[j1 j2]" {
		t.Errorf("jobs %s", ids)
	}
	inc.Cancel("j1", false)
	inc.Cancel("j1", false)
	f.expect("j1 cancelled ")
	inc.Cancel("j1", true) // has ended
	inc.Cancel("unknown", true)
	inc.Cancel("j2", false)
	f.expect("j2 cancelled ")
	f.run(inc, `{"a":1}`)
	f.expect(`j3 success {"a":1}`)
}

// A cancel that leaves in the same write as its execute comes behind it.
func TestCancelDoesNotOvertake(t *testing.T) {
	f := newFixture(t, concurrent, "concurrent")
	inc := f.up(0)
	j := &job{f: f, id: "j1"}
	var set outq.Set
	inc.Execute(&workers.Execution{LinkID: "j1", Plugin: "echo", Params: []byte(`{"hold":true}`)}, j, &set)
	inc.Cancel("j1", false)
	set.Flush()
	f.expect("j1 cancelled ")
}

// Where the message does not help, the process ends, from the gentlest means on.
func TestCancelLadder(t *testing.T) {
	for _, c := range []struct {
		name   string
		role   string
		params string
		force  bool
		events []string
		how    protocol.How
		signal string
	}{
		{
			name: "heeds SIGTERM", role: "polite",
			events: []string{"down 1", "j1 cancelled ", "ended coming"},
		},
		{
			name: "dies of SIGTERM", role: "echo-nothing",
			events: []string{"down 1", "j1 lost stopped", "ended coming"}, how: protocol.HowTerminated, signal: "SIGTERM",
		},
		{
			name: "stopped by SIGSTOP", role: "frozen",
			events: []string{"down 1", "j1 lost stopped", "ended coming"}, how: protocol.HowTerminated, signal: "SIGTERM",
		},
		{
			name: "ignores SIGTERM", role: "deaf",
			events: []string{"down 1", "j1 lost stopped", "ended coming"}, how: protocol.HowKilled, signal: "SIGKILL",
		},
		{
			name: "by force", role: "deaf", force: true,
			events: []string{"down 1", "j1 lost stopped", "ended coming"}, how: protocol.HowKilled, signal: "SIGKILL",
		},
		{
			name: "after its grace", role: "concurrent", params: `{"stubborn":true}`,
			events: []string{"down 1", "j1 lost stopped", "ended coming"}, how: protocol.HowTerminated, signal: "SIGTERM",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(o *workers.Options) {
				o.Policy = workers.PolicyOnCancellation
				o.CancelGrace = time.Millisecond
			}, c.role)
			inc := f.up(0)
			if c.params == "" {
				c.params = "{}"
			}
			j := f.run(inc, c.params)
			if c.role == "frozen" {
				f.expect("j1 chunk 0 {} false")
				waitForState(t, inc.PID(), "T")
			}
			inc.Cancel("j1", c.force)
			f.expect(c.events...)
			f.nextUp()
			if j.exit != nil && (j.exit.How != c.how || j.exit.Signal != c.signal) {
				t.Errorf("exit %+v, want %s by %s", j.exit, c.how, c.signal)
			}
		})
	}
}

// A kill is no crash: the policy never lets the worker stay down.
func TestCancelUnderPolicyNever(t *testing.T) {
	f := newFixture(t, nil, "deaf")
	inc := f.up(0)
	f.run(inc, `{}`)
	inc.Cancel("j1", true)
	f.expect("down 1", "j1 lost stopped", "ended gone")
}

// release lets a process in the role concurrent answer what it holds back.
func release(t *testing.T, inc *workers.Incarnation) {
	t.Helper()
	if err := syscall.Kill(inc.PID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func TestCancelBesideOthers(t *testing.T) {
	quick := func(o *workers.Options) {
		o.Concurrency = 8
		o.CancelGrace = time.Millisecond
		o.Policy = workers.PolicyOnCancellation
	}
	t.Run("they end in their time", func(t *testing.T) {
		f := newFixture(t, quick, "concurrent")
		inc := f.up(0)
		stuck := f.run(inc, `{"stubborn":true}`)
		f.run(inc, `{"hold":true}`)
		f.run(inc, "{}")
		f.expect("j3 success {}") // so the others have arrived too
		inc.Cancel("j1", false)
		f.expect("j1 unresponsive", "due 1 ignored_cancel", "down 1")
		if s := f.pool.List()[0].State; s != protocol.WorkerDraining {
			t.Errorf("state %s", s)
		}
		release(t, inc)
		f.expect("j2 success {}", "j1 lost stopped", "ended coming")
		if stuck.exit.How != protocol.HowTerminated {
			t.Errorf("exit %+v", stuck.exit)
		}
	})
	t.Run("they do not", func(t *testing.T) {
		f := newFixture(t, func(o *workers.Options) { quick(o); o.DrainGrace = time.Millisecond }, "concurrent")
		inc := f.up(0)
		f.run(inc, `{"stubborn":true}`)
		sibling := f.run(inc, `{"hold":true}`)
		inc.Cancel("j1", false)
		f.expect("j1 unresponsive", "due 1 ignored_cancel", "down 1", "j1 lost stopped", "j2 lost stopped", "ended coming")
		err := sibling.exit.Error("p/0")
		if err.Code != protocol.CodeWorkerDied || err.Data.Cause != protocol.CauseSignal || !err.Data.Retryable {
			t.Errorf("error %+v", err)
		}
	})
	t.Run("it answers after all", func(t *testing.T) {
		f := newFixture(t, func(o *workers.Options) { quick(o); o.Policy = workers.PolicyNever }, "concurrent")
		inc := f.up(0)
		f.run(inc, `{"late":true}`)
		f.run(inc, `{"hold":true}`)
		f.run(inc, "{}")
		f.expect("j3 success {}") // so the others have arrived too
		inc.Cancel("j1", false)
		f.expect("j1 unresponsive", "due 1 ignored_cancel", "down 1")
		release(t, inc)
		f.expect(`j1 success {"late":true}`, "j2 success {}", "ended coming")
		f.nextUp()
	})
	t.Run("both are stuck", func(t *testing.T) {
		f := newFixture(t, quick, "concurrent")
		inc := f.up(0)
		f.run(inc, `{"stubborn":true}`)
		f.run(inc, `{"stubborn":true}`)
		inc.Cancel("j1", false)
		f.expect("j1 unresponsive", "due 1 ignored_cancel", "down 1")
		inc.Cancel("j2", false)
		f.expect("j1 lost stopped", "j2 lost stopped", "ended coming")
	})
	t.Run("by force", func(t *testing.T) {
		f := newFixture(t, quick, "concurrent")
		inc := f.up(0)
		f.run(inc, `{"hold":true}`)
		f.run(inc, `{"hold":true}`)
		inc.Cancel("j2", true)
		f.expect("down 1", "j1 lost stopped", "j2 lost stopped", "ended coming")
	})
}

// A job that holds its reader back: nothing is read until it is resumed or the process has ended.
func TestPause(t *testing.T) {
	begin := func(t *testing.T) (*fixture, *workers.Incarnation, *job) {
		f := newFixture(t, func(o *workers.Options) { o.StopTimeout = time.Millisecond }, "stream")
		inc := f.up(0)
		f.jobs++
		j := &job{f: f, id: "j1", full: true}
		var set outq.Set
		inc.Execute(&workers.Execution{LinkID: "j1", Plugin: "echo", Params: []byte(`{"count":3,"pad":200000}`)}, j, &set)
		set.Flush()
		f.expect("j1 chunk 200016 bytes {} false", "j1 hold true")
		return f, inc, j
	}
	t.Run("resumed", func(t *testing.T) {
		f, _, j := begin(t)
		j.holder.Resume() // in vain
		f.expect("j1 hold true")
		j.mu.Lock()
		j.full = false
		j.mu.Unlock()
		j.holder.Resume()
		f.expect("j1 hold false", "j1 chunk 200016 bytes {} false", "j1 chunk 200016 bytes {} false", `j1 success {"streamed":true}`)
	})
	t.Run("stopped", func(t *testing.T) {
		f, _, j := begin(t)
		f.pool.Stop(t.Context())
		f.expect("down 1", "j1 lost stopped", "ended gone")
		if j.exit.How != protocol.HowTerminated {
			t.Errorf("exit %+v", j.exit)
		}
	})
	t.Run("killed", func(t *testing.T) {
		f, inc, _ := begin(t)
		if err := syscall.Kill(inc.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		f.expect("down 1", "j1 lost signal", "ended gone")
	})
}

// Jobs are given, cancelled and killed from many goroutines while the process comes and goes: each ends just once.
func TestStress(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) {
		o.Concurrency = 8
		o.CancelGrace = time.Millisecond
		o.Policy, o.MaxRestartAttempts = workers.PolicyAlways, 1<<30
	}, "concurrent")
	var current atomic.Pointer[workers.Incarnation]
	current.Store(f.up(0))
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case inc := <-f.ups:
				current.Store(inc)
			case <-done:
				return
			}
		}
	})
	kinds := []string{"{}", "{}", "{}", `{"hold":true}`, `{"hold":true}`, `{"stubborn":true}`, `{"exit":true}`}
	const each, callers = 75, 8
	var callersDone sync.WaitGroup
	for c := range callers {
		callersDone.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(c)))
			for i := range each {
				j := &counted{id: fmt.Sprintf("c%d.%d", c, i), ended: make(chan struct{})}
				e := &workers.Execution{LinkID: j.id, Plugin: "echo", Params: []byte(kinds[random.IntN(len(kinds))])}
				var set outq.Set
				inc := current.Load()
				for !inc.Execute(e, j, &set) {
					time.Sleep(time.Millisecond) // the next one is on its way
					inc = current.Load()
				}
				set.Flush()
				inc.Cancel(j.id, random.IntN(16) == 0)
				select {
				case <-j.ended:
				case <-time.After(patience):
					t.Errorf("job %s did not end", j.id)
					return
				}
				inc.Cancel(j.id, false) // has ended
				if n := j.ends.Load(); n != 1 {
					t.Errorf("job %s ended %d times", j.id, n)
				}
			}
		})
	}
	callersDone.Wait()
	close(done)
	watch.Wait()
	f.pool.Stop(t.Context())
}

// counted counts its ends.
type counted struct {
	id    string
	ends  atomic.Int32
	ended chan struct{}
}

func (c *counted) end() {
	if c.ends.Add(1) == 1 {
		close(c.ended)
	}
}

func (c *counted) ID() string                                  { return c.id }
func (c *counted) Chunk(_, _ []byte, _ bool, _ *outq.Set) bool { return false }
func (c *counted) Hold(workers.Holder) bool                    { return false }
func (c *counted) Logged(*outq.Set)                            {}
func (c *counted) Crowded(*outq.Set)                           {}
func (c *counted) Oversized(int64, *outq.Set)                  {}
func (c *counted) Progress(_, _ []byte, _ *outq.Set)           {}
func (c *counted) Result(*workers.Result, *outq.Set)           { c.end() }
func (c *counted) Unresponsive(*outq.Set)                      {}
func (c *counted) Lost(*workers.Exit, bool, *outq.Set)         { c.end() }

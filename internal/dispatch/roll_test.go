package dispatch_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"supervisord/internal/dispatch"
	"supervisord/internal/jobs"
	"supervisord/internal/workers"
	"supervisord/internal/workers/workertest"
	"supervisord/protocol"
)

// changed are the options of the pool "text", changed; m is how its models behave then.
func (f *fixture) changed(m manner, change func(*dispatch.PoolOptions)) dispatch.PoolOptions {
	f.t.Helper()
	_, o, ok := f.d.Pool("text")
	if !ok {
		f.t.Fatal("there is no pool")
	}
	o.Workers.Command, o.Workers.Env = workertest.Command("model", m.arg()...)
	if change != nil {
		change(&o)
	}
	return o
}

// roll begins to roll the pool "text".
func (f *fixture) roll(m manner, change func(*dispatch.PoolOptions)) <-chan error {
	f.t.Helper()
	o := f.changed(m, change)
	c := make(chan error, 1)
	go func() { c <- f.d.Roll(context.Background(), o) }()
	return c
}

func (f *fixture) rolled(c <-chan error) error {
	f.t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(patience):
		f.t.Fatal("waited in vain for a roll")
		return nil
	}
}

// mustRoll rolls and waits until the first new worker is ready.
func (f *fixture) mustRoll(m manner, change func(*dispatch.PoolOptions)) {
	f.t.Helper()
	if err := f.rolled(f.roll(m, change)); err != nil {
		f.t.Fatal(err)
	}
}

// allAre waits until every one of n workers is up and of a tag.
func (f *fixture) allAre(tag string, n int) {
	f.t.Helper()
	f.eventually("all workers to be "+tag, func() bool {
		seen := map[string]bool{}
		var calls []*call
		for range n {
			calls = append(calls, f.start(jobs.Spec{Params: []byte(whoParams)}))
		}
		for _, c := range calls {
			a := c.who()
			seen[a.Worker] = true
			if a.Tag != tag {
				return false
			}
		}
		return len(seen) == n
	})
}

// Under calls all the time every worker is replaced by one with another command, again and again; no call fails.
func TestRollUnderLoad(t *testing.T) {
	for name, change := range map[string]func(*setup){
		"before":          func(s *setup) { s.MinWorkers, s.PoolSpec.MaxWorkers, s.ReplaceBefore = 2, 3, true },
		"without room":    func(s *setup) { s.MinWorkers, s.PoolSpec.MaxWorkers, s.ReplaceBefore = 3, 3, true },
		"after":           func(s *setup) { s.MinWorkers, s.PoolSpec.MaxWorkers = 2, 2 },
		"the only worker": func(*setup) {},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.add("text", "model", change)
			f.settled()
			stop := f.keepCallingAny(t, "echo")
			for _, tag := range []string{"one", "two", "three"} {
				f.mustRoll(manner{Tag: tag}, nil)
			}
			stop()
			n := f.d.Pools()[0].Workers
			f.allAre("three", n.Ready+n.Starting+n.Busy)
		})
	}
}

// A roll whose first worker does not become ready says why, and the old ones serve on, which no call notices. The next one
// is not hurt by it.
func TestRollFails(t *testing.T) {
	for name, change := range map[string]func(*setup){
		"before": func(s *setup) { s.MinWorkers, s.PoolSpec.MaxWorkers, s.ReplaceBefore = 2, 3, true },
		"after":  func(s *setup) { s.MinWorkers, s.PoolSpec.MaxWorkers = 2, 2 },
		"the only worker": func(s *setup) { // there are none meanwhile, and the old come back
			s.Policy, s.MaxRestartAttempts = workers.PolicyNever, 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.add("text", "model", func(s *setup) {
				m := manner{Tag: "old"}
				s.args = m.arg()
				change(s)
			})
			f.settled()
			n := f.d.Pools()[0].Workers.Ready
			stop := f.keepCallingAny(t, "echo")
			for range 2 {
				err := f.rolled(f.roll(manner{Tag: "bad", From: 1, Missing: "/nowhere/weights"}, nil))
				failed, ok := errors.AsType[*workers.RollError](err)
				if !ok || failed.Exit == nil || !strings.Contains(err.Error(), "exited with status 3 before it was ready") ||
					failed.Exit.Stderr[0] != "no weights yet" {
					t.Fatalf("rolled: %v", err)
				}
				f.allAre("old", n)
			}
			if _, o, _ := f.d.Pool("text"); !strings.Contains(strings.Join(o.Workers.Env, " "), "old") {
				t.Errorf("the pool is made of %q", o.Workers.Env)
			}
			f.mustRoll(manner{Tag: "new"}, nil)
			stop()
			f.allAre("new", n)
		})
	}
}

// Where there is room a roll that fails has not touched a single old worker.
func TestRollFailsBesideOld(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", func(s *setup) { s.MinWorkers, s.PoolSpec.MaxWorkers, s.ReplaceBefore = 2, 3, true })
	f.settled()
	if err := f.rolled(f.roll(manner{From: 1, Missing: "/nowhere/weights"}, nil)); err == nil {
		t.Fatal("rolled")
	}
	for i, w := range f.d.Workers()[:2] {
		if w.Incarnation != 1 || w.State != protocol.WorkerReady {
			t.Errorf("worker %d: %+v", i, w)
		}
	}
	f.mustRoll(manner{Tag: "new"}, nil)
	f.allAre("new", 2)
	old := 0
	for _, e := range f.logs.FilterMessage("worker started").All() {
		if e.ContextMap()["generation"] == uint64(1) {
			old++
		}
	}
	if old != 2 {
		t.Errorf("%d processes of the old command", old)
	}
}

// What cannot be rolled is refused, and changes nothing.
func TestRollIsRefused(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", nil)
	f.settled()
	if err := f.rolled(f.roll(manner{}, func(o *dispatch.PoolOptions) { o.Workers.Command = nil })); err == nil {
		t.Error("rolled without a command")
	}
	if err := f.rolled(f.roll(manner{}, func(o *dispatch.PoolOptions) { o.Spec.Name = "other" })); err == nil {
		t.Error("rolled a pool that is not there")
	}
	f.mustRoll(manner{Tag: "new"}, nil)
	f.allAre("new", 1)
}

// Where nothing runs there is nothing to replace: the next call starts the new.
func TestRollIdle(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", func(s *setup) { s.MinWorkers = 0 })
	f.mustRoll(manner{Tag: "new"}, nil)
	if a := f.who("echo"); a.Tag != "new" {
		t.Errorf("answer %+v", a)
	}
}

// A roll while the first worker still starts comes after it.
func TestRollWhileStarting(t *testing.T) {
	f := newFixture(t, nil)
	ready := t.TempDir() + "/ready"
	f.add("text", "model", func(s *setup) {
		m := manner{Tag: "old", From: 1, Wait: ready}
		s.args = m.arg()
	})
	f.eventually("a process", func() bool { return f.d.Workers()[0].PID > 0 })
	done := f.roll(manner{Tag: "new"}, nil)
	f.eventually("the roll", func() bool { return f.d.Rolls("text") == 1 })
	if err := os.WriteFile(ready, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.rolled(done); err != nil {
		t.Error(err)
	}
	f.allAre("new", 1)
}

// Workers that are on their way when a roll comes are replaced as all others, whether they are ready before its first new
// one or after.
func TestRollOfStragglers(t *testing.T) {
	for _, first := range []string{"straggler", "new one"} {
		t.Run(first, func(t *testing.T) {
			f := newFixture(t, nil)
			dir := t.TempDir()
			f.add("text", "model", func(s *setup) { s.PoolSpec.MaxWorkers, s.ReplaceBefore = 3, true })
			f.settled()
			f.d.Tune(f.changed(manner{From: 1, Wait: dir + "/straggler"}, nil)) // the next process
			f.scale(2, 3)
			f.eventually("the straggler", func() bool { w := f.d.Workers(); return len(w) > 1 && w[1].PID > 0 })
			done := f.roll(manner{Tag: "new", From: 1, Wait: dir + "/new one"}, nil)
			f.eventually("the new one", func() bool { return f.logs.FilterMessage("worker started").Len() == 3 })
			ready := func(name string) {
				if err := os.WriteFile(dir+"/"+name, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ready(first)
			if first == "straggler" {
				f.eventually("the straggler to be ready", func() bool { return f.d.Workers()[1].State == protocol.WorkerReady })
				ready("new one")
			}
			if err := f.rolled(done); err != nil {
				t.Fatal(err)
			}
			ready("straggler")
			f.eventually("the successor of the straggler", func() bool {
				w := f.d.Workers()[1]
				return w.State == protocol.WorkerReady && w.Incarnation == 2
			})
			for range 5 {
				if a := f.who("echo"); a.Tag != "new" {
					t.Errorf("answer %+v", a)
				}
			}
		})
	}
}

// A roll that comes while a successor starts is not hurt by that one's failure.
func TestRollBesideFailingSuccessor(t *testing.T) {
	f := newFixture(t, nil)
	ready := t.TempDir() + "/ready"
	m := manner{From: 2, Wait: ready, Missing: "/nowhere/weights"}
	f.add("text", "model", func(s *setup) { s.args, s.PoolSpec.MaxWorkers, s.ReplaceBefore = m.arg(), 2, true })
	f.settled()
	restarted := make(chan *protocol.Error, 1)
	go func() { restarted <- f.d.Restart(t.Context(), "text") }()
	f.eventually("the successor", func() bool { return f.logs.FilterMessage("worker started").Len() == 2 })
	done := f.roll(manner{Tag: "new"}, nil)
	f.eventually("the roll", func() bool { return f.d.Rolls("text") == 1 })
	if err := os.WriteFile(ready, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-restarted; err == nil {
		t.Error("restarted")
	}
	if err := f.rolled(done); err != nil {
		t.Error(err)
	}
	f.allAre("new", 1)
}

// A pool that is given up is healed at once by a configuration that works.
func TestRollHeals(t *testing.T) {
	for _, policy := range []workers.Policy{workers.PolicyAlways, workers.PolicyNever} {
		f := newFixture(t, nil)
		f.add("text", "model", func(s *setup) {
			m := manner{From: 1, Missing: "/nowhere/weights"}
			s.args, s.Policy, s.MaxRestartAttempts = m.arg(), policy, 1
			s.MinWorkers, s.PoolSpec.MaxWorkers = 2, 2
		})
		f.start(jobs.Spec{}).refused(protocol.CodePoolUnavailable)
		f.mustRoll(manner{Tag: "new"}, nil)
		f.eventually("an answer", func() bool { return f.start(jobs.Spec{}).wait() == nil })
		f.allAre("new", 2)
		f.close()
	}
}

// A roll may change what a pool offers: calls that wait for what is no longer there are told so, what is new is served.
func TestRollChangesPlugins(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", modelPool(manner{}, 1, "a", "b"))
	f.settled()
	busy, g := f.occupyPlugin(t, "a")
	waits, stays := f.start(jobs.Spec{Plugin: "a"}), f.start(jobs.Spec{Plugin: "b", Params: []byte(whoParams)})
	done := f.roll(manner{Tag: "new"}, func(o *dispatch.PoolOptions) {
		o.Spec.Plugins = []string{"b", "c"}
		o.Workers.Plugins = []workers.Plugin{{Name: "b"}, {Name: "c"}}
	})
	f.eventually("the old worker to take no more", func() bool { return f.d.Workers()[0].State == protocol.WorkerDraining })
	f.start(jobs.Spec{Plugin: "c"}).refused(protocol.CodeUnknownPlugin) // not yet
	g.open(t)
	busy.succeed(g.params())
	if err := f.rolled(done); err != nil {
		t.Fatal(err)
	}
	waits.refused(protocol.CodeUnknownPlugin)
	if a := stays.who(); a.Tag != "new" {
		t.Errorf("answer %+v", a)
	}
	if a := f.who("c"); a.Tag != "new" || a.Plugin != "c" {
		t.Errorf("answer %+v", a)
	}
	f.start(jobs.Spec{Plugin: "a"}).refused(protocol.CodeUnknownPlugin)
	if n := len(f.d.Plugins()); n != 2 {
		t.Errorf("plugins %+v", f.d.Plugins())
	}
}

// What a pool has no configured plugins for follows from what its new workers name.
func TestRollChangesNames(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "named", func(s *setup) { s.args = []string{"old", "old"} })
	f.settled()
	f.start(jobs.Spec{Plugin: "old"}).succeed(`"text old"`)
	_, o, _ := f.d.Pool("text")
	o.Workers.Command, o.Workers.Env = workertest.Command("named", "new", "new")
	if err := f.d.Roll(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	f.start(jobs.Spec{Plugin: "new"}).succeed(`"text new"`)
	f.start(jobs.Spec{Plugin: "old"}).refused(protocol.CodeUnknownPlugin)
	f.start(jobs.Spec{Plugin: "old", Pool: "text"}).refused(protocol.CodeUnknownPlugin)
}

// Bounds change in place, without another process.
func TestTune(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	f.settled()
	busy, g := f.occupy(t)
	tune := func(change func(*dispatch.PoolOptions)) {
		_, o, _ := f.d.Pool("text")
		change(&o)
		f.d.Tune(o)
	}
	tune(func(o *dispatch.PoolOptions) { o.Spec.QueueSize = 1 })
	waiting := f.run("{}")
	f.run("{}").refused(protocol.CodeOverloaded)
	tune(func(o *dispatch.PoolOptions) { o.Spec.QueueSize = 2 })
	second := f.run("{}")
	g.open(t)
	busy.succeed(g.params())
	waiting.succeed("{}")
	second.succeed("{}")
	if a := second.at(); a.Incarnation != 1 {
		t.Errorf("it ran as %+v", a)
	}
	tune(func(o *dispatch.PoolOptions) { o.Spec.RunTimeout = 200 * time.Millisecond })
	f.run(`{"hang":true}`).refused(protocol.CodeDeadlineExceeded)
}

// A pool that is removed ends what it runs, and refuses what waits for it; one of the same name that comes again begins
// when the old one has ended.
func TestRemoveAndAddAgain(t *testing.T) {
	f := newFixture(t, nil)
	f.add("other", "model", nil)
	f.add("text", "model", func(s *setup) {
		m := manner{Tag: "old"}
		s.args, s.PoolSpec.MaxWorkers = m.arg(), 1
	})
	f.settled()
	g := newGate(t)
	busy := f.start(jobs.Spec{Pool: "text", Params: []byte(g.params()), Stream: true})
	busy.produced(1)
	waiting := f.start(jobs.Spec{Pool: "text"})
	o := f.changed(manner{Tag: "new"}, nil)
	f.d.Remove("text")
	waiting.cancelled(protocol.CodeServerCancelled, protocol.ByReload, protocol.HowQueued)
	f.start(jobs.Spec{Pool: "text"}).refused(protocol.CodeUnknownPool)
	if _, _, there := f.d.Pool("text"); there {
		t.Error("the pool is there")
	}
	if err := f.rolled(f.rollOptions(o)); err == nil {
		t.Error("a pool that was removed is rolled")
	}
	if err := f.d.Restart(t.Context(), "text"); err == nil || err.Code != protocol.CodeUnknownPool {
		t.Errorf("restarted: %v", err)
	}
	f.who("echo") // by the other one
	if err := f.d.Add(o); err != nil {
		t.Fatal(err)
	}
	select {
	case <-busy.done:
		t.Fatalf("what ran was ended: %v", busy.err)
	default:
	}
	g.open(t)
	busy.succeed(g.params())
	f.eventually("the new pool", func() bool { _, _, there := f.d.Pool("text"); return there })
	if a := f.start(jobs.Spec{Pool: "text", Params: []byte(whoParams)}).who(); a.Tag != "new" {
		t.Errorf("answer %+v", a)
	}
	f.d.Remove("other")
	f.eventually("the end of the other one", func() bool { return len(f.d.Pools()) == 1 })
}

func (f *fixture) rollOptions(o dispatch.PoolOptions) <-chan error {
	c := make(chan error, 1)
	go func() { c <- f.d.Roll(context.Background(), o) }()
	return c
}

// A paused pool takes nothing new and begins nothing, not even after a reload; what waits goes on when it is resumed.
func TestPause(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", nil)
	f.settled()
	busy, g := f.occupy(t)
	waiting := f.run("{}")
	pause := func(on bool) {
		f.d.Change("text", func(o *dispatch.PoolOptions) bool { o.Spec.Paused = on; return true })
	}
	pause(true)
	g.open(t)
	busy.succeed(g.params())
	refuse := func() {
		err := f.run("{}").fail(protocol.CodePoolUnavailable)
		if err.Data.State != protocol.PoolPaused || err.Data.Reason != "paused by an operator" {
			t.Errorf("error %v of %+v", err, err.Data)
		}
		if p := f.d.Pools()[0]; p.State != protocol.PoolPaused || p.Queued != 1 || p.Workers.Busy != 0 {
			t.Errorf("pool %+v", p)
		}
	}
	refuse()
	_, o, _ := f.d.Pool("text")
	o.Spec.Paused = false
	f.d.Tune(o)
	refuse()
	f.mustRoll(manner{}, func(o *dispatch.PoolOptions) { o.Spec.Paused = false })
	refuse()
	pause(false)
	waiting.succeed("{}")
	f.run("{}").succeed("{}")
}

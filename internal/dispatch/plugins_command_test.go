package dispatch_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"supervisord/internal/jobs"
	"supervisord/protocol"
)

// modelPool is a pool of models with as many workers and these plugins.
func modelPool(m manner, n int, names ...string) func(*setup) {
	return func(s *setup) {
		s.args, s.PoolSpec.Plugins = m.arg(), names
		s.MinWorkers, s.PoolSpec.MaxWorkers = n, n
		s.ReloadTimeout, s.UnloadTimeout = patience, patience
	}
}

func (s *setting) json() json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return b
}

// told is what a command has come to.
type told struct {
	workers []protocol.PluginWorker
	err     *protocol.Error
}

// reload begins to tell all workers to reload a plugin.
func (f *fixture) reload(ctx context.Context, plugin string, s setting) <-chan told {
	c := make(chan told, 1)
	go func() {
		list, err := f.d.ReloadPlugin(ctx, plugin, "", s.json())
		c <- told{list, err}
	}()
	return c
}

func (f *fixture) outcome(c <-chan told) told {
	f.t.Helper()
	select {
	case o := <-c:
		return o
	case <-time.After(patience):
		f.t.Fatal("waited in vain for a command's end")
		return told{}
	}
}

// allWell checks that a command reached so many workers of the pool "text", each with success.
func (f *fixture) allWell(o told, n int) {
	f.t.Helper()
	if o.err != nil || len(o.workers) != n {
		f.t.Errorf("workers %+v, error %v", o.workers, o.err)
	}
	for i, w := range o.workers {
		if w.Worker != "text/"+string(rune('0'+i)) || w.Status != protocol.StatusSuccess || w.Error != "" {
			f.t.Errorf("workers %+v", o.workers)
		}
	}
}

// A reload reaches every worker in turn, each between two jobs, while the others serve; the config counts from then on.
func TestReloadInTurn(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", modelPool(manner{}, 2, "a", "b"))
	f.settled()
	gates := []gate{newGate(t), newGate(t)}
	one, g1 := f.occupyPlugin(t, "a")
	two, g2 := f.occupyPlugin(t, "a")
	done := f.reload(t.Context(), "a", setting{Value: "new", Gates: []string{string(gates[0]), string(gates[1])}})
	busy := map[string]func(){
		one.at().Worker: func() { g1.open(t); one.succeed(g1.params()) },
		two.at().Worker: func() { g2.open(t); two.succeed(g2.params()) },
	}
	if len(busy) != 2 {
		t.Fatal("both ran on the same worker")
	}
	busy["text/1"]() // it is not its turn
	for range 5 {
		if a := f.who("a"); a.Worker != "text/1" || a.Value != "" {
			t.Fatalf("answered by %+v", a)
		}
	}
	waiting := f.start(jobs.Spec{Plugin: "b", Params: []byte(whoParams)})
	if a := waiting.who(); a.Worker != "text/1" {
		t.Fatalf("answered by %+v", a)
	}
	busy["text/0"]()
	goOn := gates[0].reached(t)
	for range 5 {
		if a := f.who("a"); a.Worker != "text/1" || a.Value != "" {
			t.Fatalf("answered by %+v", a)
		}
	}
	goOn()
	goOn = gates[1].reached(t)
	for range 5 {
		if a := f.who("a"); a.Worker != "text/0" || a.Value != "new" {
			t.Fatalf("answered by %+v", a)
		}
	}
	select {
	case o := <-done:
		t.Fatalf("told of the end before it: %+v", o)
	default:
	}
	goOn()
	f.allWell(f.outcome(done), 2)
}

// occupyPlugin is occupy with a plugin.
func (f *fixture) occupyPlugin(t *testing.T, plugin string) (*call, gate) {
	t.Helper()
	g := newGate(t)
	c := f.start(jobs.Spec{Plugin: plugin, Params: []byte(g.params()), Stream: true})
	c.produced(1)
	return c, g
}

// The config of a reload counts for workers that start later, too, and a reload without one uses it again.
func TestReloadedConfigStays(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", modelPool(manner{}, 1, "a"))
	f.settled()
	s := setting{Value: "new"}
	list, err := f.d.ReloadPlugin(t.Context(), "a", "text", s.json())
	f.allWell(told{list, err}, 1)
	if _, err := f.d.StopWorker(t.Context(), "text/0", true); err != nil {
		t.Fatal(err)
	}
	if a := f.who("a"); a.Value != "new" {
		t.Errorf("answer %+v", a)
	}
	list, err = f.d.ReloadPlugin(t.Context(), "a", "", nil)
	f.allWell(told{list, err}, 1)
	if a := f.who("a"); a.Value != "new" {
		t.Errorf("answer %+v", a)
	}
}

// What goes wrong is told worker by worker: the words of one that refuses, the death of another, whose place is taken.
func TestReloadFails(t *testing.T) {
	for name, c := range map[string]struct {
		setting setting
		want    []string // of each worker
		fresh   bool     // its process is replaced
	}{
		"refused": {setting{Fail: "no weights"}, []string{"no weights", "no weights"}, false},
		"died": {setting{Exit: 6}, []string{
			`worker text/0: reload of plugin "a": died: exited with status 6`, `worker text/1: reload of plugin "a": died: exited with status 6`,
		}, true},
		"timed out": {setting{Hang: true}, []string{
			`worker text/0: reload of plugin "a": no answer within 200ms`, `worker text/1: reload of plugin "a": no answer within 200ms`,
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			pool := modelPool(manner{}, 2, "a", "b")
			f.add("text", "model", func(s *setup) {
				pool(s)
				s.ReloadTimeout = 200 * time.Millisecond
			})
			f.settled()
			list, err := f.d.ReloadPlugin(t.Context(), "a", "", c.setting.json())
			if err != nil || len(list) != 2 {
				t.Fatalf("workers %+v, error %v", list, err)
			}
			for i, w := range list {
				if w.Status != protocol.StatusError || w.Error != c.want[i] {
					t.Errorf("worker %+v, want %s", w, c.want[i])
				}
			}
			f.eventually("both workers", func() bool {
				w := f.d.Workers()
				fresh := func(w protocol.Worker) bool {
					return w.State == protocol.WorkerReady && (w.Incarnation > 1) == c.fresh
				}
				return fresh(w[0]) && fresh(w[1])
			})
			f.who("b")
		})
	}
}

// Names that nobody has are told with those that may have been meant.
func TestCommandsOfUnknown(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", modelPool(manner{}, 1, "upper"))
	f.add("other", "model", modelPool(manner{}, 1, "lower"))
	f.settled()
	for _, c := range []struct {
		plugin, pool string
		code         protocol.Code
		known        string
	}{
		{"uper", "", protocol.CodeUnknownPlugin, "upper"},
		{"lower", "text", protocol.CodeUnknownPlugin, "upper"},
		{"upper", "texd", protocol.CodeUnknownPool, "text"},
	} {
		_, reload := f.d.ReloadPlugin(t.Context(), c.plugin, c.pool, nil)
		_, unload := f.d.UnloadPlugin(t.Context(), c.plugin, c.pool)
		for _, err := range []*protocol.Error{reload, unload} {
			if err == nil || err.Code != c.code || !slices.Contains(err.Data.Known, c.known) {
				t.Errorf("%+v: error %+v", c, err)
			}
		}
	}
}

// An unloaded plugin is loaded again by its next call, and so is one that the worker had left out; calls to others do not
// wait for that where there is another worker.
func TestLoadOnDemand(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", modelPool(manner{Without: []string{"b"}}, 2, "a", "b"))
	f.settled()
	list, err := f.d.UnloadPlugin(t.Context(), "a", "")
	f.allWell(told{list, err}, 2)
	if r := f.residency("a"); r != protocol.ResidencyUnloaded {
		t.Errorf("residency %s of a plugin that was unloaded", r)
	}
	for _, plugin := range []string{"a", "b"} {
		c := f.start(jobs.Spec{Plugin: plugin, Params: []byte(whoParams)})
		if a := c.who(); a.Plugin != plugin || len(c.job.Record().Attempts) != 1 {
			t.Errorf("answer %+v, attempts %+v", a, c.job.Record().Attempts)
		}
		if r := f.residency(plugin); r != protocol.ResidencyResident {
			t.Errorf("residency %s of plugin %s after a call", r, plugin)
		}
	}
}

func (f *fixture) residency(plugin string) protocol.Residency {
	f.t.Helper()
	for _, p := range f.d.Plugins() {
		if p.Name == plugin {
			return p.Residency["text"]
		}
	}
	f.t.Fatalf("there is no plugin %s", plugin)
	return ""
}

// A plugin that no worker can load costs its calls alone, which are told the worker's own words; a reload that succeeds
// mends it.
func TestLoadFails(t *testing.T) {
	f := newFixture(t, nil)
	pool := modelPool(manner{Without: []string{"b"}}, 2, "a", "b")
	bad := setting{Fail: "no weights", Stderr: "CUDA out of memory"}
	f.add("text", "model", func(s *setup) {
		pool(s)
		s.config = map[string]json.RawMessage{"b": bad.json()}
	})
	f.settled()
	f.eventually("the last words", func() bool { // which may come after the answer
		err := f.start(jobs.Spec{Plugin: "b"}).fail(protocol.CodePoolUnavailable)
		d := err.Data
		if d.State != protocol.PoolFailed || d.Reason != "load_failed" || !strings.Contains(err.Message, "no weights") {
			t.Errorf("error %v of %+v", err, d)
		}
		return slices.Contains(d.StderrTail, "CUDA out of memory")
	})
	if r := f.residency("b"); r != protocol.ResidencyLoadFailed {
		t.Errorf("residency %s", r)
	}
	f.who("a")
	good := setting{Value: "good"}
	list, err := f.d.ReloadPlugin(t.Context(), "b", "", good.json())
	f.allWell(told{list, err}, 2)
	if a := f.who("b"); a.Value != "good" {
		t.Errorf("answer %+v", a)
	}
	if r := f.residency("b"); r != protocol.ResidencyResident {
		t.Errorf("residency %s", r)
	}
}

// A plugin that could be loaded after all is, when it is unloaded, no longer one that could not.
func TestRepairedPlugin(t *testing.T) {
	bad, good := setting{Fail: "no weights"}, setting{}
	for name, repair := range map[string]func(*testing.T, *fixture){
		"by a reload": func(t *testing.T, f *fixture) {
			list, err := f.d.ReloadPlugin(t.Context(), "a", "", good.json())
			f.allWell(told{list, err}, 1)
		},
		"by another process": func(t *testing.T, f *fixture) {
			if _, err := f.d.StopWorker(t.Context(), "text/0", false); err != nil {
				t.Error(err)
			}
			f.who("a")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.add("text", "model", modelPool(manner{}, 1, "a", "b"))
			f.settled()
			if _, err := f.d.ReloadPlugin(t.Context(), "a", "", bad.json()); err != nil {
				t.Fatal(err)
			}
			f.start(jobs.Spec{Plugin: "a"}).refused(protocol.CodePoolUnavailable)
			if r := f.residency("a"); r != protocol.ResidencyLoadFailed {
				t.Errorf("residency %s", r)
			}
			repair(t, f)
			list, err := f.d.UnloadPlugin(t.Context(), "a", "")
			f.allWell(told{list, err}, 1)
			if r := f.residency("a"); r != protocol.ResidencyUnloaded {
				t.Errorf("residency %s", r)
			}
		})
	}
}

// Who waits for a busy worker and leaves gives it back at once.
func TestCommandIsLeft(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "concurrent", func(s *setup) { s.Options.Concurrency, s.PoolSpec.Plugins = 4, []string{"echo"} })
	f.settled()
	held := f.run(`{"hold":true}`)
	ctx, cancel := context.WithCancel(t.Context())
	done := f.reload(ctx, "echo", setting{})
	f.eventually("the worker to be reserved", func() bool { return f.start(noWait).wait() != nil })
	waiting := f.run("{}")
	cancel()
	if o := f.outcome(done); o.err == nil || o.err.Code != protocol.CodeCancelled || *o.err.Data.How != protocol.HowDetached {
		t.Errorf("outcome %+v", o)
	}
	waiting.succeed("{}")
	f.start(noWait).succeed("{}")
	held.cancel(protocol.ByCaller, false)
	held.cancelled(protocol.CodeCancelled, protocol.ByCaller, protocol.HowCooperative)
}

// Who leaves while a worker does what it was told ends only the waiting: it is given back when it is done.
func TestCommandGoesOn(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", modelPool(manner{}, 1, "a"))
	f.settled()
	load := newGate(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := f.reload(ctx, "a", setting{Value: "new", Gates: []string{string(load)}})
	goOn := load.reached(t)
	cancel()
	if o := f.outcome(done); o.err == nil || o.err.Code != protocol.CodeCancelled {
		t.Errorf("outcome %+v", o)
	}
	waiting := f.start(jobs.Spec{Plugin: "a", Params: []byte(whoParams)})
	goOn()
	if a := waiting.who(); a.Value != "new" {
		t.Errorf("answer %+v of a worker that was told", a)
	}
}

// Commands that come at once go one after the other: no worker has two of them, and each has one config at the end.
func TestCommandsDoNotMix(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "model", modelPool(manner{}, 2, "a"))
	f.settled()
	stop := f.keepCallingAny(t, "a")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if i%4 == 3 {
				list, err := f.d.UnloadPlugin(t.Context(), "a", "")
				f.allWell(told{list, err}, 2)
				return
			}
			s := setting{Value: string(rune('0' + i))}
			list, err := f.d.ReloadPlugin(t.Context(), "a", "", s.json())
			f.allWell(told{list, err}, 2)
		})
	}
	all.Wait()
	stop()
	list, err := f.d.ReloadPlugin(t.Context(), "a", "", nil)
	f.allWell(told{list, err}, 2)
	values := map[string]string{}
	f.eventually("an answer of each worker", func() bool {
		one := f.start(jobs.Spec{Plugin: "a", Params: []byte(whoParams)})
		two := f.start(jobs.Spec{Plugin: "a", Params: []byte(whoParams)})
		for _, a := range []whoAnswer{one.who(), two.who()} {
			values[a.Worker] = a.Value
		}
		return len(values) == 2
	})
	if values["text/0"] != values["text/1"] || values["text/0"] == "" {
		t.Errorf("values %q", values)
	}
}

// keepCallingAny calls a plugin over and over until the function that it returns is called, and fails the test where a
// call fails.
func (f *fixture) keepCallingAny(t *testing.T, plugin string) (end func()) {
	t.Helper()
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 3 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				c := f.start(jobs.Spec{Plugin: plugin})
				select {
				case <-c.done:
				case <-time.After(patience):
					t.Errorf("job %s waits", c.job.ID)
					return
				}
				if c.err != nil {
					t.Errorf("job %s: error %v of %+v", c.job.ID, c.err, c.err.Data)
					return
				}
			}
		})
	}
	end = sync.OnceFunc(func() {
		close(stop)
		callers.Wait()
	})
	t.Cleanup(end)
	return end
}

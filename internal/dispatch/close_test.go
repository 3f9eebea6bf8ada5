package dispatch_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"supervisord/internal/dispatch"
	"supervisord/internal/jobs"
	"supervisord/protocol"
)

// Whatever is on its way when the daemon stops, at its leisure or at once: it ends, whoever waits for it is told, and
// nothing is left behind.
func TestCloseDuring(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(*setup, string)
		// begin brings it on its way, and returns what ends when it does.
		begin func(*testing.T, *fixture, string) <-chan struct{}
	}{
		{"roll before", func(s *setup, _ string) { s.PoolSpec.MaxWorkers, s.ReplaceBefore = 2, true }, beginRoll},
		{"roll after", func(*setup, string) {}, beginRoll},
		{"recycle before", func(s *setup, never string) {
			m := manner{From: 2, Wait: never}
			s.args, s.PoolSpec.MaxWorkers, s.ReplaceBefore = m.arg(), 2, true
		}, beginRecycle},
		{"recycle after", func(s *setup, never string) {
			m := manner{From: 2, Wait: never}
			s.args = m.arg()
		}, beginRecycle},
		{"load", func(s *setup, _ string) {
			hang := setting{Hang: true}
			modelPool(manner{Without: []string{"a"}}, 1, "a")(s)
			s.config = map[string]json.RawMessage{"a": hang.json()}
		}, func(_ *testing.T, f *fixture, _ string) <-chan struct{} {
			c := f.start(jobs.Spec{Plugin: "a"})
			f.eventually("the load", func() bool { return f.start(jobs.Spec{Plugin: "a", HasMaxWait: true}).wait() != nil })
			return c.done
		}},
		{"plugin reload", func(s *setup, _ string) { modelPool(manner{}, 2, "a")(s) }, func(t *testing.T, f *fixture, note string) <-chan struct{} {
			return ends(func() {
				hang := setting{Note: note, Hang: true}
				list, err := f.d.ReloadPlugin(t.Context(), "a", "", hang.json())
				if err != nil || len(list) != 2 || list[0].Status != protocol.StatusError || list[1].Status != protocol.StatusError {
					t.Errorf("workers %+v, error %v", list, err)
				}
			}, func() { f.eventually("the reload", func() bool { return noted(t, note) > 0 }) })
		}},
		{"remove", func(*setup, string) {}, func(t *testing.T, f *fixture, _ string) <-chan struct{} {
			c := f.run(`{"chunks":1,"hang":true}`)
			c.produced(1)
			f.d.Remove("text")
			return c.done
		}},
		{"scale to none", func(s *setup, never string) {
			m := manner{From: 1, Wait: never}
			s.args, s.MinWorkers, s.PoolSpec.MaxWorkers = m.arg(), 3, 3
		}, func(_ *testing.T, f *fixture, _ string) <-chan struct{} {
			f.d.Change("text", func(o *dispatch.PoolOptions) bool {
				o.Spec.MinWorkers, o.Spec.MaxWorkers, o.Workers.MaxWorkers = 0, 1, 1
				return true
			})
			return f.start(jobs.Spec{Pool: "text"}).done
		}},
	} {
		for _, limit := range []time.Duration{time.Millisecond, patience} {
			t.Run(c.name+" within "+limit.String(), func(t *testing.T) {
				f := newFixture(t, nil)
				path := t.TempDir() + "/file"
				f.add("text", "model", func(s *setup) {
					c.setup(s, path)
					s.StopTimeout = 50 * time.Millisecond
				})
				if c.name != "scale to none" {
					f.settled()
				}
				over := c.begin(t, f, path)
				closed := make(chan struct{})
				go func() {
					defer close(closed)
					f.closeWithin(limit)
				}()
				await(t, closed, "the end of the daemon")
				await(t, over, "the end of what was on its way")
			})
		}
	}
}

// closeWithin ends the daemon: jobs are ended at once, processes have so long.
func (f *fixture) closeWithin(limit time.Duration) {
	past, cancel := context.WithCancel(context.Background())
	cancel()
	_ = f.d.Drain(past) // what runs does not end by itself
	f.d.EndAll(f.registry.All())
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	f.d.Close(ctx)
	f.closed = true
	f.host.Close()
	for _, c := range f.calls {
		c.check()
	}
}

// ends runs something and returns what is closed when it has ended; begun waits until it has begun.
func ends(run, begun func()) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		defer close(c)
		run()
	}()
	begun()
	return c
}

func beginRoll(t *testing.T, f *fixture, never string) <-chan struct{} {
	t.Helper()
	rolled := f.roll(manner{From: 1, Wait: never}, nil)
	return ends(func() {
		if err := <-rolled; err == nil {
			t.Error("rolled")
		}
	}, func() {
		f.eventually("the new process", func() bool { return f.logs.FilterMessage("worker started").Len() == 2 })
	})
}

func beginRecycle(t *testing.T, f *fixture, _ string) <-chan struct{} {
	t.Helper()
	return ends(func() {
		_ = f.d.Restart(t.Context(), "text") // what it comes to is the end of the worker, or its staying
	}, func() {
		f.eventually("the new process", func() bool { return f.logs.FilterMessage("worker started").Len() == 2 })
	})
}

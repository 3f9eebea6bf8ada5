package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/protocol"
	"supervisord/sdk/go/client"
)

// load calls a plugin of actors from four connections, every second one as a stream, until stop is called. Failed is told
// of every call that did not end as it should, but for those that the end of the load cuts off.
func (d *testDaemon) load(plugin string, failed func(error)) (stop func()) {
	d.t.Helper()
	var (
		clients sync.WaitGroup
		ended   atomic.Bool
	)
	for i := range 4 {
		c := d.dial()
		clients.Go(func() {
			for !ended.Load() {
				if err := loadOne(d.t.Context(), c, plugin, i); err != nil {
					failed(err)
					if errors.Is(err, client.ErrLost) {
						return
					}
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		ended.Store(true)
		clients.Wait()
	})
}

// loadOne makes one call, with chunks where that many are asked for.
func loadOne(ctx context.Context, c *client.Client, plugin string, chunks int) error {
	e := client.Execute{Plugin: plugin, Params: acts{Chunks: chunks, MS: 1}}
	if chunks%2 == 0 {
		_, err := c.Execute(ctx, e)
		return err
	}
	s, got := c.Stream(ctx, e), 0
	for chunk, err := range s.Chunks() {
		if err != nil {
			return err
		}
		if text, ok := chunk.Text(); !ok || text != strconv.Itoa(got) || chunk.Seq != int64(got) {
			return fmt.Errorf("chunk %d is number %d: %s", got, chunk.Seq, chunk.Value)
		}
		got++
	}
	if got != chunks {
		return fmt.Errorf("%d chunks instead of %d", got, chunks)
	}
	_, err := s.Result()
	return err
}

// generation is a pool whose workers say of which generation they are.
func generation(pool object, n int) object {
	env, _ := pool["env"].([]string)
	return pool.with(object{"env": append(slices.Clip(env), "GENERATION="+strconv.Itoa(n))})
}

// reloaded is how often the daemon has followed its configuration anew.
func (d *testDaemon) reloaded() int { return strings.Count(d.log(), `"configuration reloaded"`) }

// TestReloadUnderLoad: ten generations of workers follow each other, and no caller notices.
func TestReloadUnderLoad(t *testing.T) {
	length := 3 * time.Second
	if os.Getenv("SUPERVISORD_TEST_ALL") != "" {
		length = 10 * time.Second
	}
	const reloads = 10
	d := newDaemon(t)
	pool := d.pool("text", "actor").with(object{"min_workers": 2, "max_workers": 2})
	d.configure(nil, generation(pool, 0))
	d.start()
	d.settle()
	var failures atomic.Int64
	stop := d.load("text", func(err error) {
		if failures.Add(1) <= 5 {
			t.Error(err)
		}
	})
	defer stop()
	began := time.Now()
	for n := range reloads {
		d.configure(nil, generation(pool, n+1))
		if n%2 == 0 {
			var result protocol.DaemonReloadResult
			d.call(protocol.MethodDaemonReload, nil, &result)
			if len(result.Pools) != 1 || result.Pools[0].Change != protocol.PoolRolled {
				t.Fatalf("reload %d: %+v", n, result)
			}
		} else {
			d.signal(unix.SIGHUP)
		}
		d.until("the configuration is reloaded", func() bool { return d.reloaded() == n+1 })
		time.Sleep(time.Until(began.Add(length * time.Duration(n+1) / reloads))) // how long it is to last; nothing is awaited
	}
	stop()
	if s := d.status(); s.Jobs.Failed+s.Jobs.Cancelled > 0 || failures.Load() > 0 {
		t.Errorf("%d calls failed, and of the jobs %+v", failures.Load(), s.Jobs)
	}
	t.Logf("%d calls in %v", d.status().Jobs.Completed, time.Since(began).Round(time.Millisecond))
	d.until("only the last generation is left", func() bool { return len(d.processes()) == 2+2 })
	for range 10 {
		if got := d.act("text", acts{}).Generation; got != strconv.Itoa(reloads) {
			t.Fatalf("generation %q serves", got)
		}
	}
}

// TestAdminUnderLoad: operators do all that they may, at once and to the same pool, and no caller notices.
func TestAdminUnderLoad(t *testing.T) {
	d := newDaemon(t)
	argv := []string{"supervisord", "worker", "demo"}
	pool := d.command("demo", argv...).with(object{
		"min_workers": 2, "max_workers": 3, "max_jobs_per_worker": 50, "plugins": []object{{"name": "echo"}, {"name": "count"}},
	})
	d.configure(nil, generation(pool, 0))
	d.start()
	d.settle()
	began := time.Now()
	var doers sync.WaitGroup
	do := func(what string, f func(n int) error) {
		doers.Go(func() {
			n := 0
			for ; time.Since(began) < 3*time.Second; n++ {
				if err := f(n); err != nil {
					t.Errorf("%s: %v", what, err)
					return
				}
			}
			t.Logf("%d times %s", n, what)
		})
	}
	call := func(method string, params func(n int) any) func(int) error {
		c := d.dial()
		return func(n int) error { return c.Call(t.Context(), method, params(n), nil) }
	}
	for range 2 {
		do("a call", call(protocol.MethodExecute, func(n int) any {
			return protocol.ExecuteParams{PluginName: "echo", Params: fmt.Appendf(nil, `{"n":%d}`, n)}
		}))
		do("a stream", call(protocol.MethodExecute, func(int) any {
			return protocol.ExecuteParams{PluginName: "count", Stream: true, Params: []byte(`{"count":20}`)}
		}))
	}
	reload := call(protocol.MethodDaemonReload, func(int) any { return nil })
	do("a reload", func(n int) error {
		d.configure(nil, generation(pool, n%3))
		return reload(n)
	})
	do("a restart", call(protocol.MethodPoolRestart, func(int) any { return protocol.PoolParams{Pool: "demo"} }))
	do("a reload of the plugin", call(protocol.MethodPluginReload, func(int) any { return protocol.PluginReloadParams{PluginName: "echo"} }))
	do("a scaling", call(protocol.MethodPoolScale, func(n int) any {
		return protocol.PoolScaleParams{Pool: "demo", MinWorkers: new(1 + n%3), MaxWorkers: new(3)}
	}))
	stop := call(protocol.MethodWorkerStop, func(n int) any { return protocol.WorkerStopParams{Worker: "demo/" + strconv.Itoa(n%3)} })
	do("a stop of a worker", func(n int) error {
		err := stop(n)
		if failure, ok := errors.AsType[*protocol.Error](err); ok && (failure.Code == protocol.CodeUnknownWorker || failure.Code == protocol.CodePoolUnavailable) {
			return nil // it has no process just now
		}
		return err
	})
	doers.Wait()
	if s := d.status(); s.Jobs.Failed+s.Jobs.Cancelled > 0 {
		t.Errorf("jobs %+v", s.Jobs)
	}
	d.configure(nil, generation(pool, 9))
	d.call(protocol.MethodDaemonReload, nil, nil)
	d.settle()
	d.until("nothing is under way", func() bool { return len(d.processes()) == 2+2 })
}

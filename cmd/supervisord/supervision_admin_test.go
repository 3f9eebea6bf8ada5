package main

import (
	"testing"
	"time"

	"supervisord/protocol"
	"supervisord/sdk/go/client"
)

// admin runs a command that succeeds.
func (d *testDaemon) admin(args ...string) string {
	d.t.Helper()
	stdout, stderr, code := d.cli(args...)
	if code != 0 {
		d.t.Fatalf("%q: exit %d\n%s\n%s", args, code, stdout, stderr)
	}
	return stdout
}

// newDemoDaemon is a daemon with the built-in worker.
func newDemoDaemon(t *testing.T) *testDaemon {
	t.Helper()
	d := newDaemon(t)
	d.configure(nil, d.command("demo", "supervisord", "worker", "demo").with(object{
		"max_workers": 2, "plugins": []object{{"name": "echo"}, {"name": "sleep"}},
	}))
	d.start()
	d.settle()
	return d
}

// TestPoolCommands: an operator scales, pauses and restarts a pool while it is used.
func TestPoolCommands(t *testing.T) {
	d := newDemoDaemon(t)
	c := d.dial()
	d.admin("pools", "scale", "demo", "--min", "2", "--max", "3")
	d.until("the second worker is ready", func() bool { return d.poolState("demo").Workers.Ready == 2 })
	d.admin("pools", "scale", "demo", "--min", "1", "--max", "1")
	d.until("the second worker has ended", func() bool { return len(d.processes()) == 2+1 })
	if _, stderr, code := d.cli("pools", "scale", "demo", "--min", "2"); code != exitFailure {
		t.Errorf("more at least than at most: exit %d\n%s", code, stderr)
	}

	// What runs goes on, what waits goes on waiting, and what comes is refused.
	sleeps := d.begin(c, client.Execute{Plugin: "sleep", Params: map[string]int{"ms": 200}})
	d.until("a call runs", func() bool { return d.status().Jobs.Running == 1 })
	waits := d.begin(c, client.Execute{Plugin: "echo"})
	d.until("a call waits", func() bool { return d.poolState("demo").Queued == 1 })
	d.admin("pools", "pause", "demo")
	if err := <-sleeps; err != nil {
		t.Error(err)
	}
	if p := d.poolState("demo"); p.State != protocol.PoolPaused || p.Queued != 1 {
		t.Errorf("pool %+v", p)
	}
	refused := d.failed(d.try(protocol.MethodExecute, protocol.ExecuteParams{PluginName: "echo"}, nil), protocol.CodePoolUnavailable)
	if refused.Data.State != protocol.PoolPaused {
		t.Errorf("error %+v", refused.Data)
	}
	select {
	case err := <-waits:
		t.Errorf("a paused pool has answered: %v", err)
	default:
	}
	d.admin("pools", "resume", "demo")
	if err := <-waits; err != nil {
		t.Error(err)
	}

	before := d.worker("demo/0")
	stop := make(chan struct{})
	calls := make(chan error)
	go func() { // until stop
		defer close(calls)
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := c.Execute(t.Context(), client.Execute{Plugin: "echo"}); err != nil {
					calls <- err
					return
				}
			}
		}
	}()
	d.admin("pools", "restart", "demo")
	d.until("another process is ready", func() bool {
		after := d.worker("demo/0")
		return after.PID != before.PID && after.Incarnation == before.Incarnation+1 && after.State == protocol.WorkerReady
	})
	close(stop)
	for err := range calls {
		t.Error(err)
	}
	if _, stderr, code := d.cli("pools", "restart", "dem"); code != exitFailure {
		t.Errorf("an unknown pool: exit %d\n%s", code, stderr)
	}
}

// TestWorkerStop: a worker that an operator stops is replaced; by force at once, and its job is told who did it.
func TestWorkerStop(t *testing.T) {
	d := newDemoDaemon(t)
	pid := d.worker("demo/0").PID
	replaced := func() bool {
		w := d.worker("demo/0")
		return w.PID != pid && w.State == protocol.WorkerReady
	}
	d.call(protocol.MethodWorkerStop, protocol.WorkerStopParams{Worker: "demo/0"}, nil)
	d.until("another process is ready", replaced)
	d.until("the old process has ended", func() bool {
		w := d.worker("demo/0")
		return w.LastExit != nil && w.LastExit.Cause == protocol.ExitStopped
	})
	pid = d.worker("demo/0").PID
	sleeps := d.begin(d.dial(), client.Execute{Plugin: "sleep", Params: map[string]int{"ms": 3_600_000}})
	d.until("the job runs", func() bool { return len(d.worker("demo/0").JobIDs) == 1 })
	began := time.Now()
	d.call(protocol.MethodWorkerStop, protocol.WorkerStopParams{Worker: "demo/0", Force: true}, nil)
	err := d.fails(sleeps, protocol.CodeServerCancelled)
	if err.Data.By != protocol.ByOperator || *err.Data.How != protocol.HowKilled {
		t.Errorf("error %+v", err.Data)
	}
	d.until("another process is ready", replaced)
	t.Logf("replaced by force within %v", time.Since(began).Round(time.Millisecond))
	d.refuses(d.try(protocol.MethodWorkerStop, protocol.WorkerStopParams{Worker: "demo/7"}, nil), protocol.CodeUnknownWorker)
}

// TestPluginCommands: a plugin is unloaded from and loaded into running workers.
func TestPluginCommands(t *testing.T) {
	d := newDemoDaemon(t)
	d.admin("pools", "scale", "demo", "--min", "2")
	d.until("the second worker is ready", func() bool { return d.poolState("demo").Workers.Ready == 2 })
	residency := func(plugin string) protocol.Residency {
		var list protocol.PluginListResult
		d.call(protocol.MethodPluginList, nil, &list)
		for _, p := range list.Plugins {
			if p.Name == plugin {
				return p.Residency["demo"]
			}
		}
		return ""
	}
	var result protocol.PluginWorkersResult
	d.call(protocol.MethodPluginReload, protocol.PluginReloadParams{PluginName: "echo", Config: []byte(`{"a":1}`)}, &result)
	succeeded(t, result, 2)
	d.call(protocol.MethodPluginUnload, protocol.PluginUnloadParams{PluginName: "sleep", Pool: "demo"}, &result)
	succeeded(t, result, 2)
	if got := residency("sleep"); got != protocol.ResidencyUnloaded {
		t.Errorf("after unload it is %q", got)
	}
	d.call(protocol.MethodExecute, protocol.ExecuteParams{PluginName: "sleep", Params: []byte(`{"ms":1}`)}, nil) // loads it
	if got := residency("sleep"); got != protocol.ResidencyResident {
		t.Errorf("after a call it is %q", got)
	}
	var state protocol.WorkerGetStateResult
	d.call(protocol.MethodWorkerGetState, protocol.WorkerParams{Worker: "demo/0"}, &state)
	if len(state.LoadedPlugins) == 0 || state.AsOf.IsZero() {
		t.Errorf("state %+v", state)
	}
	d.refuses(d.try(protocol.MethodPluginReload, protocol.PluginReloadParams{PluginName: "ech"}, nil), protocol.CodeUnknownPlugin)
	d.refuses(d.try(protocol.MethodPluginUnload, protocol.PluginUnloadParams{PluginName: "echo", Pool: "dem"}, nil), protocol.CodeUnknownPool)
}

func succeeded(t *testing.T, result protocol.PluginWorkersResult, workers int) {
	t.Helper()
	if len(result.Workers) != workers {
		t.Errorf("%d workers have answered: %+v", len(result.Workers), result)
	}
	for _, w := range result.Workers {
		if w.Status != protocol.StatusSuccess {
			t.Errorf("%+v", w)
		}
	}
}

package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervisord/protocol"
	"supervisord/sdk/go/client"
)

func (d *testDaemon) reload() protocol.DaemonReloadResult {
	d.t.Helper()
	var result protocol.DaemonReloadResult
	d.call(protocol.MethodDaemonReload, nil, &result)
	return result
}

// changeOf is what a reload did to a pool; zero for nothing.
func changeOf(result protocol.DaemonReloadResult, pool string) protocol.PoolChange {
	for _, c := range result.Pools {
		if c.Pool == pool {
			return c
		}
	}
	return protocol.PoolChange{}
}

// TestReloadInvalid: of an invalid file nothing is taken, and every problem is told.
func TestReloadInvalid(t *testing.T) {
	d := newDaemon(t)
	d.configure(nil, d.pool("text", "actor"))
	d.start()
	before := d.act("text", acts{})
	pid := d.worker("text/0").PID
	d.write("version: 1\nlimits:\n  max_mesage: 1MiB\npools:\n  - name: text\n  - name: other\n    command: [sleep, 1]\n    job_timeout: 90\n")
	err := d.failed(d.try(protocol.MethodDaemonReload, nil, nil), protocol.CodeConfigInvalid)
	if err.Data.File != d.file || len(err.Data.Problems) < 3 || err.Data.Problems[0].Path != "limits.max_mesage" || err.Data.Problems[0].Line != 3 {
		t.Errorf("problems %+v of %q", err.Data.Problems, err.Data.File)
	}
	stdout, stderr, code := d.cli("reload")
	for _, want := range []string{d.file + ":3: limits.max_mesage", "pools[0].command", d.file + ":8: pools[1].job_timeout"} {
		if code != exitConfig || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("exit %d with %q on stdout, %q not on stderr:\n%s", code, stdout, want, stderr)
		}
	}
	d.signal(unix.SIGHUP)
	d.until("the signal is answered", func() bool { return strings.Count(d.log(), `"path":"limits.max_mesage"`) == 3 })
	if after := d.act("text", acts{}); after != before || d.worker("text/0").PID != pid || len(d.workers()) != 1 {
		t.Errorf("another worker: %+v after %+v", after, before)
	}
	if d.reloaded() > 0 {
		t.Error("reloaded")
	}
}

// TestReloadKeeps: a pool whose new workers do not start keeps its old ones, and the reload says why.
func TestReloadKeeps(t *testing.T) {
	d := newDaemon(t)
	good := d.pool("text", "actor").with(object{"min_workers": 2, "max_workers": 3}) // room for a successor
	d.configure(nil, good)
	d.start()
	d.settle()
	before := d.workers()
	for name, c := range map[string]struct {
		change object
		why    []string
	}{
		"exits":           {object{"command": []string{"/bin/sh", "-c", "echo the first line >&2; echo no such model >&2; exit 3"}}, []string{"status 3", "no such model"}},
		"missing program": {object{"command": []string{"nosuch"}}, []string{"exec nosuch: "}},
		"never ready":     {object{"command": []string{"/bin/sleep", "1000"}, "worker_start_timeout": "100ms"}, []string{"100ms"}},
	} {
		t.Run(name, func(t *testing.T) {
			d.configure(object{"log": object{"level": "debug"}}, good.with(c.change), d.pool("more", "actor"))
			result := d.reload()
			change := changeOf(result, "text")
			for _, why := range c.why {
				if change.Change != protocol.PoolKept || !strings.Contains(change.Reason, why) {
					t.Errorf("no %q in %+v", why, change)
				}
			}
			stdout, stderr, code := d.cli("reload")
			if code != exitFailure || !strings.Contains(stdout, c.why[0]) || !strings.Contains(stderr, "old workers go on in pool text") {
				t.Errorf("exit %d\n%s\n%s", code, stdout, stderr)
			}
			d.act("text", acts{})
			d.act("more", acts{}) // all else was done
			d.until("the old workers are as before", func() bool {
				now := d.workers()
				return slices.ContainsFunc(now, same(before[0])) && slices.ContainsFunc(now, same(before[1])) && d.poolState("text").State == protocol.PoolReady
			})
			d.configure(nil, good)
			if change := changeOf(d.reload(), "text"); change.Change == protocol.PoolRolled || change.Change == protocol.PoolKept {
				t.Errorf("back to what it was: %+v", change)
			}
		})
	}
	if after := d.workers(); !slices.ContainsFunc(after, same(before[0])) || !slices.ContainsFunc(after, same(before[1])) {
		t.Errorf("workers %+v, before %+v", after, before)
	}
}

// TestReloadKeepsWithoutRoom: where the old worker had to make room for the new one, it comes back.
func TestReloadKeepsWithoutRoom(t *testing.T) {
	d := newDaemon(t)
	good := d.pool("text", "actor")
	d.configure(nil, generation(good, 1))
	d.start()
	d.settle()
	d.configure(nil, generation(good, 2).with(object{"command": []string{"/bin/sh", "-c", "echo no such model >&2; exit 3"}}))
	if c := changeOf(d.reload(), "text"); c.Change != protocol.PoolKept || c.Reason != "worker text/0: exited with status 3 before it was ready: no such model" {
		t.Errorf("%+v", c)
	}
	if got := d.act("text", acts{}); got.Generation != "1" || got.Worker != "text/0" {
		t.Errorf("%+v serves", got)
	}
}

// same tells the worker that has the same process.
func same(as protocol.Worker) func(protocol.Worker) bool {
	return func(w protocol.Worker) bool {
		return w.Worker == as.Worker && w.PID == as.PID && w.State == protocol.WorkerReady
	}
}

// TestReloadApplies: what needs no new processes applies to those that there are, and what cannot apply is told.
func TestReloadApplies(t *testing.T) {
	d := newDaemon(t)
	text := d.pool("text", "actor")
	d.configure(nil, text, d.pool("goes", "actor"))
	d.start()
	d.settle()
	pid, goes := d.worker("text/0").PID, d.worker("goes/0").PID
	running := d.begin(d.dial(), client.Execute{Plugin: "goes", Params: acts{Begun: d.path("begun"), WaitFor: d.path("go")}})
	d.until("the job runs", func() bool { return exists(d.path("begun")) })

	tuned := text.with(object{"job_timeout": "50ms", "cancel_grace": "1s", "max_workers": 3, "min_workers": 2})
	d.configure(object{"log": object{"level": "debug"}, "socket": object{"path": d.path("other")}}, tuned, d.pool("comes", "actor"))
	result := d.reload()
	if c := changeOf(result, "text"); c.Change != protocol.PoolTuned || !strings.Contains(c.Reason, "job_timeout") {
		t.Errorf("text: %+v", c)
	}
	if added, removed := changeOf(result, "comes").Change, changeOf(result, "goes").Change; added != protocol.PoolAdded || removed != protocol.PoolRemoved {
		t.Errorf("comes %s, goes %s", added, removed)
	}
	if !slices.Equal(result.Settings, []string{"log.level"}) || !slices.Equal(result.NeedsRestart, []string{"socket.path"}) {
		t.Errorf("settings %q, needs_restart %q", result.Settings, result.NeedsRestart)
	}
	d.act("comes", acts{})
	d.refuses(d.try(protocol.MethodExecute, protocol.ExecuteParams{PluginName: "goes"}, nil), protocol.CodeUnknownPlugin)
	if w := d.worker("text/0"); w.PID != pid || w.Incarnation != 1 {
		t.Errorf("another process: %+v", w)
	}
	d.until("the second worker is there", func() bool { return d.poolState("text").Workers.Ready == 2 })
	d.touch("go") // the job of the pool that goes is let end
	if err := <-running; err != nil {
		t.Error(err)
	}
	d.until("the process of the removed pool has ended", func() bool { return unix.Kill(goes, 0) != nil })
	err := d.failed(d.try(protocol.MethodExecute, protocol.ExecuteParams{PluginName: "text", Params: []byte(`{"hang":true}`)}, nil), protocol.CodeDeadlineExceeded)
	if err.Data.Phase != protocol.PhaseRun || *err.Data.LimitMS != 50 {
		t.Errorf("error %+v", err.Data)
	}

	// Access, for a connection that there was before.
	c := d.dial()
	if err := c.Call(t.Context(), protocol.MethodPoolList, nil, nil); err != nil {
		t.Error(err)
	}
	d.configure(object{"access": []object{{"users": []string{"@self"}, "methods": []string{"daemon.*"}}}}, tuned)
	if result := d.reload(); !slices.Contains(result.Settings, "access") {
		t.Errorf("settings %q", result.Settings)
	}
	d.refuses(c.Call(t.Context(), protocol.MethodPoolList, nil, nil), protocol.CodePermissionDenied)
	d.configure(nil, tuned)
	d.reload()
	if err := c.Call(t.Context(), protocol.MethodPoolList, nil, nil); err != nil {
		t.Error(err)
	}
}

// TestReloadWaits: while a reload waits for a new worker calls are answered, other reloads wait for their turn, and
// signals that come meanwhile are one reload.
func TestReloadWaits(t *testing.T) {
	d := newDaemon(t)
	text := d.pool("text", "gated", "2", d.path("go")).with(object{"max_workers": 2}) // room for a successor
	d.configure(nil, generation(text, 1))
	d.start()
	d.settle()
	d.configure(nil, generation(text, 2))
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	reload := func(ctx context.Context, c *client.Client) <-chan error {
		done := make(chan error, 1)
		go func() { // the end of the test's client ends it
			var result protocol.DaemonReloadResult
			err := c.Call(ctx, protocol.MethodDaemonReload, nil, &result)
			if err == nil && changeOf(result, "text").Change == protocol.PoolKept {
				err = errors.New(changeOf(result, "text").Reason)
			}
			done <- err
		}()
		return done
	}
	first := reload(t.Context(), d.dial())
	d.until("the new worker starts", func() bool { return len(d.processes()) == 2+2 })
	left := reload(ctx, d.dial())
	for range 5 {
		d.signal(unix.SIGHUP)
		d.call(protocol.MethodDaemonPing, nil, nil)
		if _, err := d.dial().Execute(t.Context(), client.Execute{Plugin: "text"}); err != nil {
			t.Error(err)
		}
	}
	leave()
	if err := d.fails(left, protocol.CodeCancelled); *err.Data.How != protocol.HowDetached {
		t.Errorf("error %+v", err.Data)
	}
	select {
	case err := <-first:
		t.Errorf("the first reload has ended: %v", err)
	default:
	}
	d.touch("go")
	if err := <-first; err != nil {
		t.Error(err)
	}
	d.until("the signals are answered", func() bool { return d.reloaded() == 2 })
	if result := d.reload(); len(result.Pools) > 0 || d.reloaded() != 3 {
		t.Errorf("%d reloads, the last did %+v", d.reloaded(), result)
	}
	if w := d.worker("text/0"); w.Incarnation != 2 {
		t.Errorf("worker %+v", w)
	}
}

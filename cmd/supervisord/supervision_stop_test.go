package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/protocol"
	"supervisord/sdk/go/client"
)

// The daemon's shutdown_timeout in these tests; what a stop may take beyond it, and what the tests grant a busy machine.
const (
	stopAfter = time.Second
	stopExtra = time.Second
	stopSlack = 3 * time.Second
)

// stop ends the daemon by SIGTERM, which it has to survive no longer than it may.
func (d *testDaemon) stop() {
	d.t.Helper()
	began := time.Now()
	d.signal(unix.SIGTERM)
	if code := d.ended(); code != 0 {
		d.t.Errorf("exit %d", code)
	}
	took := time.Since(began)
	d.t.Logf("stopped after %v; shutdown_timeout is %v", took.Round(time.Millisecond), stopAfter)
	if took > stopAfter+stopExtra+stopSlack {
		d.t.Errorf("the stop took %v", took)
	}
	if pids := d.processes(); len(pids) > 0 {
		d.t.Errorf("%d processes outlive the daemon", len(pids))
	}
}

// TestStopDuring: whatever is going on, a stop ends it in time, and every caller has its answer.
func TestStopDuring(t *testing.T) {
	shutdown := func(t *testing.T, d *testDaemon, done <-chan error) {
		t.Helper()
		if err := d.fails(done, protocol.CodeServerCancelled); err.Data.By != protocol.ByShutdown {
			t.Errorf("error %+v", err.Data)
		}
	}
	for name, during := range map[string]func(t *testing.T, d *testDaemon, pool func(role string, args ...string) object){
		"a start": func(t *testing.T, d *testDaemon, pool func(string, ...string) object) {
			d.configure(object{"shutdown_timeout": "1s"}, pool("never-ready"))
			d.start()
			waits := d.begin(d.dial(), client.Execute{Plugin: "text"})
			d.until("the job waits", func() bool { return d.status().Jobs.Queued == 1 })
			d.stop()
			shutdown(t, d, waits)
		},
		"an execve that blocks": func(t *testing.T, d *testDaemon, pool func(string, ...string) object) {
			program, release := d.blockedProgram("text")
			defer release()
			d.configure(object{"shutdown_timeout": "1s"}, pool("actor").with(object{"command": []string{program}}))
			d.start()
			d.until("the worker starts", func() bool { return d.worker("text/0").PID > 0 })
			d.stop()
		},
		"backoff": func(t *testing.T, d *testDaemon, pool func(string, ...string) object) {
			d.configure(object{"shutdown_timeout": "1s"}, pool("exit-at-start", "1").with(object{
				"restart_backoff_base": "1h", "restart_backoff_max": "1h", "max_restart_attempts": 5,
			}))
			d.start()
			d.until("the pool is in backoff", func() bool { return d.poolState("text").State == protocol.PoolBackoff })
			d.stop()
		},
		"a job that ignores SIGTERM": func(t *testing.T, d *testDaemon, pool func(string, ...string) object) {
			d.configure(object{"shutdown_timeout": "1s"}, pool("actor").with(object{"shutdown_timeout": "1h"}))
			d.start()
			c := d.dial()
			hangs := d.begin(c, client.Execute{Plugin: "text", Params: acts{Deaf: true, Begun: d.path("begun"), Hang: true}})
			d.until("the job runs", func() bool { return exists(d.path("begun")) })
			waits := d.begin(d.dial(), client.Execute{Plugin: "text"})
			d.until("another one waits", func() bool { return d.status().Jobs.Queued == 1 })
			d.stop()
			shutdown(t, d, hangs)
			shutdown(t, d, waits)
		},
		"a stream that nobody reads": func(t *testing.T, d *testDaemon, pool func(string, ...string) object) {
			d.configure(object{"shutdown_timeout": "1s"}, pool("actor"))
			d.start()
			d.request(fmt.Sprintf(`"stream":true,"params":{"chunks":1000,"pad":100000,"begun":%q}`, d.path("done")))
			d.until("the job runs", func() bool { return d.status().Jobs.Running == 1 })
			d.stop()
			if exists(d.path("done")) {
				t.Error("the worker was not held back")
			}
		},
		"a roll": func(t *testing.T, d *testDaemon, pool func(string, ...string) object) {
			gated := pool("gated", "2", d.path("never")).with(object{"max_workers": 2})
			d.configure(object{"shutdown_timeout": "1s"}, generation(gated, 1))
			d.start()
			d.settle()
			d.configure(object{"shutdown_timeout": "1s"}, generation(gated, 2))
			c := d.dial()
			reload := make(chan error, 1)
			var result protocol.DaemonReloadResult
			go func() { reload <- c.Call(t.Context(), protocol.MethodDaemonReload, nil, &result) }() // answered below
			d.until("the new worker starts", func() bool { return len(d.processes()) == 4 })
			d.signal(unix.SIGHUP) // and another one waits
			d.stop()
			select {
			case err := <-reload:
				if c := changeOf(result, "text"); err != nil || c.Change != protocol.PoolKept || c.Reason != "the daemon stops" {
					t.Errorf("the reload ended with %v, %+v", err, result)
				}
			case <-time.After(patience):
				t.Error("the reload has no answer")
			}
		},
		"a reload of a plugin": func(t *testing.T, d *testDaemon, pool func(string, ...string) object) {
			d.configure(object{"shutdown_timeout": "1s"}, pool("deaf-to-reload"))
			d.start()
			d.settle()
			c := d.dial()
			reload := make(chan error, 1)
			var result protocol.PluginWorkersResult
			go func() { // answered below
				reload <- c.Call(t.Context(), protocol.MethodPluginReload, protocol.PluginReloadParams{PluginName: "text"}, &result)
			}()
			d.until("the worker is reserved", func() bool {
				return errors.Is(noWorker(d), errNoWorker)
			})
			d.stop()
			select {
			case err := <-reload:
				if err != nil || len(result.Workers) != 1 || result.Workers[0].Status != protocol.StatusError {
					t.Errorf("the reload ended with %v, %+v", err, result)
				}
			case <-time.After(patience):
				t.Error("the reload has no answer")
			}
		},
		"a recycle": func(t *testing.T, d *testDaemon, pool func(string, ...string) object) {
			d.configure(object{"shutdown_timeout": "1s"}, pool("slow-stop", "1h").with(object{
				"max_jobs_per_worker": 1, "max_workers": 2, "shutdown_timeout": "1h",
			}))
			d.start()
			d.act("text", acts{})
			d.until("the successor is there and the old worker stops", func() bool {
				w := d.worker("text/0")
				return w.Incarnation == 2 && w.State == protocol.WorkerReady
			})
			d.stop()
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			during(t, d, func(role string, args ...string) object { return d.pool("text", role, args...) })
		})
	}
}

var errNoWorker = errors.New("no worker is free")

// noWorker reports whether a call would have to wait.
func noWorker(d *testDaemon) error {
	none := time.Duration(0)
	_, err := d.dial().Execute(d.t.Context(), client.Execute{Plugin: "text", MaxWait: &none})
	if failure, ok := errors.AsType[*protocol.Error](err); ok && failure.Code == protocol.CodeDeadlineExceeded {
		return errNoWorker
	}
	return err
}

// TestStopDrains: while running jobs end, new ones are refused and health is told; a second signal cuts.
func TestStopDrains(t *testing.T) {
	d := newDaemon(t)
	d.configure(object{"shutdown_timeout": "1h"}, d.pool("text", "actor").with(object{"max_workers": 2}))
	d.start()
	ends := d.begin(d.dial(), client.Execute{Plugin: "text", Params: acts{Begun: d.path("a"), WaitFor: d.path("go")}})
	stuck := d.begin(d.dial(), client.Execute{Plugin: "text", Params: acts{Begun: d.path("b"), Deaf: true, Hang: true}})
	d.until("both run", func() bool { return exists(d.path("a")) && exists(d.path("b")) })
	c := d.dial()
	d.signal(unix.SIGTERM)
	d.until("the daemon stops", func() bool { return d.status().State == protocol.DaemonStopping })
	if err := c.Call(t.Context(), protocol.MethodDaemonPing, nil, nil); err != nil {
		t.Error(err)
	}
	_, err := c.Execute(t.Context(), client.Execute{Plugin: "text"})
	if failure := d.failed(err, protocol.CodeServerCancelled); failure.Data.By != protocol.ByShutdown || *failure.Data.How != protocol.HowQueued {
		t.Errorf("error %+v", failure.Data)
	}
	d.touch("go")
	if err := <-ends; err != nil {
		t.Error(err)
	}
	time.Sleep(200 * time.Millisecond) // closer together they may be one signal, sent to the daemon and its keeper
	began := time.Now()
	d.signal(unix.SIGTERM)
	if failure := d.fails(stuck, protocol.CodeServerCancelled); failure.Data.By != protocol.ByShutdown {
		t.Errorf("error %+v", failure.Data)
	}
	if code := d.ended(); code != 0 {
		t.Errorf("exit %d", code)
	}
	t.Logf("cut within %v", time.Since(began).Round(time.Millisecond))
}

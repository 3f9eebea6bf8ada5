package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"supervisord/internal/workers/workertest"
	"supervisord/protocol"
)

// TestMissingProgram: a pool whose program is missing says so wherever one looks, refuses calls at once, and heals by
// itself when the program is there.
func TestMissingProgram(t *testing.T) {
	d := newDaemon(t)
	argv, env := workertest.Command("actor")
	pool := d.command("text", "nosuch").with(object{
		"env": append(env, d.mark, "PATH="+d.dir+":/usr/bin:/bin"), "plugins": []object{{"name": "text"}}, "max_restart_attempts": 1,
	})
	d.configure(nil, pool, d.pool("more", "actor"))
	d.start()
	d.until("the pool has failed", func() bool { return d.poolState("text").State == protocol.PoolFailed })
	const reason = "exec nosuch: no such file or directory in PATH "
	if p := d.poolState("text"); !strings.Contains(p.Reason, reason+d.dir) {
		t.Errorf("reason %q", p.Reason)
	}
	for _, args := range [][]string{{"pools"}, {"status"}} {
		if stdout, stderr, code := d.cli(args...); code != 0 || !strings.Contains(stdout, reason) {
			t.Errorf("%s: exit %d\n%s\n%s", args, code, stdout, stderr)
		}
	}
	d.until("the daemon is degraded", func() bool { return d.status().State == protocol.DaemonDegraded })
	began := time.Now()
	err := d.failed(d.try(protocol.MethodExecute, protocol.ExecuteParams{PluginName: "text"}, nil), protocol.CodePoolUnavailable)
	if err.Data.State != protocol.PoolFailed || !strings.Contains(err.Data.Reason, reason) || !err.Data.Retryable {
		t.Errorf("error %+v", err.Data)
	}
	t.Logf("refused after %v", time.Since(began).Round(time.Microsecond))
	d.act("more", acts{})

	if err := os.WriteFile(d.path("new"), []byte("#!/bin/sh\nexec '"+argv[0]+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	if err := os.Rename(d.path("new"), d.path("nosuch")); err != nil { // nobody may execute it while it is written
		t.Fatal(err)
	}
	d.settle()
	t.Logf("healed within %v; a probe comes every 100ms at most", time.Since(began).Round(time.Millisecond))
	d.act("text", acts{})
	if p := d.poolState("text"); p.Reason != "" {
		t.Errorf("reason %q", p.Reason)
	}
}

package rpc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"supervisord/internal/outq"
	"supervisord/internal/rpc"
	"supervisord/protocol"
)

// TestControlMethods: their results, member for member.
func TestControlMethods(t *testing.T) {
	d := start(t)
	d.offer(protocol.Plugin{Name: "a<b>", Pools: []string{"p"}, Schema: []byte(`{"type":"object"}`), Residency: map[string]protocol.Residency{"p": "resident"}})
	c := d.dial(t)
	for _, m := range []struct{ method, result string }{
		{"daemon.ping", `{}`},
		{"daemon.info", `{"name":"supervisord","version":"1.2.3","protocol":{"version":1,"supported":[1]},"limits":{"max_connections":100,` +
			`"max_connections_per_uid":50,"max_in_flight":256,"max_in_flight_per_uid":4096,"max_queued_bytes":268435456,"max_message":1048576,` +
			`"max_batch":1000,"output_buffer":1048576,"slow_client_timeout_ms":30000},"methods":["execute","job.cancel","plugin.list","plugin.reload",` +
			`"plugin.unload","pool.list","pool.get","pool.scale","pool.restart","pool.pause","pool.resume","worker.list","worker.get_state",` +
			`"worker.stop","daemon.info","daemon.status","daemon.reload","daemon.ping"]}`},
		{"daemon.status", `{"state":"ready","version":"1.2.3","pid":0,"started_at":"0001-01-01T00:00:00Z","uptime_ms":0,"config":"","socket":"",` +
			`"connections":1,"jobs":{"queued":0,"running":0,"completed":0,"failed":0,"cancelled":0},"pools":[],"tree_kill":"cgroup"}`},
		{"plugin.list", `{"plugins":[{"name":"a<b>","pools":["p"],"streaming":false,"schema":{"type":"object"},"description":"","residency":{"p":"resident"}}]}`},
		{"pool.list", `{"pools":[]}`},
		{"worker.list", `{"workers":[]}`},
	} {
		for _, params := range []string{"", "{}", "null", `{"unknown":[1]}`} {
			c.send(call(`"x"`, m.method, params))
			c.want(`{"jsonrpc":"2.0","id":"x","result":` + m.result + `}`)
		}
	}
}

// TestMethodNotFound: the name is told, but no more than 100 bytes of it.
func TestMethodNotFound(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	for name, told := range map[string]string{
		"":                          "",
		"EXECUTE":                   "EXECUTE",
		"job.why":                   "job.why",
		"rpc.discover":              "rpc.discover",
		"stream.chunk":              "stream.chunk",
		strings.Repeat("m", 100):    strings.Repeat("m", 100),
		strings.Repeat("m", 100000): strings.Repeat("m", 100),
		strings.Repeat("é", 1000):   strings.Repeat("é", 50),
		strings.Repeat("漢", 1000):   strings.Repeat("漢", 33),
	} {
		c.send(call("1", name, ""))
		c.wantLike(fmt.Sprintf(`{"id":1,"error":{"code":-32601,"data":{"kind":"method_not_found","retryable":false%s}}}`,
			map[bool]string{true: `,"method":"` + told + `"`}[told != ""]))
	}
}

// TestJobCancel: answered when the job has ended, with how it did.
func TestJobCancel(t *testing.T) {
	d := start(t)
	a, b := d.dial(t), d.dial(t)
	a.send(run("1", "hold", `"job_id":"mine"`))
	j := d.hold(t)
	b.send(call("7", "job.cancel", `{"job_id":"mine","force":true}`))
	d.want(t, j, "cancel owner force")
	b.want(`{"jsonrpc":"2.0","id":7,"result":{"job_id":"mine","status":"cancelled","how":"queued"}}`)
	a.want(`{"jsonrpc":"2.0","id":1,"error":{"code":-32800,"message":"job cancelled by owner",` +
		`"data":{"kind":"cancelled","retryable":false,"job_id":"mine","how":"queued","by":"owner"}}}`)

	a.send(run("1", "echo", `"job_id":"done"`))
	a.line()
	b.send(call("8", "job.cancel", `{"job_id":"done"}`))
	b.want(`{"jsonrpc":"2.0","id":8,"result":{"job_id":"done","status":"completed","how":null}}`)

	for params, want := range map[string]string{
		``:                                `{"id":9,"error":{"code":-32602,"data":{"fields":[{"path":"job_id","reason":"is missing"}]}}}`,
		`{"job_id":null}`:                 `{"id":9,"error":{"code":-32602,"data":{"fields":[{"path":"job_id","reason":"is missing"}]}}}`,
		`{"job_id":1}`:                    `{"id":9,"error":{"code":-32602,"data":{"fields":[{"path":"job_id","reason":"is not a string"}]}}}`,
		`{"job_id":"a","job_id":"a"}`:     `{"id":9,"error":{"code":-32602,"data":{"fields":[{"path":"job_id","reason":"stands twice"}]}}}`,
		`{"job_id":"done","force":"yes"}`: `{"id":9,"error":{"code":-32602,"data":{"fields":[{"path":"force","reason":"is not a boolean"}]}}}`,
		`{"job_id":""}`:                   `{"id":9,"error":{"code":-32602,"data":{"fields":[{"path":"job_id"}]}}}`,
		`{"job_id":"` + strings.Repeat("j", 1000) + `"}`:      `{"id":9,"error":{"code":-32602,"data":{"fields":[{"path":"job_id"}]}}}`,
		`{"job_id":"none","x":{"job_id":"done"},"y":1,"y":2}`: `{"id":9,"error":{"code":1006,"data":{"kind":"unknown_job","retryable":false,"job_id":"none"}}}`,
	} {
		b.send(call("9", "job.cancel", params))
		b.wantLike(want)
	}
}

// holdCancel makes Cancel of jobs do nothing but tell that it was called.
func (b *backend) holdCancel() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slow = func(*job, string, bool) {}
}

// TestJobCancelWaits: nothing on its connection waits with it, and it can be cancelled itself: the job goes on ending.
func TestJobCancelWaits(t *testing.T) {
	d := start(t)
	d.holdCancel()
	c := d.dial(t)
	c.send(run("1", "hold", `"job_id":"mine"`), run("2", "hold", `"job_id":"other"`))
	j, other := d.hold(t), d.hold(t)
	c.send(call("3", "job.cancel", `{"job_id":"mine"}`))
	d.want(t, j, "cancel owner")
	c.ping()
	detached := `{"jsonrpc":"2.0","id":3,"error":{"code":-32800,"message":"no longer waiting for the end of the job, which is still cancelled",` +
		`"data":{"kind":"cancelled","retryable":false,"job_id":"mine","how":"detached","by":"caller"}}}`
	c.send(cancel("3"))
	c.want(detached)
	c.send(call("3", "job.cancel", `{"job_id":"mine"}`) + cancel("3")) // in the same write
	d.want(t, j, "cancel owner")
	c.want(detached)
	c.send("[" + call("3", "job.cancel", `{"job_id":"mine"}`) + "," + cancel("3") + "]") // and in a batch
	d.want(t, j, "cancel owner")
	c.want("[" + detached + "]")
	c.send("[" + call("3", "job.cancel", `{"job_id":"mine"}`) + "," + call("4", "daemon.ping", "") + "]")
	d.want(t, j, "cancel owner")
	j.end("", protocol.NewError(protocol.CodeWorkerDied, "died"))
	c.wantLike(`{"id":1,"error":{"code":1001}}`, `[{"id":3,"result":{"status":"failed","how":null}},{"id":4,"result":{}}]`)
	// One that waits when its connection goes ends with it.
	c.send(call("3", "job.cancel", `{"job_id":"other"}`))
	d.want(t, other, "cancel owner")
	c.close()
	d.want(t, other, "leave")
	d.want(t, other, "cancel disconnect")
	other.end("1", nil)
}

// TestJobCancelAnswersAHalfClosedClient: it is answered from its own goroutine, when the job ends.
func TestJobCancelAnswersAHalfClosedClient(t *testing.T) {
	d := start(t, func(o *rpc.Options) { o.MaxConnections, o.MaxConnectionsPerUID = 0, 0 })
	d.holdCancel()
	a := d.dial(t)
	a.send(run("1", "hold", `"job_id":"mine"`))
	j := d.hold(t)
	for range 50 {
		c := d.dial(t)
		c.send(call("3", "job.cancel", `{"job_id":"mine"}`))
		c.closeWrite()
		d.want(t, j, "cancel owner")
		c.close()
	}
	c := d.dial(t)
	c.send(call("3", "job.cancel", `{"job_id":"mine"}`))
	c.closeWrite()
	d.want(t, j, "cancel owner")
	var set outq.Set
	j.finish([]byte("1"), nil, &set)
	set.Flush()
	c.want(`{"jsonrpc":"2.0","id":3,"result":{"job_id":"mine","status":"completed","how":null}}`)
	c.wantClosed()
	a.wantLike(`{"id":1,"result":{}}`)
}

// TestPanic: of a method it is that request's internal_error, which names the log's entry and tells nothing else.
func TestPanic(t *testing.T) {
	d := start(t)
	d.mu.Lock()
	d.panics = "secret"
	d.mu.Unlock()
	c := d.dial(t)
	c.send(call("1", "plugin.list", ""), "["+call("2", "plugin.list", "")+","+call("3", "daemon.ping", "")+"]", call("", "plugin.list", ""))
	first := c.line()
	if !strings.HasPrefix(first, `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"internal error","data":{"kind":"internal_error","retryable":false,"incident":"`) ||
		strings.Contains(first, "secret") {
		t.Errorf("got %s", first)
	}
	c.wantLike(`[{"id":2,"error":{"code":-32603}},{"id":3,"result":{}}]`)
	c.ping()
	entries := d.logs.FilterMessage("method panicked").All()
	if len(entries) != 3 {
		t.Fatalf("%d entries in the log", len(entries))
	}
	fields := entries[0].ContextMap()
	if fields["panic"] != "secret" || !strings.Contains(first, fields["incident"].(string)) || !strings.Contains(fields["stack"].(string), "Plugins") {
		t.Errorf("the log has %v", fields)
	}
	// What cannot be encoded is a panic, too.
	d.mu.Lock()
	d.panics = ""
	d.mu.Unlock()
	d.offer(protocol.Plugin{Schema: []byte("{")})
	c.send(call("4", "plugin.list", ""))
	c.wantLike(`{"id":4,"error":{"code":-32603}}`)
	c.ping()
}

// TestInvalidConfiguration: all but the methods about the daemon answer 1013.
func TestInvalidConfiguration(t *testing.T) {
	invalid := protocol.NewError(protocol.CodeConfigInvalid, "the configuration is invalid")
	invalid.Data.Problems = []protocol.Problem{{Path: "pools[0]", Line: 3, Message: "no command"}}
	d := start(t, func(o *rpc.Options) { o.Invalid = invalid })
	c := d.dial(t)
	for _, method := range protocol.Methods() {
		c.send(call("1", method, ""))
		line := c.line()
		switch {
		case strings.HasPrefix(method, "daemon."):
			if !strings.Contains(line, `"result":`) {
				t.Errorf("%s: %s", method, line)
			}
		case strings.Contains(line, `"code":-32601`): // is not served at all
		case line != `{"jsonrpc":"2.0","id":1,"error":{"code":1013,"message":"the configuration is invalid",`+
			`"data":{"kind":"config_invalid","retryable":false,"problems":[{"path":"pools[0]","line":3,"message":"no command"}]}}}`:
			t.Errorf("%s: %s", method, line)
		}
	}
}

// TestOptions: a server that lacks something is refused.
func TestOptions(t *testing.T) {
	access, err := rpc.NewAccess(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	whole := rpc.Options{MaxMessage: 1, OutputBuffer: 1, Access: access, Backend: newBackend(), Log: zap.NewNop(), SlowClientTimeout: time.Second}
	for name, lack := range map[string]func(*rpc.Options){
		"MaxMessage":   func(o *rpc.Options) { o.MaxMessage = 0 },
		"OutputBuffer": func(o *rpc.Options) { o.OutputBuffer = 0 },
		"Access":       func(o *rpc.Options) { o.Access = nil },
		"Backend":      func(o *rpc.Options) { o.Backend = nil },
		"Log":          func(o *rpc.Options) { o.Log = nil },
	} {
		o := whole
		lack(&o)
		if s, err := rpc.New(o); err == nil || s != nil {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

package rpc_test

import (
	"fmt"
	"strings"
	"testing"

	"supervisord/internal/rpc"
	"supervisord/protocol"
)

const (
	poolText   = `{"name":"text","state":"ready","workers":{"ready":0,"busy":0,"starting":0,"failed":0},"queued":0,"reason":"","since":"0001-01-01T00:00:00Z"}`
	workerText = `"worker":"text/0","pool":"text","state":"","incarnation":0,"pid":0,"job_ids":[],"current_plugin":"","loaded_plugins":[%s],` +
		`"rss_bytes":0,"restarts":0,"last_exit":null`
)

// adminCalls are calls of the methods that name a pool, a plugin or a worker, or change something; what they ask of the
// backend, and how they are answered, member for member.
var adminCalls = []struct{ method, params, asks, answer string }{
	{"daemon.reload", ``, "reload", `"result":{"settings":[],"needs_restart":[],"pools":[]}`},
	{"plugin.reload", `{"plugin_name":"spell"}`, `reload spell of "" with `, `"result":{"workers":[]}`},
	{
		"plugin.reload", `{"plugin_name":"spell","config":{"A": 1.50,"a":{}},"pool":"text"}`, `reload spell of "text" with {"A": 1.50,"a":{}}`,
		`"result":{"workers":[{"worker":"text/0","status":"error","error":"no <memory>"}]}`,
	},
	{"plugin.reload", `{"plugin_name":"spell","config":null,"pool":null}`, `reload spell of "" with `, `"result":{"workers":[]}`},
	{"plugin.reload", `{"plugin_name":"spel"}`, `reload spel of "" with `, `"error":{"code":1004,"message":"unknown","data":{"kind":"unknown_plugin","retryable":false,"known":["spell"]}}`},
	{"plugin.unload", `{"plugin_name":"spell"}`, `unload spell of ""`, `"result":{"workers":[]}`},
	{"plugin.unload", `{"plugin_name":"spell","pool":"tex"}`, `unload spell of "tex"`, `"error":{"code":1005,"message":"unknown","data":{"kind":"unknown_pool","retryable":false,"known":["text"]}}`},
	{"pool.get", `{"pool":"text"}`, "", `"result":` + poolText},
	{"pool.get", `{"pool":"tex"}`, "", `"error":{"code":1005,"message":"unknown","data":{"kind":"unknown_pool","retryable":false,"known":["text"]}}`},
	{"pool.scale", `{"pool":"text","min_workers":0}`, "scale text to 0..-", `"result":` + poolText},
	{"pool.scale", `{"pool":"text","max_workers":4096,"min_workers":null}`, "scale text to -..4096", `"result":` + poolText},
	{"pool.scale", `{"pool":"text","min_workers":2,"max_workers":2}`, "scale text to 2..2", `"result":` + poolText},
	{"pool.restart", `{"pool":"text"}`, "restart text", `"result":` + poolText},
	{"pool.pause", `{"pool":"text"}`, "pause text", `"result":` + poolText},
	{"pool.resume", `{"pool":"text"}`, "resume text", `"result":` + poolText},
	{
		"worker.get_state", `{"worker":"text/0"}`, "state of text/0",
		`"result":{` + fmt.Sprintf(workerText, `"spell"`) + `,"as_of":"2026-01-02T03:04:05Z","current_config":{"key":"secret"}}`,
	},
	{"worker.get_state", `{"worker":"text/9"}`, "state of text/9", `"error":{"code":1007,"message":"unknown","data":{"kind":"unknown_worker","retryable":false,"known":["text/0"]}}`},
	{"worker.stop", `{"worker":"text/0"}`, "stop text/0, force false", `"result":{` + fmt.Sprintf(workerText, "") + `}`},
	{"worker.stop", `{"worker":"text/0","force":true,"unknown":1}`, "stop text/0, force true", `"result":{` + fmt.Sprintf(workerText, "") + `}`},
}

func TestAdminMethods(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	for _, m := range adminCalls {
		c.send(call(`"x"`, m.method, m.params))
		c.want(`{"jsonrpc":"2.0","id":"x",` + m.answer + `}`)
		if m.asks != "" {
			if asked := receive(t, d.admin.asked, m.asks); asked != m.asks {
				t.Errorf("%s %s asks %q, want %q", m.method, m.params, asked, m.asks)
			}
		}
	}
}

// TestDaemonReload: what has changed is told as it is, and what is wrong with the file as well.
func TestDaemonReload(t *testing.T) {
	d := start(t, adminIs(func(a *admin) {
		a.reload = protocol.DaemonReloadResult{
			Settings: []string{"log.level"}, NeedsRestart: []string{"socket.path"},
			Pools: []protocol.PoolChange{{Pool: "text", Change: protocol.PoolKept, Reason: "exit status 1"}, {Pool: "image", Change: protocol.PoolAdded}},
		}
	}))
	c := d.dial(t)
	c.send(call("1", "daemon.reload", ""))
	c.want(`{"jsonrpc":"2.0","id":1,"result":{"settings":["log.level"],"needs_restart":["socket.path"],"pools":[` +
		`{"pool":"text","change":"kept","reason":"exit status 1"},{"pool":"image","change":"added","reason":""}]}}`)

	d = start(t, adminIs(func(a *admin) {
		a.failure = protocol.NewError(protocol.CodeConfigInvalid, "nothing has changed")
		a.failure.Data.Problems = []protocol.Problem{{Path: "pools[0].command", Line: 3, Message: "missing"}}
		a.failure.Data.File = "/etc/c.yaml"
	}))
	c = d.dial(t)
	c.send(call("1", "daemon.reload", ""))
	c.want(`{"jsonrpc":"2.0","id":1,"error":{"code":1013,"message":"nothing has changed","data":{"kind":"config_invalid","retryable":false,` +
		`"problems":[{"path":"pools[0].command","line":3,"message":"missing"}],"file":"/etc/c.yaml"}}}`)
}

// TestAdminParams: what is wrong with params is told and reaches no backend.
func TestAdminParams(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	type fault struct{ method, params, path, reason string }
	var faults []fault
	for _, name := range []struct{ method, member, others string }{
		{"plugin.reload", "plugin_name", ``},
		{"plugin.unload", "plugin_name", ``},
		{"pool.get", "pool", ``},
		{"pool.scale", "pool", `,"min_workers":1`},
		{"pool.restart", "pool", ``},
		{"pool.pause", "pool", ``},
		{"pool.resume", "pool", ``},
		{"worker.get_state", "worker", ``},
		{"worker.stop", "worker", ``},
	} {
		faults = append(faults,
			fault{name.method, ``, name.member, "is missing"},
			fault{name.method, `{"x":1}`, name.member, "is missing"},
			fault{name.method, fmt.Sprintf(`{"%s":null%s}`, name.member, name.others), name.member, "is missing"},
			fault{name.method, fmt.Sprintf(`{"%s":["a"]%s}`, name.member, name.others), name.member, "is not a string"},
			fault{name.method, fmt.Sprintf(`{"%s":""%s}`, name.member, name.others), name.member, "is not a name"},
			fault{name.method, fmt.Sprintf(`{"%s":"text","%[1]s":"text"%s}`, name.member, name.others), name.member, "stands twice"},
			fault{name.method, `["text"]`, "", "params are by name: an object, not an array"},
		)
	}
	for _, config := range []string{`"text"`, `[]`, `1`, `true`} {
		faults = append(faults, fault{"plugin.reload", `{"plugin_name":"spell","config":` + config + `}`, "config", "is not an object"})
	}
	for _, method := range []string{"plugin.reload", "plugin.unload"} {
		faults = append(faults,
			fault{method, `{"plugin_name":"spell","pool":1}`, "pool", "is not a string"},
			fault{method, `{"plugin_name":"spell","pool":""}`, "pool", "is not a name"})
	}
	for _, n := range []string{`-1`, `4097`, `1.5`, `1e2`, `"1"`, `true`, `[]`, `99999999999999999999`} {
		faults = append(faults,
			fault{"pool.scale", `{"pool":"text","min_workers":` + n + `}`, "min_workers", "is not an integer from 0 to 4096"},
			fault{"pool.scale", `{"pool":"text","max_workers":` + n + `}`, "max_workers", "is not an integer from 1 to 4096"})
	}
	faults = append(faults,
		fault{"pool.scale", `{"pool":"text"}`, "", "neither min_workers nor max_workers is given"},
		fault{"pool.scale", `{"pool":"text","min_workers":null,"max_workers":null}`, "", "neither min_workers nor max_workers is given"},
		fault{"pool.scale", `{"pool":"text","max_workers":0}`, "max_workers", "is not an integer from 1 to 4096"},
		fault{"pool.scale", `{"pool":"text","min_workers":3,"max_workers":2}`, "min_workers", "is more than max_workers"},
		fault{"worker.stop", `{"worker":"text/0","force":1}`, "force", "is not a boolean"},
	)
	for _, f := range faults {
		c.send(call("1", f.method, f.params))
		message := strings.TrimPrefix(f.path+" "+f.reason, " ")
		c.want(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"invalid params: %s",`+
			`"data":{"kind":"invalid_params","retryable":false,"fields":[{"path":%q,"reason":%q}]}}}`, message, f.path, f.reason))
	}
	select {
	case asked := <-d.admin.asked:
		t.Errorf("the backend was asked to %s", asked)
	default:
	}
}

// TestAdminMethodsWait: those that may take long hold nothing of their connection up, can be cancelled, and end with it.
// What they have begun is the backend's.
func TestAdminMethodsWait(t *testing.T) {
	for _, m := range []struct{ method, params, waitsFor string }{
		{"daemon.reload", ``, "the reload, which goes on"},
		{"plugin.reload", `{"plugin_name":"spell"}`, "the workers, of which all will be reached"},
		{"plugin.unload", `{"plugin_name":"spell"}`, "the workers, of which all will be reached"},
		{"pool.restart", `{"pool":"text"}`, "the workers, of which all will be reached"},
		{"worker.get_state", `{"worker":"text/0"}`, "the worker's answer"},
		{"worker.stop", `{"worker":"text/0"}`, "the worker's end, which is to come"},
	} {
		t.Run(m.method, func(t *testing.T) {
			d := start(t, adminIs(func(a *admin) { a.release = make(chan struct{}) }))
			c := d.dial(t)
			c.send(call("1", m.method, m.params))
			receive(t, d.admin.asked, "call")
			c.ping()
			c.send(call("2", m.method, m.params), cancel("2"))
			c.want(`{"jsonrpc":"2.0","id":2,"error":{"code":-32800,"message":"no longer waiting for ` + m.waitsFor + `",` +
				`"data":{"kind":"cancelled","retryable":false,"how":"detached","by":"caller"}}}`)
			receive(t, d.admin.asked, "call")
			d.admin.release <- struct{}{}
			c.wantLike(`{"id":1,"result":{}}`)
			c.send(call("3", m.method, m.params))
			receive(t, d.admin.asked, "call")
			c.close() // the daemon's end waits for the goroutine
		})
	}
}

// TestAdminAccess: without rules only root and the daemon's own user may change anything, and everybody may look; nobody
// else sees the config of a plugin, in which there may be a password.
func TestAdminAccess(t *testing.T) {
	d := start(t)
	other := d.dialAs(t, someone, someone)
	for _, m := range adminCalls {
		open := m.method == "pool.get" || m.method == "worker.get_state"
		other.send(call("1", m.method, m.params))
		line := other.line()
		if denied := strings.Contains(line, `"code":1009`); denied == open {
			t.Errorf("%s: %s", m.method, line)
		}
		if strings.Contains(line, "secret") {
			t.Errorf("%s: tells the config: %s", m.method, line)
		}
	}
	for _, rules := range []struct {
		methods []string
		told    string
	}{{[]string{"worker.get_state"}, "null"}, {[]string{"*"}, `{"key":"secret"}`}} {
		d := start(t, func(o *rpc.Options) { o.Access = access(t, rpc.Rule{Users: []string{"*"}, Methods: rules.methods}) })
		other := d.dialAs(t, someone, someone)
		other.send(call("1", "worker.get_state", `{"worker":"text/0"}`))
		if line := other.line(); !strings.HasSuffix(line, `"current_config":`+rules.told+`}}`) {
			t.Errorf("%v: %s", rules.methods, line)
		}
	}
}

package rpc_test

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"supervisord/internal/rpc"
	"supervisord/protocol"
)

// reconfigure lets options hold that differ from those of start by change.
func (d *daemon) reconfigure(t testing.TB, change ...func(*rpc.Options)) {
	t.Helper()
	if err := d.server.Reconfigure(options(t, d.backend, zap.NewNop(), change...)); err != nil {
		t.Fatal(err)
	}
}

// TestReconfigureLimits: what is counted holds for the next request of connections that are open already.
func TestReconfigureLimits(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	batch := "[" + call("1", "daemon.ping", "") + "," + call("2", "daemon.ping", "") + "]"
	c.send(batch)
	c.wantLike(`[{"id":1},{"id":2}]`)
	d.reconfigure(t, func(o *rpc.Options) { o.MaxBatch = 1 })
	c.send(batch)
	c.wantLike(`{"id":null,"error":{"code":-32600,"data":{"limit":1}}}`)

	c.send(run("1", "hold", "")) // goes on, whatever the limits are then
	j := d.hold(t)
	d.reconfigure(t, func(o *rpc.Options) { o.MaxInFlight = 1 })
	c.send(run("2", "echo", ""))
	c.wantLike(`{"id":2,"error":{"code":1000,"data":{"limit":"in_flight"}}}`)
	d.reconfigure(t, func(o *rpc.Options) { o.MaxInFlightPerUID = 1 })
	c.send(run("2", "echo", ""))
	c.wantLike(`{"id":2,"error":{"code":1000,"data":{"limit":"in_flight"}}}`)
	d.reconfigure(t)
	c.send(run("2", "echo", ""))
	c.wantLike(`{"id":2,"result":{}}`)
	j.end("1", nil)
	c.wantLike(`{"id":1,"result":{"data":1}}`)

	for _, one := range []func(*rpc.Options){
		func(o *rpc.Options) { o.MaxConnections = 1 }, func(o *rpc.Options) { o.MaxConnectionsPerUID = 1 },
	} {
		d.reconfigure(t, one)
		extra := d.dial(t)
		extra.want(tooManyConnections)
		extra.wantClosed()
		c.ping()
	}
	d.reconfigure(t)
	d.dial(t).ping()
}

// TestReconfigureSizes: a connection keeps those that it was opened with, and says so.
func TestReconfigureSizes(t *testing.T) {
	d := start(t)
	before := d.dial(t)
	before.ping()
	d.reconfigure(t, func(o *rpc.Options) {
		o.MaxMessage, o.OutputBuffer, o.SlowClientTimeout, o.MaxQueuedBytes = 2000, 5000, time.Minute, 7
	})
	after := d.dial(t)
	long := run("1", "echo", `"params":{"x":"`+strings.Repeat("x", 2000)+`"}`)
	before.send(long, call("2", "daemon.info", ""))
	before.wantLike(`{"id":1,"result":{}}`, `{"id":2,"result":{"version":"1.2.3","limits":{"max_queued_bytes":7,"max_message":1048576,"output_buffer":1048576,"slow_client_timeout_ms":30000}}}`)
	after.send(long, call("2", "daemon.info", ""))
	after.wantLike(`{"id":1,"error":{"code":-32600,"data":{"limit":2000}}}`,
		`{"id":2,"result":{"version":"1.2.3","limits":{"max_queued_bytes":7,"max_message":2000,"output_buffer":5000,"slow_client_timeout_ms":60000}}}`)
}

// TestReconfigureAccess: the rules hold for the next request, also of a connection that could do more before.
func TestReconfigureAccess(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	if got := c.may(); got != "ejpiP" {
		t.Errorf("may %q", got)
	}
	d.reconfigure(t, func(o *rpc.Options) {
		o.Access = access(t, rpc.Rule{Users: []string{strconv.Itoa(os.Geteuid())}, Methods: []string{"job.*"}})
	})
	if got := c.may(); got != "jiP" {
		t.Errorf("may %q", got)
	}
	d.reconfigure(t)
	if got := c.may(); got != "ejpiP" {
		t.Errorf("may %q", got)
	}
}

// TestReconfigureInvalid: a daemon that came up with an invalid configuration is mended by a reload, and one whose
// configuration becomes invalid says so.
func TestReconfigureInvalid(t *testing.T) {
	invalid := protocol.NewError(protocol.CodeConfigInvalid, "the configuration is invalid")
	broken := func(o *rpc.Options) { o.Invalid = invalid }
	d := start(t, broken)
	c := d.dial(t)
	c.send(run("1", "echo", ""), call("2", "daemon.reload", ""))
	c.wantLike(`{"id":1,"error":{"code":1013}}`, `{"id":2,"result":{}}`)
	d.reconfigure(t)
	c.send(run("1", "echo", ""))
	c.wantLike(`{"id":1,"result":{}}`)
	d.reconfigure(t, broken)
	c.send(run("1", "echo", ""))
	c.wantLike(`{"id":1,"error":{"code":1013}}`)
}

// TestReconfigureRefuses: options that cannot hold change nothing.
func TestReconfigureRefuses(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	for name, lack := range map[string]func(*rpc.Options){
		"MaxMessage":   func(o *rpc.Options) { o.MaxMessage = 0 },
		"OutputBuffer": func(o *rpc.Options) { o.OutputBuffer = 0 },
		"Access":       func(o *rpc.Options) { o.Access = nil },
	} {
		if err := d.server.Reconfigure(options(t, d.backend, zap.NewNop(), lack, func(o *rpc.Options) { o.MaxBatch = 1 })); err == nil {
			t.Errorf("without %s: no error", name)
		}
	}
	c.send(call("1", "daemon.info", ""))
	c.wantLike(`{"id":1,"result":{"limits":{"max_batch":1000}}}`)
}

// TestReconfigureUnderLoad: whatever holds at the moment, each request gets one answer, by one of the two.
func TestReconfigureUnderLoad(t *testing.T) {
	d := start(t)
	tight := func(o *rpc.Options) {
		o.MaxBatch, o.MaxInFlight, o.MaxMessage, o.OutputBuffer = 1, 1, 2000, 5000
		o.Access = access(t, rpc.Rule{Users: []string{"*"}, Methods: []string{"execute"}})
	}
	stop := make(chan struct{})
	var changing, calling sync.WaitGroup
	changing.Go(func() {
		for {
			for _, change := range [][]func(*rpc.Options){{tight}, {}} {
				select {
				case <-stop:
					return
				default:
				}
				d.reconfigure(t, change...)
			}
		}
	})
	for range 4 {
		c := d.dial(t)
		calling.Go(func() {
			for i := range 200 {
				id := strconv.Itoa(i)
				c.send(run(id, "spell", `"stream":true`), call(`"`+id+`"`, "plugin.list", ""),
					"["+run("-"+id, "echo", "")+","+call(`"-`+id+`"`, "daemon.info", "")+"]")
				for answers := 0; answers < 3; {
					line := c.line()
					if !strings.Contains(line, `"method":"stream.chunk"`) {
						answers++
						wantAnswer(t, line)
					}
				}
			}
		})
	}
	calling.Wait()
	close(stop)
	changing.Wait()
	d.reconfigure(t)
	d.dial(t).ping()
}

// wantAnswer checks that a line is a result, or an error that a limit or a rule may give, or a batch of such.
func wantAnswer(t *testing.T, line string) {
	t.Helper()
	type answer struct {
		Result json.RawMessage
		Error  *struct{ Code int }
	}
	list := make([]answer, 1)
	into := any(&list[0])
	if line[0] == '[' {
		into = &list
	}
	if err := json.Unmarshal([]byte(line), into); err != nil {
		t.Errorf("%s: %v", line, err)
		return
	}
	for _, a := range list {
		switch {
		case a.Error == nil && a.Result != nil:
		case a.Error != nil && (a.Error.Code == 1009 || a.Error.Code == 1000 || a.Error.Code == -32600):
		default:
			t.Errorf("%s", line)
		}
	}
}

package rpc_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"supervisord/internal/rpc"
)

const tooManyConnections = `{"jsonrpc":"2.0","id":null,"error":{"code":1000,"message":"too many connections",` +
	`"data":{"kind":"overloaded","retryable":true,"limit":"connections","retry_after_ms":100}}}`

// TestConnectionLimits: one connection too many is told so, and when another has gone there is room.
func TestConnectionLimits(t *testing.T) {
	for name, limit := range map[string]func(*rpc.Options){
		"all":  func(o *rpc.Options) { o.MaxConnections = 3 },
		"user": func(o *rpc.Options) { o.MaxConnectionsPerUID = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, limit)
			clients := []*client{d.dial(t), d.dial(t), d.dial(t)}
			for _, c := range clients {
				c.ping()
			}
			for range 5 {
				extra := d.dial(t)
				extra.want(tooManyConnections)
				extra.wantClosed()
			}
			extra := d.dial(t)
			_, _ = fmt.Fprint(extra.nc, call("1", "daemon.ping", "")) // may come too late
			extra.want(tooManyConnections)
			clients[1].close()
			clients[2].close()
			clients[0].alone()
			// It is counted out right after it is no longer shown.
			for {
				c := d.dial(t)
				c.send(call("1", "daemon.ping", ""))
				if line := c.line(); line == `{"jsonrpc":"2.0","id":1,"result":{}}` {
					break
				} else if line != tooManyConnections {
					t.Fatal(line)
				}
			}
			clients[0].ping()
		})
	}
}

// TestRefusalsAreLoggedTogether: however fast clients come, there is a line a second, and none of them is left out.
func TestRefusalsAreLoggedTogether(t *testing.T) {
	d := start(t, func(o *rpc.Options) { o.MaxConnections = 1 })
	d.dial(t).ping()
	began := time.Now()
	const refused = 300
	for range refused {
		d.dial(t).want(tooManyConnections)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.server.Close(ctx) // tells of the last ones
	lines := d.logs.FilterMessage("connections refused").All()
	if most := 2 + int(time.Since(began)/time.Second); len(lines) > most {
		t.Errorf("%d lines in %v", len(lines), time.Since(began))
	}
	told := 0
	for _, l := range lines {
		n, _ := l.ContextMap()["count"].(int64)
		told += int(n)
	}
	if told != refused || lines[0].ContextMap()["reason"] != "too many connections" {
		t.Errorf("%d of %d refusals are told, first %v", told, refused, lines[0].ContextMap())
	}
}

// TestClose: what is answered is sent, what is asked for is answered while there is time, nothing new is taken.
func TestClose(t *testing.T) {
	d := start(t)
	idle, busy, chatty := d.dial(t), d.dial(t), d.dial(t)
	idle.ping()
	busy.send(run("1", "hold", `"stream":true`))
	j := d.hold(t)
	chatty.send(run("1", "big", `"params":{"size":700000}`)) // more than a socket takes at once
	chatty.send(call("2", "daemon.ping", ""))
	head, err := chatty.r.Peek(1)
	if err != nil || head[0] != '{' {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		d.server.Close(context.Background()) //nolint:usetesting // does not end
	}()
	idle.wantClosed()
	late := d.dial(t)
	late.want(tooManyConnections)
	late.wantClosed()
	busy.send(run("2", "echo", "")) // is not read
	j.push("1")
	j.end("2", nil)
	busy.wantLike(`{"method":"stream.chunk"}`, `{"id":1,"result":{"data":2}}`)
	busy.wantClosed()
	if line := chatty.line(); len(line) < 700000 {
		t.Errorf("got %d bytes of the answer", len(line))
	}
	if rest := chatty.rest(); rest != "" && rest != `{"jsonrpc":"2.0","id":2,"result":{}}`+"\n" {
		t.Errorf("then %q", rest)
	}
	receive(t, closed, "end of Close")
}

// TestCloseCuts: when its time is over, Close waits for nobody: neither for jobs nor for clients that do not read.
func TestCloseCuts(t *testing.T) {
	d := start(t, func(o *rpc.Options) { o.SlowClientTimeout, o.OutputBuffer = 0, 64<<10 })
	busy, deaf, stuck := d.dial(t), d.dial(t), d.dial(t)
	busy.send(run("1", "hold", ""))
	j := d.hold(t)
	deaf.send(run("1", "big", `"params":{"size":900000}`))
	stuck.send(run("1", "big", `"params":{"size":900000}`), run("2", "big", `"params":{"size":900000}`))
	stuck.closeWrite()
	for _, c := range []*client{deaf, stuck} {
		if _, err := c.r.Peek(1); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // is ended
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		d.server.Close(ctx)
	}()
	select {
	case <-closed:
		t.Fatal("Close did not wait")
	case <-time.After(10 * time.Millisecond): // it has time to go wrong
	}
	cancel()
	receive(t, closed, "end of Close")
	d.want(t, j, "leave")
	d.want(t, j, "cancel disconnect")
}

// TestContextEndsConnections: the context of Serve is the connections' life.
func TestContextEndsConnections(t *testing.T) {
	d := start(t)
	path := socketPath(t)
	l := listen(t, path, 0o600, "")
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // is ended
	served := make(chan error, 1)
	go func() { served <- d.server.Serve(ctx, l.UnixListener) }()
	nc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, nc)
	c.ping()
	c.send(run("1", "hold", ""))
	j := d.hold(t)
	cancel()
	c.wantClosed()
	d.want(t, j, "leave")
	d.want(t, j, "cancel disconnect")
	if err := l.UnixListener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, served, "end of Serve"); err != nil {
		t.Error(err)
	}
}

// TestManyConnections: each has its own answers, whatever the others do.
func TestManyConnections(t *testing.T) {
	d := start(t)
	done := make(chan string, 40)
	for i := range 40 {
		c := d.dial(t)
		go func() {
			var got strings.Builder
			for n := range 20 {
				if _, err := fmt.Fprint(c.nc, run(fmt.Sprint(n), "echo", fmt.Sprintf(`"params":{"c":%d}`, i))); err != nil {
					break
				}
				line, _ := c.r.ReadString('\n')
				if strings.Contains(line, fmt.Sprintf(`"id":%d,`, n)) && strings.Contains(line, fmt.Sprintf(`{"c":%d}`, i)) {
					got.WriteString(".")
				}
			}
			done <- got.String()
		}()
	}
	for range 40 {
		if got := receive(t, done, "answers"); len(got) != 20 {
			t.Errorf("%d of 20 answers", len(got))
		}
	}
}

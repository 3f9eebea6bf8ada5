package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"supervisord/protocol"
	"supervisord/sdk/go/client"
)

// request sends an execute of the plugin text on a connection of its own, and reads nothing.
func (d *testDaemon) request(members string) *net.UnixConn {
	d.t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: d.socket, Net: "unix"})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		d.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, `{"jsonrpc":"2.0","id":1,"method":"execute","params":{"plugin_name":"text",%s}}`, members); err != nil {
		d.t.Fatal(err)
	}
	return conn
}

// TestClientGone: the jobs of a client that has gone end, and their workers serve others.
func TestClientGone(t *testing.T) {
	t.Run("a worker that can cancel", func(t *testing.T) {
		d := newDaemon(t)
		d.configure(nil, d.pool("text", "concurrent").with(object{"concurrency": 4}))
		d.start()
		conn := d.request(`"params":{"hold":true}`)
		d.until("the job runs", func() bool { return d.status().Jobs.Running == 1 })
		before := d.worker("text/0")
		conn.Close()
		d.until("the job is cancelled", func() bool { return d.status().Jobs.Cancelled == 1 })
		if after := d.worker("text/0"); after.PID != before.PID || len(after.JobIDs) > 0 {
			t.Errorf("worker %+v, before %+v", after, before)
		}
	})
	t.Run("a worker that cannot", func(t *testing.T) {
		d := newDaemon(t)
		d.configure(nil, d.pool("text", "actor"))
		d.start()
		conn := d.request(fmt.Sprintf(`"params":{"hang":true,"begun":%q}`, d.path("begun")))
		d.until("the job runs", func() bool { return exists(d.path("begun")) })
		conn.Close()
		if got := d.act("text", acts{}); got.Incarnation != 2 {
			t.Errorf("%+v serves", got)
		}
		if s := d.status(); s.Jobs.Cancelled != 1 {
			t.Errorf("jobs %+v", s.Jobs)
		}
	})
	t.Run("half-closed is not gone", func(t *testing.T) {
		d := newDaemon(t)
		d.configure(nil, d.pool("text", "actor"))
		d.start()
		conn := d.request(fmt.Sprintf(`"params":{"begun":%q,"waitFor":%q}`, d.path("begun"), d.path("go")))
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		d.until("the job runs", func() bool { return exists(d.path("begun")) })
		d.act("text", acts{}.after(d)) // behind it, so that it has gone on for a while
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.Contains(string(answer), `"status":"success"`) {
			t.Errorf("answer %q, %v", answer, err)
		}
	})
	t.Run("to continue", func(t *testing.T) {
		d := newDaemon(t)
		d.configure(nil, d.pool("text", "actor"))
		d.start()
		conn := d.request(fmt.Sprintf(`"on_disconnect":"continue","stream":true,"params":{"begun":%q,"chunks":3,"waitFor":%q}`, d.path("begun"), d.path("go")))
		d.until("the job runs", func() bool { return exists(d.path("begun")) })
		conn.Close()
		d.until("the connection is gone", func() bool { return d.status().Connections <= 1 })
		d.touch("go")
		d.until("the job ends", func() bool { return d.status().Jobs.Running == 0 })
		if s := d.status(); s.Jobs.Completed != 1 || d.worker("text/0").Incarnation != 1 {
			t.Errorf("jobs %+v", s.Jobs)
		}
	})
}

// after lets what waits for the file "go" go on, before these acts.
func (a acts) after(d *testDaemon) acts {
	d.touch("go")
	return a
}

// TestStalledReader: the stream of a client that takes nothing ends, with the connection, and nobody else notices.
func TestStalledReader(t *testing.T) {
	d := newDaemon(t)
	d.configure(object{"limits": object{"slow_client_timeout": "300ms"}}, d.pool("text", "actor").with(object{"max_workers": 2}), d.pool("more", "actor"))
	d.start()
	d.settle()
	conn := d.request(fmt.Sprintf(`"stream":true,"params":{"chunks":1000,"pad":100000,"begun":%q}`, d.path("done")))
	d.until("the job runs", func() bool { return d.status().Jobs.Running == 1 })
	calls := 0
	for ; d.status().Jobs.Running == 1; calls += 2 {
		d.act("text", acts{Chunks: 3})
		d.act("more", acts{})
	}
	if s := d.status(); s.Jobs.Cancelled+s.Jobs.Failed != 1 || exists(d.path("done")) || calls == 0 {
		t.Errorf("jobs %+v, after %d other calls", s.Jobs, calls)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil { // the connection has ended behind what the kernel had taken
		t.Error(err)
	}
	d.until("the worker serves again", func() bool { return d.poolState("text").Workers.Ready == 2 })
}

// TestStalledReaderOfConcurrentWorker: a worker that has other jobs cannot be held back, so the stream of a client that is
// too slow ends as soon as too much waits for it, and the client is told.
func TestStalledReaderOfConcurrentWorker(t *testing.T) {
	d := newDaemon(t)
	d.configure(object{"limits": object{"output_buffer": "256KiB"}}, d.pool("text", "flood").with(object{"concurrency": 4}))
	d.start()
	conn := d.request(`"stream":true,"params":{"flood":true}`)
	d.until("the job runs", func() bool { return d.status().Jobs.Running == 1 })
	sibling := d.dial()
	for d.status().Jobs.Running == 1 {
		if _, err := sibling.Execute(t.Context(), client.Execute{Plugin: "text"}); err != nil {
			t.Fatal(err)
		}
	}
	lines, last := bufio.NewScanner(conn), ""
	for lines.Buffer(nil, 1<<20); !strings.Contains(last, `"id":1,`) && lines.Scan(); {
		last = lines.Text()
	}
	if !strings.Contains(last, fmt.Sprintf(`"error":{"code":%d,`, protocol.CodeClientTooSlow)) {
		t.Errorf("the last it got: %.300s", last)
	}
	if w := d.worker("text/0"); w.Incarnation != 1 {
		t.Errorf("worker %+v", w)
	}
}

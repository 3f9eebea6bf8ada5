package rpc_test

import (
	"strings"
	"sync"
	"testing"

	"supervisord/internal/rpc"
	"supervisord/protocol"
)

// TestDisconnect: when the client is gone each of its jobs is left once, and cancelled unless it is to go on.
func TestDisconnect(t *testing.T) {
	for name, leave := range map[string]func(*client){
		"closed":                       func(c *client) { c.close() },
		"half-closed, then closed":     func(c *client) { c.closeWrite(); c.close() },
		"closed behind half a message": func(c *client) { c.send(`{"jsonrpc":`); c.close() },
		"closed with answers unread":   func(c *client) { c.send(strings.Repeat(call("7", "daemon.info", ""), 10)); c.close() },
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			c := d.dial(t)
			c.send(run("1", "hold", `"job_id":"one"`), run("", "hold", `"job_id":"two"`), run("3", "hold", `"job_id":"lasting","on_disconnect":"continue"`),
				"["+run("4", "hold", `"job_id":"four"`)+","+call("5", "daemon.ping", "")+"]", run("6", "hold", `"job_id":"done"`))
			jobs := map[string]*job{}
			for range 5 {
				j := d.hold(t)
				jobs[j.id] = j
			}
			jobs["done"].end("1", nil)
			c.line()
			leave(c)
			told := map[string]int{}
			for range 7 {
				e := receive(t, d.events, "end of the jobs")
				told[e.what+" "+e.job.id]++
			}
			for _, what := range []string{"leave one", "cancel disconnect one", "leave two", "cancel disconnect two", "leave four", "cancel disconnect four", "leave lasting"} {
				if told[what] != 1 {
					t.Errorf("%s: %d times, in %v", what, told[what], told)
				}
			}
			jobs["lasting"].push("1")
			jobs["lasting"].end("1", nil)
			d.dial(t).ping()
			if len(d.events) > 0 {
				t.Errorf("and %v", <-d.events)
			}
		})
	}
}

// TestHalfClose: a client that only stops sending gets all that it has asked for, then the end.
func TestHalfClose(t *testing.T) {
	for _, framing := range []string{"lines", "headers"} {
		t.Run(framing, func(t *testing.T) {
			d := start(t)
			c := d.dial(t)
			wrap, read := func(s string) string { return s }, (*client).line
			if framing == "headers" {
				wrap, read = func(s string) string { return framed(strings.TrimSpace(s)) }, (*client).readFramed
			}
			c.send(wrap(run("1", "hold", `"stream":true`)), wrap(run("2", "hold", "")), wrap(run("", "hold", "")))
			a, b, n := d.hold(t), d.hold(t), d.hold(t)
			c.closeWrite()
			a.push(`"x"`)
			for _, step := range []struct {
				do   func()
				want string
			}{
				{func() {}, `{"method":"stream.chunk","params":{"seq":0}}`},
				{func() { a.end("1", nil) }, `{"id":1,"result":{"chunks":1}}`},
				{func() { b.end("2", nil) }, `{"id":2,"result":{"data":2}}`},
			} {
				step.do()
				if got := read(c); !like(parse(t, got), parse(t, step.want)) {
					t.Fatalf("got %s, want %s", got, step.want)
				}
			}
			n.end("3", nil)
			c.wantClosed()
			if _, answers, left := d.counts(); answers != 3 || left != 0 {
				t.Errorf("%d jobs were answered, %d left", answers, left)
			}
		})
	}
}

// TestHalfCloseLosesNoAnswer: the last answer is given by another goroutine while the reader finds that all is answered.
// It used to be dropped when the reader was faster.
func TestHalfCloseLosesNoAnswer(t *testing.T) {
	d := start(t, func(o *rpc.Options) { o.MaxConnections, o.MaxConnectionsPerUID = 0, 0 })
	large := `"` + strings.Repeat("x", 900<<10) + `"` // takes a while to queue
	for i := range 60 {
		c := d.dial(t)
		c.send("[" + run("1", "hold", "") + "]")
		j := d.hold(t)
		var wg sync.WaitGroup
		wg.Go(func() { c.closeWrite() })
		wg.Go(func() { j.end(large, nil) })
		if got := c.rest(); strings.Count(got, "\n") != 1 {
			t.Fatalf("connection %d: got %.100q", i, got)
		}
		wg.Wait()
		c.close()
	}
}

// TestHalfClosedClientThatIsGone: also one that has only been asked for an answer is noticed when it goes.
func TestHalfClosedClientThatIsGone(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	c.send(run("1", "hold", ""))
	j := d.hold(t)
	c.closeWrite()
	// The daemon knows of the half-close once it has answered what came before it.
	c.close()
	d.want(t, j, "leave")
	d.want(t, j, "cancel disconnect")
}

// TestEndsRace: jobs end, are cancelled and chunked while their connections go: each is answered or left.
func TestEndsRace(t *testing.T) {
	d := start(t, func(o *rpc.Options) { o.MaxConnections, o.MaxConnectionsPerUID, o.MaxInFlightPerUID = 0, 0, 256 })
	var workers, clients sync.WaitGroup
	done := make(chan struct{})
	workers.Go(func() {
		for {
			select {
			case j := <-d.held:
				for range 3 {
					workers.Go(func() { j.push(`"x"`) })
				}
				workers.Go(func() { j.end("1", protocol.NewError(protocol.CodeWorkerDied, "died")) })
			case <-d.events:
			case <-done:
				return
			}
		}
	})
	for range 4 {
		clients.Go(func() {
			for i := range 50 {
				c := d.dial(t)
				c.send(strings.Repeat(run("null", "hold", `"stream":true`), 4)+"["+run("1", "hold", "")+","+run("2", "hold", "")+"]", cancel("2"))
				if i%2 == 0 {
					c.line()
				}
				c.close()
			}
		})
	}
	clients.Wait()
	c := d.dial(t)
	c.alone()
	close(done)
	workers.Wait()
	for len(d.held) > 0 {
		d.hold(t).end("1", nil) // nobody waits for it any more
	}
	// All that was in flight has been counted out.
	for i := range 256 {
		c.send(run("null", "hold", ""))
		if i == 255 {
			c.send(call("1", "daemon.ping", ""))
			c.wantLike(`{"id":1,"error":{"code":1000}}`)
		}
	}
	for range 256 {
		d.hold(t).end("1", nil)
	}
	for range 256 {
		c.wantLike(`{"id":null,"result":{}}`)
	}
}

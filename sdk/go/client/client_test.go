package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"supervisord/protocol"
	"supervisord/sdk/go/client"
)

func TestCallKeepsBytes(t *testing.T) {
	const params = `{"n":1.50, "html":"<&>",` + "\n" + `"text":"ä\u00e4"}`
	const result = `{"big":12345678901234567890,"html":"<&>","escaped":"\u00e4"}`
	lines := make(chan string, 1)
	c := connect(t, func(p *peer) {
		r := p.want("daemon.info")
		lines <- r.line
		p.answer(r, result)
	})
	var got json.RawMessage
	if err := c.Call(t.Context(), "daemon.info", json.RawMessage(params), &got); err != nil {
		t.Fatal(err)
	}
	if string(got) != result {
		t.Errorf("result %s, want %s", got, result)
	}
	want := `{"jsonrpc":"2.0","id":1,"method":"daemon.info","params":` + strings.ReplaceAll(params, "\n", " ") + `}`
	if line := <-lines; line != want {
		t.Errorf("request %s, want %s", line, want)
	}
}

func TestCallWithoutParams(t *testing.T) {
	lines := make(chan string, 1)
	c := connect(t, func(p *peer) {
		r := p.next()
		lines <- r.line
		p.answer(r, `{"pong":true}`)
	})
	if err := c.Call(t.Context(), "daemon.ping", nil, nil); err != nil {
		t.Fatal(err)
	}
	if line, want := <-lines, `{"jsonrpc":"2.0","id":1,"method":"daemon.ping"}`; line != want {
		t.Errorf("request %s, want %s", line, want)
	}
}

func TestCallsAnsweredInAnyOrder(t *testing.T) {
	const calls = 50
	c := connect(t, func(p *peer) {
		var all []request
		for range calls {
			all = append(all, p.next())
		}
		for _, r := range slices.Backward(all) {
			p.answer(r, string(r.Params))
		}
		p.tryNext()
	})
	var running sync.WaitGroup
	for i := range calls {
		running.Go(func() {
			var got struct{ N int }
			if err := c.Call(t.Context(), "echo", map[string]int{"n": i}, &got); err != nil || got.N != i {
				t.Errorf("call %d got %d, %v", i, got.N, err)
			}
		})
	}
	running.Wait()
}

func TestLongMessages(t *testing.T) {
	c := connect(t, func(p *peer) {
		for r, ok := p.tryNext(); ok; r, ok = p.tryNext() {
			p.answer(r, string(r.Params))
		}
	})
	for _, size := range []int{0, 64<<10 - 1, 64 << 10, 64<<10 + 1, 5 << 20, 10} {
		want := strings.Repeat("x", size)
		var got struct{ Text string }
		if err := c.Call(t.Context(), "echo", map[string]string{"text": want}, &got); err != nil {
			t.Fatal(err)
		}
		if got.Text != want {
			t.Errorf("text of %d bytes came back with %d", size, len(got.Text))
		}
	}
}

func TestErrorOfTheDaemon(t *testing.T) {
	c := connect(t, func(p *peer) {
		r := p.next()
		p.send(`{"jsonrpc":"2.0","id":%s,"error":{"code":1001,"message":"died","data":{"kind":"worker_died","retryable":true,"signal":"SIGKILL","stderr_tail":["a","b"],"later":1}}}`, r.ID)
		p.tryNext()
	})
	_, err := c.Execute(t.Context(), client.Execute{Plugin: "p"})
	failure, ok := errors.AsType[*protocol.Error](err)
	if !ok {
		t.Fatalf("got %v, want a *protocol.Error", err)
	}
	if failure.Code != protocol.CodeWorkerDied || failure.Data.Signal != "SIGKILL" || len(failure.Data.StderrTail) != 2 || !failure.Data.Retryable {
		t.Errorf("got %+v", failure)
	}
}

// What the daemon cannot read it could not answer to the call that sent it.
func TestBadParamsAreNotSent(t *testing.T) {
	c := connect(t, func(p *peer) {
		p.answer(p.want("daemon.ping"), `{}`)
		p.tryNext()
	})
	for name, params := range map[string]any{
		"not a number":  map[string]float64{"n": math.NaN()},
		"not JSON":      json.RawMessage(`{"a":1`),
		"two values":    json.RawMessage(`{} {}`),
		"not UTF-8":     json.RawMessage("{\"a\":\"\xff\"}"),
		"hidden UTF-8":  map[string]any{"a": json.RawMessage("\"\xff\"")},
		"too deep":      json.RawMessage(strings.Repeat("[", 300) + strings.Repeat("]", 300)),
		"channels":      map[string]any{"a": make(chan int)},
		"extra members": json.RawMessage(`{},"stream":true`),
	} {
		if err := c.Call(t.Context(), "execute", params, nil); err == nil {
			t.Errorf("%s: sent by Call", name)
		}
		if _, err := c.Execute(t.Context(), client.Execute{Plugin: "p", Params: params}); err == nil {
			t.Errorf("%s: sent by Execute", name)
		}
		if _, err := texts(c.Stream(t.Context(), client.Execute{Plugin: "p", Metadata: params})); err == nil {
			t.Errorf("%s: sent by Stream", name)
		}
	}
	if err := c.Call(t.Context(), "daemon.ping", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestConnectionLost(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(p *peer)
		want func(error) bool
	}{
		"closed":       {func(*peer) {}, func(err error) bool { return errors.Is(err, io.EOF) }},
		"in a message": {func(p *peer) { fmt.Fprint(p, `{"jsonrpc":`) }, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"refused": {
			func(p *peer) {
				p.send(`{"jsonrpc":"2.0","id":null,"error":{"code":1000,"message":"full","data":{"kind":"overloaded","retryable":true}}}`)
			},
			func(err error) bool {
				e, ok := errors.AsType[*protocol.Error](err)
				return ok && e.Code == protocol.CodeOverloaded
			},
		},
		"no JSON":          {func(p *peer) { p.send("HTTP/1.1 400 Bad Request") }, isError},
		"no object":        {func(p *peer) { p.send("[]") }, isError},
		"id of another":    {func(p *peer) { p.send(`{"jsonrpc":"2.0","id":"x","result":{}}`) }, isError},
		"neither":          {func(p *peer) { p.send(`{"jsonrpc":"2.0","id":1}`) }, isError},
		"both":             {func(p *peer) { p.send(`{"jsonrpc":"2.0","id":1,"result":1,"error":{}}`) }, isError},
		"chunk of nothing": {func(p *peer) { p.send(`{"jsonrpc":"2.0","method":"stream.chunk","params":{}}`) }, isError},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, func(p *peer) {
				p.next()
				p.next()
				test.end(p)
			})
			stream := c.Stream(t.Context(), client.Execute{Plugin: "p"})
			err := c.Call(t.Context(), "daemon.info", nil, nil)
			_, streamErr := texts(stream)
			later := c.Call(t.Context(), "daemon.info", nil, nil)
			for what, err := range map[string]error{"call": err, "stream": streamErr, "later call": later} {
				if !errors.Is(err, client.ErrLost) || !test.want(err) {
					t.Errorf("%s: got %v", what, err)
				}
			}
		})
	}
}

func isError(err error) bool { return err != nil }

// Messages of a later version and answers that nobody waits for are no reason to give up.
func TestUnknownMessagesAreIgnored(t *testing.T) {
	c := connect(t, func(p *peer) {
		r := p.next()
		p.send(`{"jsonrpc":"2.0","method":"event","params":{"topic":"x"}}`)
		p.send(`{"jsonrpc":"2.0","method":"later"}`)
		p.send(`{"jsonrpc":"2.0","id":"d1","method":"later","params":[]}`)
		p.send(`{"jsonrpc":"2.0","id":4711,"result":{}}`)
		p.chunk(request{ID: json.RawMessage("4711")}, 0, `""`)
		p.chunk(r, 0, `""`) // not asked for
		p.answer(r, `{}`)
		p.tryNext()
	})
	if err := c.Call(t.Context(), "daemon.ping", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestCloseEndsCalls(t *testing.T) {
	arrived := make(chan struct{})
	c := connect(t, func(p *peer) {
		p.next()
		p.next()
		close(arrived)
		p.tryNext()
	})
	errs := make(chan error, 2)
	go func() { errs <- c.Call(t.Context(), "a", nil, nil) }()
	go func() {
		_, err := texts(c.Stream(t.Context(), client.Execute{Plugin: "b"}))
		errs <- err
	}()
	<-arrived
	var closing sync.WaitGroup
	for range 3 {
		closing.Go(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	closing.Wait()
	for range 2 {
		if err := <-errs; !errors.Is(err, client.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	}
	if err := c.Call(t.Context(), "a", nil, nil); !errors.Is(err, client.ErrClosed) {
		t.Errorf("after Close: got %v, want ErrClosed", err)
	}
}

func TestDialErrors(t *testing.T) {
	if _, err := client.Dial(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Dial(ctx, "/nowhere"); err == nil {
		t.Error("connected by a context that has ended")
	}
}

func TestDefaultSocket(t *testing.T) {
	system := "/run/supervisord/supervisord.sock"
	user := "/run/user/1/supervisord.sock"
	if os.Geteuid() == 0 {
		user = system // root's daemon is the system's
	}
	for _, test := range []struct{ variable, runtime, want string }{
		{"/a/b", "/run/user/1", "/a/b"},
		{"", "/run/user/1", user},
		{"", "", system},
	} {
		t.Setenv("SUPERVISORD_SOCKET", test.variable)
		t.Setenv("XDG_RUNTIME_DIR", test.runtime)
		if got := client.DefaultSocket(); got != test.want {
			t.Errorf("%+v: got %s", test, got)
		}
	}
	socket := serve(t, func(p *peer) { p.answer(p.next(), `{}`) })
	t.Setenv("SUPERVISORD_SOCKET", socket)
	c, err := client.Dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Call(t.Context(), "daemon.ping", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestResultOfAnotherShape(t *testing.T) {
	c := connect(t, func(p *peer) {
		for r, ok := p.tryNext(); ok; r, ok = p.tryNext() {
			p.answer(r, `"text"`)
		}
	})
	if err := c.Call(t.Context(), "daemon.info", nil, new(protocol.DaemonInfo)); err == nil {
		t.Error("Call: no error")
	}
	if _, err := c.Execute(t.Context(), client.Execute{Plugin: "p"}); err == nil {
		t.Error("Execute: no error")
	}
	if _, err := c.Stream(t.Context(), client.Execute{Plugin: "p"}).Result(); err == nil {
		t.Error("Stream: no error")
	}
}

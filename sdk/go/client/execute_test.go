package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"supervisord/protocol"
	"supervisord/sdk/go/client"
)

func TestExecuteParams(t *testing.T) {
	for name, test := range map[string]struct {
		execute client.Execute
		want    string
	}{
		"least":  {client.Execute{Plugin: "p"}, `{"plugin_name":"p"}`},
		"values": {client.Execute{Plugin: "p", Params: map[string]string{"a": "<b>"}}, `{"plugin_name":"p","params":{"a":"<b>"}}`},
		"raw":    {client.Execute{Plugin: "p", Params: json.RawMessage(`{"n":1.0}`)}, `{"plugin_name":"p","params":{"n":1.0}}`},
		"all": {
			client.Execute{
				Plugin: "p", Params: struct{}{}, Pool: "q", Timeout: 1500 * time.Microsecond, MaxWait: new(time.Duration(0)), Priority: -3,
				JobID: "j", AffinityKey: "a", SupersedeKey: "s", KeepAlive: new(time.Minute), OnDisconnect: protocol.OnDisconnectContinue,
				Metadata: map[string]int{"m": 1},
			},
			`{"plugin_name":"p","pool":"q","job_id":"j","timeout_ms":2,"max_wait_ms":0,"priority":-3,"affinity_key":"a",` +
				`"supersede_key":"s","keep_alive_ms":60000,"on_disconnect":"continue","params":{},"metadata":{"m":1}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 2)
			c := connect(t, func(p *peer) {
				for r, ok := p.tryNext(); ok; r, ok = p.tryNext() {
					got <- string(r.Params)
					p.succeed(r, `{}`, 0)
				}
			})
			if _, err := c.Execute(t.Context(), test.execute); err != nil {
				t.Fatal(err)
			}
			if params := <-got; params != test.want {
				t.Errorf("Execute sent %s, want %s", params, test.want)
			}
			if _, err := c.Stream(t.Context(), test.execute).Result(); err != nil {
				t.Fatal(err)
			}
			var streamed, plain map[string]any
			_ = json.Unmarshal([]byte(<-got), &streamed)
			_ = json.Unmarshal([]byte(test.want), &plain)
			if streamed["stream"] != true || len(streamed) != len(plain)+1 {
				t.Errorf("Stream sent %v", streamed)
			}
		})
	}
}

func TestResult(t *testing.T) {
	c := connect(t, func(p *peer) {
		p.succeed(p.next(), `{"text":"hello","n":1.50}`, 0)
		p.succeed(p.next(), `[1]`, 3)
		p.tryNext()
	})
	result, err := c.Execute(t.Context(), client.Execute{Plugin: "p"})
	if err != nil {
		t.Fatal(err)
	}
	var data struct{ N json.Number }
	if err := result.Bind(&data); err != nil || data.N != "1.50" || result.JobID != "j1" {
		t.Errorf("got %+v, %+v, %v", result, data, err)
	}
	if text, ok := result.Text(); !ok || text != "hello" {
		t.Errorf("text %q, %v", text, ok)
	}
	result, err = c.Execute(t.Context(), client.Execute{Plugin: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if text, ok := result.Text(); ok || result.Chunks != 3 || result.Bind(&data) == nil {
		t.Errorf("got %+v, text %q", result, text)
	}
}

var errEnough = errors.New("enough")

func TestContextEndCancels(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	c := connect(t, func(p *peer) {
		r := p.want("execute")
		cancel(errEnough)
		p.wantCancel(r)
		p.refuse(r, -32800, "cancelled")
		p.tryNext()
	})
	_, err := c.Execute(ctx, client.Execute{Plugin: "p"})
	failure, ok := errors.AsType[*protocol.Error](err)
	if !ok || failure.Code != protocol.CodeCancelled || !errors.Is(err, errEnough) {
		t.Errorf("got %v, want the daemon's error and the cause", err)
	}
	if _, err := c.Execute(ctx, client.Execute{Plugin: "p"}); !errors.Is(err, errEnough) {
		t.Errorf("with a context that has ended: got %v", err)
	}
	if _, err := texts(c.Stream(ctx, client.Execute{Plugin: "p"})); !errors.Is(err, errEnough) {
		t.Errorf("with a context that has ended: got %v", err)
	}
}

func TestJobFasterThanItsCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := connect(t, func(p *peer) {
		r := p.want("execute")
		cancel()
		p.wantCancel(r)
		p.succeed(r, `{"text":"done"}`, 0)
		p.tryNext()
	})
	result, err := c.Execute(ctx, client.Execute{Plugin: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := result.Text(); text != "done" {
		t.Errorf("got %s", result.Data)
	}
}

// A call whose daemon ends instead of answering the cancel still ends.
func TestConnectionEndsInsteadOfTheCancel(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	c := connect(t, func(p *peer) {
		r := p.want("execute")
		cancel(errEnough)
		p.wantCancel(r)
	})
	if _, err := c.Execute(ctx, client.Execute{Plugin: "p"}); !errors.Is(err, client.ErrLost) || !errors.Is(err, errEnough) {
		t.Errorf("got %v", err)
	}
}

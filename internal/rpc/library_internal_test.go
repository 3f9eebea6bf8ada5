package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/sourcegraph/jsonrpc2"
)

// watched is an ObjectStream that notes what it is asked to do.
type watched struct {
	mu     sync.Mutex
	events []string
	in     chan string
	wrote  chan struct{}
}

func (w *watched) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, what)
}

func (w *watched) ReadObject(v any) error {
	text, ok := <-w.in
	if !ok {
		return io.EOF
	}
	return json.Unmarshal([]byte(text), v)
}

func (w *watched) WriteObject(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.note("write " + string(b))
	w.wrote <- struct{}{}
	return nil
}

func (w *watched) Close() error { return nil }

type handler func(context.Context, *jsonrpc2.Conn, *jsonrpc2.Request)

func (h handler) Handle(ctx context.Context, c *jsonrpc2.Conn, r *jsonrpc2.Request) { h(ctx, c, r) }

// TestConnCallsOnSendBeforeWrite guards what stream relies on and the library does not document: that OnSend is called
// with the response right before WriteObject, with nothing of another response between, that a skeleton becomes a request
// with our number for its id, and that reading ends the Conn.
func TestConnCallsOnSendBeforeWrite(t *testing.T) {
	w := &watched{in: make(chan string), wrote: make(chan struct{}, 100)}
	onSend := jsonrpc2.OnSend(func(_ *jsonrpc2.Request, r *jsonrpc2.Response) {
		b, err := json.Marshal(r)
		if err != nil {
			t.Error(err)
		}
		w.note("send " + string(b))
	})
	var answers sync.WaitGroup
	conn := jsonrpc2.NewConn(context.Background(), w, handler(func(ctx context.Context, c *jsonrpc2.Conn, r *jsonrpc2.Request) { //nolint:usetesting // ends with the stream
		if r.ID.IsString || r.Method != "m" || r.Notif || r.Params != nil {
			t.Errorf("request %+v", r)
		}
		raw := json.RawMessage(`"x"`)
		answers.Go(func() {
			if err := c.SendResponse(ctx, &jsonrpc2.Response{ID: r.ID, Result: &raw}); err != nil {
				t.Error(err)
			}
		})
	}), onSend)
	const largest = `{"jsonrpc":"2.0","id":9223372036854775807,"method":"m"}`
	for range 20 {
		w.in <- `{"jsonrpc":"2.0","id":1,"method":"m"}`
		w.in <- largest
	}
	for range 40 {
		<-w.wrote
	}
	answers.Wait()
	close(w.in)
	<-conn.DisconnectNotify()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.events) != 80 {
		t.Fatalf("%d events", len(w.events))
	}
	for pair := range slices.Chunk(w.events, 2) {
		if pair[0][:5] != "send " || pair[1] != "write "+pair[0][5:] {
			t.Fatalf("%q before %q", pair[0], pair[1])
		}
	}
	if err := conn.SendResponse(context.Background(), &jsonrpc2.Response{}); !errors.Is(err, jsonrpc2.ErrClosed) { //nolint:usetesting // as above
		t.Errorf("after the end: %v", err)
	}
}

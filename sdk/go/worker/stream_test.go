package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"supervisord/protocol"
	"supervisord/sdk/go/worker"
)

// chunks reads on to the result of the job and returns what came before, as text.
func (d *daemon) chunks(id string) ([]string, *protocol.Result) {
	d.t.Helper()
	var chunks []string
	for {
		m, err := d.next()
		if err != nil {
			d.t.Fatal(err)
		}
		switch m := m.(type) {
		case *protocol.StreamChunk:
			chunk := string(m.Chunk)
			if m.IsFinal {
				chunk += " final"
			}
			if string(m.Metadata) != "{}" {
				chunk += " " + string(m.Metadata)
			}
			chunks = append(chunks, chunk)
		case *protocol.Result:
			if m.JobID == id {
				return chunks, m
			}
		}
	}
}

func values(all []any, err error) worker.StreamFunction {
	return func(context.Context, *worker.Job) iter.Seq2[any, error] {
		return func(yield func(any, error) bool) {
			for _, v := range all {
				if !yield(v, nil) {
					return
				}
			}
			if err != nil {
				yield(nil, err)
			}
		}
	}
}

func TestStream(t *testing.T) {
	for name, test := range map[string]struct {
		stream   worker.StreamFunction
		chunks   string // joined by |
		streamed string // the result of one who asked for chunks, or the error
		whole    string // of one who did not
	}{
		"text":     {values([]any{"a", "ä\n"}, nil), `"a"|"ä\n"|"" final`, `{"streamed":true}`, `{"metadata":{},"text":"aä\n"}`},
		"nothing":  {values(nil, nil), `"" final`, `{"streamed":true}`, `{"metadata":{},"text":""}`},
		"mixed":    {values([]any{"a", json.RawMessage(`{"n": 1}`), 2}, nil), `"a"|{"n": 1}|2|"" final`, `{"streamed":true}`, `{"chunks":["a",{"n":1},2]}`},
		"error":    {values([]any{"a"}, errMine), `"a"`, "mine", "mine"},
		"no value": {values([]any{"a", func() {}}, nil), `"a"`, "the plugin gave a value that is not JSON: json: unsupported type: func()", "the plugin gave a value that is not JSON: json: unsupported type: func()"},
		"wrong raw": {
			values([]any{json.RawMessage(`{`)}, nil), "",
			"the plugin gave a value that cannot be sent: invalid JSON at byte 1: unexpected end",
			"the plugin gave a value that cannot be sent: invalid JSON at byte 1: unexpected end",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := worker.New()
			w.Stream("s", test.stream)
			d, _ := start(t, w)
			d.send(stream("j", "s", `{}`))
			chunks, r := d.chunks("j")
			if got := strings.Join(chunks, "|"); got != test.chunks || string(r.Data)+r.Error != test.streamed {
				t.Errorf("got %s, then %s%s, want %s, then %s", got, r.Data, r.Error, test.chunks, test.streamed)
			}
			d.send(execute("k", "s", `{}`))
			chunks, r = d.chunks("k")
			if len(chunks) > 0 || string(r.Data)+r.Error != test.whole {
				t.Errorf("not asked for a stream: got %q, then %s%s, want %s", chunks, r.Data, r.Error, test.whole)
			}
		})
	}
}

// The memory of a chunk may be used again, whether it was sent or gathered into the result.
func TestChunksAreCopied(t *testing.T) {
	w := worker.New()
	w.Stream("s", func(context.Context, *worker.Job) iter.Seq2[any, error] {
		return func(yield func(any, error) bool) {
			chunk := json.RawMessage(`"0"`)
			for i := range 3 {
				chunk[1] = byte('0' + i)
				if !yield(chunk, nil) {
					return
				}
			}
		}
	})
	d, _ := start(t, w)
	d.send(stream("j", "s", `{}`))
	if chunks, _ := d.chunks("j"); strings.Join(chunks, "|") != `"0"|"1"|"2"|"" final` {
		t.Errorf("sent: %q", chunks)
	}
	d.send(execute("k", "s", `{}`))
	if _, r := d.chunks("k"); string(r.Data) != `{"chunks":["0","1","2"]}` {
		t.Errorf("gathered: %s", r.Data)
	}
}

func TestSendChunk(t *testing.T) {
	w := worker.New()
	w.Func("s", func(_ context.Context, job *worker.Job) (any, error) {
		for _, chunk := range []worker.Chunk{
			{Value: "a", Metadata: map[string]any{"index": 1}},
			{Value: nil},
			{Value: 1.5, Final: true},
		} {
			if err := job.SendChunk(chunk); err != nil {
				return nil, err
			}
		}
		err := job.SendChunk(worker.Chunk{Value: "b", Metadata: map[string]any{"f": func() {}}})
		if job.Streaming() == (err == nil) {
			return nil, fmt.Errorf("wrong metadata: %w", err)
		}
		return "done", nil
	}, worker.Streaming())
	d, _ := start(t, w)
	d.send(stream("j", "s", `{}`))
	chunks, r := d.chunks("j")
	if got := strings.Join(chunks, "|"); got != `"a" {"index":1}|null|1.5 final` || string(r.Data) != `"done"` {
		t.Errorf("got %s, then %s%s", got, r.Data, r.Error)
	}
	d.send(execute("k", "s", `{}`))
	if chunks, r := d.chunks("k"); len(chunks) > 0 || string(r.Data) != `"done"` {
		t.Errorf("not asked for a stream: got %q, then %s%s", chunks, r.Data, r.Error)
	}
}

func TestInlineFunctionCannotStream(t *testing.T) {
	w := worker.New()
	w.Func("s", func(_ context.Context, job *worker.Job) (any, error) {
		if err := job.Send("a"); !errors.Is(err, worker.ErrInline) {
			return nil, fmt.Errorf("got %w", err)
		}
		return nil, nil
	}, worker.Inline())
	d, _ := start(t, w)
	d.send(stream("j", "s", `{}`))
	if chunks, r := d.chunks("j"); len(chunks) > 0 || r.Status != protocol.StatusSuccess {
		t.Errorf("got %q, then %s", chunks, r.Error)
	}
}

// The first chunk leaves by itself, and so does a later one that nothing follows.
func TestChunksAreNotHeldBack(t *testing.T) {
	go1 := make(chan struct{})
	w := worker.New()
	w.Func("s", func(ctx context.Context, job *worker.Job) (any, error) {
		for i := range 3 {
			if err := job.Send(i); err != nil {
				return nil, err
			}
			select {
			case <-go1:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		return nil, nil
	})
	d, _ := start(t, w)
	d.send(stream("j", "s", `{}`))
	for i := range 3 {
		if c := receive[*protocol.StreamChunk](d); string(c.Chunk) != fmt.Sprint(i) {
			t.Errorf("got %s, want %d", c.Chunk, i)
		}
		go1 <- struct{}{}
	}
	d.result("j")
}

// Chunks that come fast leave together: fewer writes than chunks, seen as reads that hold many of them.
func TestChunksAreGathered(t *testing.T) {
	w := worker.New()
	w.Func("count", count, worker.Streaming())
	d, _ := start(t, w)
	const chunks = 20_000
	d.send(stream("j", "count", fmt.Sprintf(`{"count":%d}`, chunks)))
	together := 0
	for range chunks {
		receive[*protocol.StreamChunk](d)
		if d.frames.Buffered() {
			together++
		}
	}
	d.result("j")
	if together < chunks/2 {
		t.Errorf("only %d of %d chunks came together with the next one", together, chunks)
	}
}

// A daemon that takes nothing stops the function, and neither cancels nor other jobs.
func TestBackPressure(t *testing.T) {
	const most = 64 << 10
	sent, cancelled := make(chan int, 1), make(chan error, 1)
	w := worker.New()
	w.Func("s", func(_ context.Context, job *worker.Job) (any, error) {
		pad := strings.Repeat("x", 1<<10)
		for i := range most {
			if err := job.Send(pad); err != nil {
				sent <- i
				cancelled <- err
				return nil, err
			}
		}
		sent <- most
		return nil, nil
	})
	inline := make(chan struct{})
	w.Func("inline", func(context.Context, *worker.Job) (any, error) {
		close(inline)
		return nil, nil
	}, worker.Inline())
	d, _ := start(t, w)
	d.send(stream("j", "s", `{}`))
	receive[*protocol.StreamChunk](d)
	// Nothing is read from here on, and still the worker reads.
	d.send(execute("i", "inline", `{}`))
	<-inline
	d.send(&protocol.Cancel{JobID: "j"})
	if n := <-sent; n == most {
		t.Error("all chunks were sent, though nobody has read them")
	}
	if err := <-cancelled; !errors.Is(err, worker.ErrCancelled) {
		t.Errorf("Send returned %v", err)
	}
	answered := map[string]string{}
	for len(answered) < 2 {
		m, err := d.next()
		if err != nil {
			t.Fatal(err)
		}
		if r, ok := m.(*protocol.Result); ok {
			answered[r.JobID] = r.Status
		}
	}
	if answered["j"] != protocol.StatusCancelled || answered["i"] != protocol.StatusSuccess {
		t.Errorf("got %v", answered)
	}
}

// The whole stream arrives, in order, at a daemon that reads now and then.
func TestBackPressureLosesNothing(t *testing.T) {
	w := worker.New()
	w.Func("s", func(_ context.Context, job *worker.Job) (any, error) {
		pad := strings.Repeat("x", 2<<10)
		for i := range 2000 {
			if err := job.Send(fmt.Sprintf("%d %s", i, pad)); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	d, _ := start(t, w)
	d.send(stream("j", "s", `{}`))
	chunks, r := d.chunks("j")
	if len(chunks) != 2000 || r.Status != protocol.StatusSuccess {
		t.Fatalf("got %d chunks, then %+v", len(chunks), r)
	}
	for i, chunk := range chunks {
		if !strings.HasPrefix(chunk, fmt.Sprintf(`"%d x`, i)) {
			t.Fatalf("chunk %d begins with %.20s", i, chunk)
		}
	}
}

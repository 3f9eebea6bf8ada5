package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"supervisord/protocol"
	"supervisord/sdk/go/client"
)

func TestStream(t *testing.T) {
	c := connect(t, func(p *peer) {
		r := p.want("execute")
		p.chunk(r, 0, `"a\u00e4"`)
		p.send(`{"jsonrpc":"2.0","method":"stream.chunk","params":{"job_id":"j1","request_id":%s,"seq":1,"chunk":{"n":1.50},"is_final":true,"metadata":{"k":"v"}}}`, r.ID)
		p.succeed(r, `{"streamed":true}`, 2)
		p.tryNext()
	})
	stream := c.Stream(t.Context(), client.Execute{Plugin: "p"})
	var got []client.Chunk
	for chunk, err := range stream.Chunks() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, chunk)
	}
	if len(got) != 2 {
		t.Fatalf("got %d chunks, want 2", len(got))
	}
	if text, ok := got[0].Text(); !ok || text != "aä" || got[0].Seq != 0 || got[0].Final || got[0].JobID != "j1" || string(got[0].Metadata) != "{}" {
		t.Errorf("first chunk %+v", got[0])
	}
	if _, ok := got[1].Text(); ok || string(got[1].Value) != `{"n":1.50}` || got[1].Seq != 1 || !got[1].Final || string(got[1].Metadata) != `{"k":"v"}` {
		t.Errorf("second chunk %+v", got[1])
	}
	result, err := stream.Result()
	if err != nil || result.Chunks != 2 || string(result.Data) != `{"streamed":true}` {
		t.Errorf("result %+v, %v", result, err)
	}
}

func TestStreamFails(t *testing.T) {
	c := connect(t, func(p *peer) {
		r := p.want("execute")
		p.chunk(r, 0, `"partial"`)
		p.refuse(r, 1001, "worker_died")
		p.tryNext()
	})
	stream := c.Stream(t.Context(), client.Execute{Plugin: "p"})
	text, err := texts(stream)
	failure, ok := errors.AsType[*protocol.Error](err)
	if text != "partial" || !ok || failure.Code != protocol.CodeWorkerDied {
		t.Errorf("got %q, %v", text, err)
	}
	if _, again := stream.Result(); !errors.Is(again, err) {
		t.Errorf("Result: got %v, want %v", again, err)
	}
}

func TestResultDropsChunks(t *testing.T) {
	c := connect(t, func(p *peer) {
		r := p.want("execute")
		for i := range 100 {
			p.chunk(r, i, `"x"`)
		}
		p.succeed(r, `{}`, 100)
		p.tryNext()
	})
	result, err := c.Stream(t.Context(), client.Execute{Plugin: "p"}).Result()
	if err != nil || result.Chunks != 100 {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestLeavingTheLoopCancels(t *testing.T) {
	answered := make(chan struct{})
	c := connect(t, func(p *peer) {
		r := p.want("execute")
		p.chunk(r, 0, `"a"`)
		p.chunk(r, 1, `"b"`)
		p.wantCancel(r)
		p.chunk(r, 2, `"c"`)
		close(answered)
		p.refuse(r, -32800, "cancelled")
		p.answer(p.want("daemon.ping"), `{}`)
		p.tryNext()
	})
	stream := c.Stream(t.Context(), client.Execute{Plugin: "p"})
	for chunk, err := range stream.Chunks() {
		if text, _ := chunk.Text(); text != "a" || err != nil {
			t.Errorf("got %q, %v", text, err)
		}
		break
	}
	select {
	case <-answered:
	default:
		t.Error("the loop ended before the answer")
	}
	_, err := stream.Result()
	if failure, ok := errors.AsType[*protocol.Error](err); !ok || failure.Code != protocol.CodeCancelled {
		t.Errorf("Result: got %v", err)
	}
	if err := c.Call(t.Context(), "daemon.ping", nil, nil); err != nil {
		t.Errorf("the connection is not usable any more: %v", err)
	}
}

func TestContextEndCancelsStream(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	c := connect(t, func(p *peer) {
		r := p.want("execute")
		p.chunk(r, 0, `"a"`)
		p.wantCancel(r)
		p.chunk(r, 1, `"b"`)
		p.refuse(r, -32800, "cancelled")
		p.tryNext()
	})
	text := ""
	var err error
	for chunk, e := range c.Stream(ctx, client.Execute{Plugin: "p"}).Chunks() {
		if e != nil {
			err = e
			continue
		}
		s, _ := chunk.Text()
		text += s
		cancel(errEnough)
	}
	failure, ok := errors.AsType[*protocol.Error](err)
	if !ok || failure.Code != protocol.CodeCancelled || !errors.Is(err, errEnough) {
		t.Errorf("got %v, want the daemon's error and the cause", err)
	}
	if !strings.HasPrefix("ab", text) || text == "" {
		t.Errorf("got %q", text)
	}
}

// Nobody reads the stream, and still the end of its context cancels it.
func TestContextEndCancelsStreamThatNobodyReads(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := make(chan struct{})
	c := connect(t, func(p *peer) {
		r := p.want("execute")
		cancel()
		p.wantCancel(r)
		close(cancelled)
		for i := range 3 * client.StreamBuffer >> 16 {
			p.chunk(r, i, fmt.Sprintf("%q", strings.Repeat("x", 1<<16)))
		}
		p.refuse(r, -32800, "cancelled")
		p.answer(p.want("daemon.ping"), `{}`)
		p.tryNext()
	})
	stream := c.Stream(ctx, client.Execute{Plugin: "p"})
	<-cancelled
	if err := c.Call(t.Context(), "daemon.ping", nil, nil); err != nil {
		t.Error(err)
	}
	if _, err := stream.Result(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The job was done before its cancel arrived: with all of its chunks read that is a success, else it cannot be.
func TestStreamFasterThanItsCancel(t *testing.T) {
	for _, chunks := range []int{0, 1} {
		ctx, cancel := context.WithCancelCause(t.Context())
		c := connect(t, func(p *peer) {
			r := p.want("execute")
			cancel(errEnough)
			p.wantCancel(r)
			for i := range chunks {
				p.chunk(r, i, `"a"`)
			}
			p.succeed(r, `{}`, chunks)
			p.tryNext()
		})
		text, err := texts(c.Stream(ctx, client.Execute{Plugin: "p"}))
		if want := chunks > 0; errors.Is(err, errEnough) != want || (err != nil) != want || text != "" {
			t.Errorf("%d chunks: got %q, %v", chunks, text, err)
		}
	}
}

func TestProgressComesInOrder(t *testing.T) {
	c := connect(t, func(p *peer) {
		r := p.want("execute")
		p.chunk(r, 0, `"a"`)
		p.send(`{"jsonrpc":"2.0","method":"job.progress","params":{"job_id":"j1","request_id":%s,"progress":0.5,"message":"half"}}`, r.ID)
		p.chunk(r, 1, `"b"`)
		p.send(`{"jsonrpc":"2.0","method":"job.progress","params":{"job_id":"j1","request_id":%s,"progress":null,"message":""}}`, r.ID)
		p.succeed(r, `{}`, 2)
		p.tryNext()
	})
	var got strings.Builder
	stream := c.Stream(t.Context(), client.Execute{Plugin: "p"}).OnProgress(func(p protocol.JobProgress) {
		if p.Progress == nil {
			got.WriteString("[?]")
			return
		}
		fmt.Fprintf(&got, "[%g %s]", *p.Progress, p.Message)
	})
	for chunk, err := range stream.Chunks() {
		if err != nil {
			t.Fatal(err)
		}
		text, _ := chunk.Text()
		got.WriteString(text)
	}
	if want := "a[0.5 half]b[?]"; got.String() != want {
		t.Errorf("got %s, want %s", got.String(), want)
	}
}

// fill sends chunks until the client has stopped reading, and returns how many: the last one is not complete yet, and
// rest completes it.
func fill(p *peer, r request, most int) (sent int, rest []byte) {
	pad := strings.Repeat("x", 8<<10)
	for sent = range most {
		line := fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"stream.chunk","params":{"job_id":"j1","request_id":%s,"seq":%d,"chunk":"%d:%s","is_final":false,"metadata":{}}}`+"\n", r.ID, sent, sent, pad)
		// A client that only is slow lets this test pass without cause, and never fail.
		_ = p.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := p.Write(line)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			_ = p.SetWriteDeadline(time.Now().Add(patience))
			return sent + 1, line[n:]
		}
		if err != nil {
			panic(peerFailure(err.Error()))
		}
	}
	panic(peerFailure(fmt.Sprintf("the client took %d chunks that nobody reads", most)))
}

func TestSlowConsumerStopsTheReading(t *testing.T) {
	const most = 16 * client.StreamBuffer >> 13
	full := make(chan int, 1)
	c := connect(t, func(p *peer) {
		r := p.want("execute")
		sent, rest := fill(p, r, most)
		full <- sent
		if _, err := p.Write(rest); err != nil {
			panic(peerFailure(err.Error()))
		}
		p.succeed(r, `{}`, sent)
		p.tryNext()
	})
	stream := c.Stream(t.Context(), client.Execute{Plugin: "p"})
	sent := <-full
	next := 0
	for chunk, err := range stream.Chunks() {
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := chunk.Text(); chunk.Seq != int64(next) || !strings.HasPrefix(text, fmt.Sprintf("%d:x", next)) {
			t.Fatalf("chunk %d has seq %d and begins with %.10q", next, chunk.Seq, text)
		}
		next++
	}
	if next != sent {
		t.Errorf("got %d chunks of %d", next, sent)
	}
}

func TestCloseWhileTheReaderWaits(t *testing.T) {
	full := make(chan struct{})
	c := connect(t, func(p *peer) {
		fill(p, p.want("execute"), 16*client.StreamBuffer>>13)
		close(full)
	})
	stream := c.Stream(t.Context(), client.Execute{Plugin: "p"})
	<-full
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := texts(stream); !errors.Is(err, client.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestCloseWithinTheLoop(t *testing.T) {
	c := connect(t, func(p *peer) {
		p.chunk(p.want("execute"), 0, `"a"`)
		p.tryNext()
	})
	var last error
	for _, err := range c.Stream(t.Context(), client.Execute{Plugin: "p"}).Chunks() {
		last = err
		if err == nil {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if !errors.Is(last, client.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", last)
	}
}

func TestPanicWithinTheLoopCancels(t *testing.T) {
	c := connect(t, func(p *peer) {
		r := p.want("execute")
		p.chunk(r, 0, `"a"`)
		p.wantCancel(r)
		p.refuse(r, -32800, "cancelled")
		p.tryNext()
	})
	defer func() {
		if got := recover(); got != "enough" {
			t.Errorf("recovered %v", got)
		}
	}()
	for _, err := range c.Stream(t.Context(), client.Execute{Plugin: "p"}).Chunks() {
		if err != nil {
			t.Error(err)
		}
		panic("enough")
	}
}

// Many streams on one connection end in every way there is; each gets its own chunks and one end.
func TestStreamsTogether(t *testing.T) {
	c := connect(t, func(p *peer) {
		for r, ok := p.tryNext(); ok; r, ok = p.tryNext() {
			if r.Method == "$/cancelRequest" {
				continue // it always comes too late
			}
			for i := range 20 {
				p.chunk(r, i, fmt.Sprintf(`"%s %d"`, r.plugin(), i))
			}
			p.succeed(r, `{}`, 20)
		}
	})
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			for j := range 50 {
				plugin := fmt.Sprintf("p%d-%d", i, j)
				ctx, cancel := context.WithCancel(t.Context())
				stream := c.Stream(ctx, client.Execute{Plugin: plugin})
				stop, how := rand.IntN(25), rand.IntN(2)
				next := 0
				for chunk, err := range stream.Chunks() {
					if err != nil {
						if !errors.Is(err, context.Canceled) {
							t.Error(err)
						}
						break
					}
					if text, _ := chunk.Text(); text != fmt.Sprintf("%s %d", plugin, next) {
						t.Errorf("chunk %d of %s came as %q", next, plugin, text)
					}
					next++
					if next == stop && how == 0 {
						cancel()
					}
					if next == stop && how == 1 {
						break
					}
				}
				cancel()
			}
		})
	}
	running.Wait()
}

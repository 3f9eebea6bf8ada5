package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"supervisord/protocol"
	"supervisord/sdk/go/worker"
)

// deadline is how long a test waits for what must happen; never how long it takes.
const deadline = 20 * time.Second

// daemon is the daemon's side of a link over real pipes.
type daemon struct {
	t      testing.TB
	w      *os.File // fd 3 of the worker is its other end
	r      *os.File
	frames *protocol.FrameReader
	served chan error
}

// link serves w over two pipes until the test ends.
func link(t testing.TB, w *worker.Worker) *daemon {
	t.Helper()
	d, in, out := pipes(t)
	go func() { d.served <- errors.Join(w.ServeConn(t.Context(), in, out), out.Close()) }()
	t.Cleanup(func() {
		d.w.Close()
		d.r.Close()
	})
	return d
}

func pipes(t testing.TB) (d *daemon, in, out *os.File) {
	t.Helper()
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return &daemon{t: t, w: w, r: r, frames: protocol.NewFrameReader(r, 64<<20), served: make(chan error, 1)}, in, out
}

// start is link with the handshake done; it returns what the worker said.
func start(t testing.TB, w *worker.Worker) (*daemon, *protocol.Ready) {
	t.Helper()
	d := link(t, w)
	d.send(&protocol.Init{Protocol: protocol.Version, Pool: "p", Worker: "p/0", Incarnation: 1, MaxMessage: 16 << 20})
	return d, receive[*protocol.Ready](d)
}

func (d *daemon) send(messages ...protocol.Message) {
	d.t.Helper()
	var b []byte
	for _, m := range messages {
		body, err := protocol.Encode(m)
		if err != nil {
			d.t.Fatal(err)
		}
		b = protocol.AppendFrame(b, body)
	}
	d.write(b)
}

func (d *daemon) write(b []byte) {
	d.t.Helper()
	if err := d.w.SetWriteDeadline(time.Now().Add(deadline)); err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.w.Write(b); err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) next() (protocol.Message, error) {
	d.t.Helper()
	if err := d.r.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		d.t.Fatal(err)
	}
	body, err := d.frames.Next()
	if err != nil {
		return nil, err
	}
	return protocol.Decode(body)
}

// receive reads one message, which must be an M.
func receive[M protocol.Message](d *daemon) M {
	d.t.Helper()
	m, err := d.next()
	if err != nil {
		d.t.Fatal(err)
	}
	want, ok := m.(M)
	if !ok {
		d.t.Fatalf("got %s: %+v, want %T", m.MessageType(), m, want)
	}
	return want
}

// result reads on to the result of the job.
func (d *daemon) result(id string) *protocol.Result {
	d.t.Helper()
	for {
		m, err := d.next()
		if err != nil {
			d.t.Fatal(err)
		}
		if r, ok := m.(*protocol.Result); ok && r.JobID == id {
			return r
		}
	}
}

// ended waits for the end of Serve, which must come after the end of its output.
func (d *daemon) ended() error {
	d.t.Helper()
	for {
		if _, err := d.next(); err != nil {
			if !errors.Is(err, io.EOF) {
				d.t.Fatal(err)
			}
			break
		}
	}
	select {
	case err := <-d.served:
		return err
	case <-time.After(deadline):
		d.t.Fatal("Serve goes on")
		return nil
	}
}

func execute(id, plugin, params string) *protocol.Execute {
	return &protocol.Execute{JobID: id, PluginName: plugin, Params: json.RawMessage(params)}
}

func stream(id, plugin, params string) *protocol.Execute {
	return &protocol.Execute{JobID: id, PluginName: plugin, Params: json.RawMessage(params), Stream: true}
}

func echo(_ context.Context, job *worker.Job) (any, error) { return job.Params(), nil }

// count streams so many chunks of 64 bytes.
func count(_ context.Context, job *worker.Job) (any, error) {
	var params struct{ Count int }
	if err := job.Bind(&params); err != nil {
		return nil, err
	}
	chunk := json.RawMessage(fmt.Sprintf("%q", make64()))
	for range params.Count {
		if err := job.Send(chunk); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func make64() string { return "0123456789012345678901234567890123456789012345678901234567890a" }

// BenchmarkEcho: 64 calls in flight, 100 bytes each, over pipes.
func BenchmarkEcho(b *testing.B) {
	for name, options := range map[string][]worker.Option{"inline": {worker.Inline()}, "goroutine": nil} {
		b.Run(name, func(b *testing.B) {
			w := worker.New()
			w.Func("echo", echo, options...)
			d, _ := start(b, w)
			const inFlight = 64
			pad := `{"text":"` + make64() + `012345678901234567890123456"}`
			var (
				credit = make(chan struct{}, 1<<20)
				writer sync.WaitGroup
			)
			for range inFlight {
				credit <- struct{}{}
			}
			b.ReportAllocs()
			b.ResetTimer()
			writer.Go(func() {
				var buf []byte
				for i := 0; i < b.N; {
					buf = buf[:0]
					<-credit
					for more := true; more && i < b.N; i++ {
						body := fmt.Appendf(nil, `{"type":"execute","job_id":"j%d","plugin_name":"echo",%s`, i, pad[1:])
						buf = protocol.AppendFrame(buf, body)
						select {
						case <-credit:
						default:
							more = false
						}
					}
					d.write(buf)
				}
			})
			for range b.N {
				if _, err := d.frames.Next(); err != nil {
					b.Fatal(err)
				}
				credit <- struct{}{}
			}
			writer.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}

// BenchmarkStream: one job, chunks of 64 bytes.
func BenchmarkStream(b *testing.B) {
	w := worker.New()
	w.Func("count", count, worker.Streaming())
	d, _ := start(b, w)
	b.ReportAllocs()
	b.ResetTimer()
	d.send(stream("j", "count", fmt.Sprintf(`{"count":%d}`, b.N)))
	for range b.N + 1 {
		if _, err := d.frames.Next(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "chunks/s")
}

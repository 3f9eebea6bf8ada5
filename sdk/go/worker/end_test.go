package worker_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"

	"supervisord/protocol"
	"supervisord/sdk/go/worker"
)

// waiter is a plugin that tells that it runs and waits for leave or the end of its context.
type waiter struct {
	running chan string
	leave   chan struct{}
	causes  chan error
}

func newWaiter() (*waiter, *worker.Worker) {
	p := &waiter{running: make(chan string, 100), leave: make(chan struct{}), causes: make(chan error, 100)}
	w := worker.New()
	w.Func("wait", func(ctx context.Context, job *worker.Job) (any, error) {
		p.running <- job.ID()
		select {
		case <-p.leave:
			return "left", nil
		case <-ctx.Done():
			p.causes <- context.Cause(ctx)
			return nil, ctx.Err()
		}
	})
	w.Func("echo", echo)
	return p, w
}

func TestCancel(t *testing.T) {
	p, w := newWaiter()
	d, _ := start(t, w)
	// Effective even in the same write as its execute.
	d.send(execute("a", "wait", `{}`), execute("b", "wait", `{}`), &protocol.Cancel{JobID: "a"})
	if r := d.result("a"); r.Status != protocol.StatusCancelled || r.Error != "" || r.ErrorInfo != nil {
		t.Errorf("got %+v", r)
	}
	if cause := <-p.causes; !errors.Is(cause, worker.ErrCancelled) {
		t.Errorf("the context ended with %v", cause)
	}
	close(p.leave)
	if r := d.result("b"); r.Status != protocol.StatusSuccess {
		t.Errorf("the other job: got %+v", r)
	}
	d.send(&protocol.Cancel{JobID: "a"}, &protocol.Cancel{JobID: "b"}, execute("c", "echo", `{}`))
	if r := receive[*protocol.Result](d); r.JobID != "c" {
		t.Errorf("a cancel that came too late was answered: %+v", r)
	}
}

// Done in spite of the cancel is done.
func TestFasterThanTheCancel(t *testing.T) {
	w := worker.New()
	running := make(chan struct{})
	w.Func("stubborn", func(ctx context.Context, _ *worker.Job) (any, error) {
		close(running)
		<-ctx.Done()
		return "done", nil
	})
	d, _ := start(t, w)
	d.send(execute("a", "stubborn", `{}`))
	<-running
	d.send(&protocol.Cancel{JobID: "a"})
	if r := d.result("a"); r.Status != protocol.StatusSuccess || string(r.Data) != `"done"` {
		t.Errorf("got %+v", r)
	}
}

func TestStopWithoutJobs(t *testing.T) {
	_, w := newWaiter()
	d, _ := start(t, w)
	d.send(execute("a", "echo", `{}`))
	d.result("a")
	d.send(&protocol.Stop{})
	if err := d.ended(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

func TestStopDrains(t *testing.T) {
	p, w := newWaiter()
	d, _ := start(t, w)
	d.send(execute("a", "wait", `{}`), execute("b", "wait", `{}`))
	<-p.running
	<-p.running
	d.send(&protocol.Stop{}, execute("late", "echo", `{}`), &protocol.Cancel{JobID: "a"})
	if r := d.result("late"); r.Status != protocol.StatusError || r.ErrorInfo.Category != protocol.CategoryTransient {
		t.Errorf("a job after stop: got %+v", r)
	}
	if r := d.result("a"); r.Status != protocol.StatusCancelled {
		t.Errorf("cancelled after stop: got %+v", r)
	}
	close(p.leave)
	if r := d.result("b"); r.Status != protocol.StatusSuccess {
		t.Errorf("got %+v", r)
	}
	if err := d.ended(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

func TestEndOfTheLinkEndsJobs(t *testing.T) {
	p, w := newWaiter()
	d, _ := start(t, w)
	d.send(execute("a", "wait", `{}`))
	<-p.running
	d.w.Close()
	if cause := <-p.causes; !errors.Is(cause, worker.ErrClosed) {
		t.Errorf("the context ended with %v", cause)
	}
	if r := d.result("a"); r.Status != protocol.StatusError {
		t.Errorf("got %+v", r)
	}
	if err := d.ended(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

func TestTornFrame(t *testing.T) {
	_, w := newWaiter()
	d, _ := start(t, w)
	d.write([]byte{0, 0, 0, 9, '{'})
	d.w.Close()
	if err := d.ended(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Serve returned %v", err)
	}
}

func TestContextEndsServe(t *testing.T) {
	p, w := newWaiter()
	d, in, out := pipes(t)
	defer d.w.Close()
	defer d.r.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { d.served <- errors.Join(w.ServeConn(ctx, in, out), out.Close()) }()
	d.send(&protocol.Init{Protocol: protocol.Version})
	receive[*protocol.Ready](d)
	d.send(execute("a", "wait", `{}`))
	<-p.running
	cancel(errMine)
	if cause := <-p.causes; !errors.Is(cause, worker.ErrClosed) {
		t.Errorf("the job's context ended with %v", cause)
	}
	if err := d.ended(); !errors.Is(err, errMine) {
		t.Errorf("Serve returned %v", err)
	}
}

// The daemon has closed its end of the answers and not that of the requests.
func TestDaemonThatReadsNoMore(t *testing.T) {
	_, w := newWaiter()
	d, _ := start(t, w)
	d.r.Close()
	d.send(execute("a", "echo", `{}`), execute("b", "echo", `{}`))
	// The answers fail to leave; the reader notes it with the next read.
	for err := error(nil); err == nil; _, err = d.w.Write([]byte("\x00\x00\x00\x0f" + `{"type":"none"}`)) {
		continue
	}
	if err := <-d.served; !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Serve returned %v", err)
	}
}

// A link need not be a pipe: over anything else there are no writes without blocking, and the input's end has another
// error.
func TestServeConnOverOtherStreams(t *testing.T) {
	requests, w := io.Pipe()
	r, responses := io.Pipe()
	conn, other := net.Pipe()
	for name, ends := range map[string]struct {
		in  io.ReadCloser
		out io.Writer
		w   io.WriteCloser
		r   io.Reader
	}{
		"io.Pipe":  {requests, responses, w, r},
		"net.Conn": {conn, conn, other, other},
	} {
		t.Run(name, func(t *testing.T) {
			p, wk := newWaiter()
			served := make(chan error, 1)
			go func() { served <- wk.ServeConn(t.Context(), ends.in, ends.out) }()
			frames := protocol.NewFrameReader(ends.r, 1<<20)
			var writing sync.WaitGroup
			send := func(m protocol.Message) {
				body, err := protocol.Encode(m)
				if err != nil {
					t.Fatal(err)
				}
				writing.Go(func() {
					if err := protocol.WriteFrame(ends.w, body); err != nil {
						t.Error(err)
					}
				})
				writing.Wait()
			}
			next := func() string {
				body, err := frames.Next()
				if err != nil {
					t.Fatal(err)
				}
				return string(body)
			}
			send(&protocol.Init{Protocol: protocol.Version})
			next()
			send(execute("a", "wait", `{}`))
			<-p.running
			send(&protocol.Stop{})
			close(p.leave)
			if got, want := next(), `{"type":"result","job_id":"a","status":"success","data":"left"}`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if err := <-served; err != nil {
				t.Errorf("Serve returned %v", err)
			}
			ends.w.Close()
		})
	}
}

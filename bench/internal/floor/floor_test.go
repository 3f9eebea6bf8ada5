package floor

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"supervisord/bench/internal/wire"
)

const deadline = 20 * time.Second

// relay runs a relay in front of the worker that serve is; serve owns its two descriptors' files until it returns.
func relay(t *testing.T, serve func(in, out *os.File) error) (socket string, result <-chan error) {
	t.Helper()
	workerIn, toWorker, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromWorker, workerOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(toWorker, fromWorker)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "floor")
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var parts sync.WaitGroup
	parts.Go(func() { done <- r.Run(ctx, listener) })
	parts.Go(func() {
		defer workerOut.Close()
		defer workerIn.Close()
		if err := serve(workerIn, workerOut); err != nil && ctx.Err() == nil {
			t.Errorf("worker: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		parts.Wait()
		_ = os.RemoveAll(dir)
	})
	return socket, done
}

// realWorker serves as the worker process does. Fd makes the descriptors blocking.
func realWorker(in, out *os.File) error { return Serve(int(in.Fd()), int(out.Fd())) }

func dial(t *testing.T, socket string) *net.UnixConn {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// receive reads frames until take says that it has enough.
func receive(t *testing.T, conn net.Conn, take func(wire.Frame) (more bool)) {
	t.Helper()
	buf := wire.NewBuffer(64 << 10)
	for {
		frame, n, err := wire.Next(buf.Unread())
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			if err := buf.Fill(conn); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if !take(frame) {
			return
		}
		buf.Skip(n)
	}
}

func send(t *testing.T, conn net.Conn, frames []byte) {
	t.Helper()
	if _, err := conn.Write(frames); err != nil {
		t.Fatal(err)
	}
}

func echo(t *testing.T, conn net.Conn, id uint32) {
	t.Helper()
	want := append(EchoRequest(100), "tail"...)
	send(t, conn, wire.AppendFrame(nil, id, false, want))
	receive(t, conn, func(f wire.Frame) bool {
		if f.ID != id || f.More || !bytes.Equal(f.Payload, want) {
			t.Fatalf("echo of id %d came back as id %d, more %v, %d bytes", id, f.ID, f.More, len(f.Payload))
		}
		return false
	})
}

func TestEachConnectionHasItsOwnIDs(t *testing.T) {
	socket, _ := relay(t, realWorker)
	const calls = 2000
	var clients sync.WaitGroup
	for c := range 4 {
		conn := dial(t, socket)
		clients.Go(func() {
			var frames []byte
			for id := range uint32(calls) {
				frames = wire.AppendFrame(frames, id, false, append(EchoRequest(1), byte(c), byte(id)))
			}
			_, _ = conn.Write(frames) // a failure shows as answers that never come
		})
		clients.Go(func() {
			seen := map[uint32]bool{}
			buf := wire.NewBuffer(4 << 10)
			for len(seen) < calls {
				frame, n, err := wire.Next(buf.Unread())
				if err == nil && n == 0 {
					err = buf.Fill(conn)
				}
				if err != nil {
					t.Errorf("client %d after %d answers: %v", c, len(seen), err)
					return
				}
				if n == 0 {
					continue
				}
				if seen[frame.ID] || frame.ID >= calls || string(frame.Payload) != string([]byte{opEcho, byte(c), byte(frame.ID)}) {
					t.Errorf("client %d: id %d with %q, answered before: %v", c, frame.ID, frame.Payload, seen[frame.ID])
					return
				}
				seen[frame.ID] = true
				buf.Skip(n)
			}
		})
	}
	clients.Wait()
}

func TestFramesLargerThanEveryBufferPass(t *testing.T) {
	socket, _ := relay(t, realWorker)
	conn := dial(t, socket)
	want := map[uint32][]byte{}
	var frames []byte
	for i, size := range []int{1, 64 << 10, 1 << 20, 5<<20 + 3, 7} {
		payload := EchoRequest(size)
		payload[size-1] = byte(opEcho + i)
		payload[0] = opEcho
		want[uint32(i)] = payload
		frames = wire.AppendFrame(frames, uint32(i), false, payload)
	}
	go func() { _, _ = conn.Write(frames) }() // a failure shows as answers that never come
	receive(t, conn, func(f wire.Frame) bool {
		if !bytes.Equal(f.Payload, want[f.ID]) {
			t.Fatalf("id %d came back with %d bytes, not its own %d", f.ID, len(f.Payload), len(want[f.ID]))
		}
		delete(want, f.ID)
		return len(want) > 0
	})
}

// A client that writes without reading used to stop the link reader, and with it every other client.
func TestClientThatNeverReadsBlocksOnlyItself(t *testing.T) {
	socket, _ := relay(t, realWorker)
	stuck := dial(t, socket)
	const all = 1000
	request := wire.AppendFrame(nil, 1, false, EchoRequest(64<<10))
	var wrote atomic.Int64
	var writer sync.WaitGroup
	writer.Go(func() {
		for range all {
			if _, err := stuck.Write(request); err != nil {
				return // closed below
			}
			wrote.Add(1)
		}
	})
	defer func() {
		_ = stuck.Close()
		writer.Wait()
	}()

	// The stuck client has stopped for good when nothing more was taken from it in the time of 100 calls of the other.
	other := dial(t, socket)
	for before := int64(-1); before != wrote.Load(); {
		before = wrote.Load()
		for id := range uint32(100) {
			echo(t, other, id)
		}
	}
	if wrote.Load() == all {
		t.Error("the relay took 64 MiB from a client that reads nothing")
	}
}

func TestStreamsComeInOrderAndEnd(t *testing.T) {
	socket, _ := relay(t, realWorker)
	conn := dial(t, socket)
	const streams, chunks, size = 3, 20_000, 64
	var frames []byte
	for id := range uint32(streams) {
		frames = wire.AppendFrame(frames, id, false, StreamRequest(chunks, size))
	}
	send(t, conn, frames)
	var next [streams]uint32
	open := streams
	receive(t, conn, func(f wire.Frame) bool {
		number := binary.BigEndian.Uint32(f.Payload)
		switch {
		case number != next[f.ID]:
			t.Fatalf("stream %d: got %d, want %d", f.ID, number, next[f.ID])
		case f.More && len(f.Payload) != size:
			t.Fatalf("stream %d: chunk of %d bytes, want %d", f.ID, len(f.Payload), size)
		case f.More:
			next[f.ID]++
			return true
		case number != chunks:
			t.Fatalf("stream %d ended after %d chunks", f.ID, number)
		}
		open--
		return open > 0
	})
	echo(t, conn, 0) // slots of ended streams are used again
}

func TestClientThatLeavesFreesTheOthers(t *testing.T) {
	socket, _ := relay(t, realWorker)
	other := dial(t, socket)
	for range 5 {
		gone := dial(t, socket)
		send(t, gone, wire.AppendFrame(nil, 1, false, StreamRequest(200_000, 64))) // 14 MB, which nobody takes
		receive(t, gone, func(wire.Frame) bool { return false })
		if err := gone.Close(); err != nil {
			t.Fatal(err)
		}
	}
	echo(t, other, 1)
}

func TestRelayEndsWithItsWorker(t *testing.T) {
	for name, test := range map[string]struct {
		worker func(in, out *os.File) error
		want   string
	}{
		"unknown id": {func(in, out *os.File) error {
			_, err := out.Write(wire.AppendFrame(nil, 5, false, []byte("what?")))
			_, _ = io.Copy(io.Discard, in)
			return err
		}, "id 5"},
		"absurd length": {func(in, out *os.File) error {
			_, err := out.Write([]byte{0x7f, 0, 0, 0, 0, 0, 0, 0})
			_, _ = io.Copy(io.Discard, in)
			return err
		}, "above the limit"},
		"exit": {func(in, out *os.File) error { return nil }, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			_, result := relay(t, test.worker)
			select {
			case err := <-result:
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("got %v, want an error with %q", err, test.want)
				}
			case <-time.After(deadline):
				t.Fatal("the relay goes on")
			}
		})
	}
}

func TestServeRefusesAWrongStreamRequest(t *testing.T) {
	for name, payload := range map[string][]byte{"short": {opStream, 1}, "chunks without room": StreamRequest(1, 3)} {
		in, toWorker, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		send := wire.AppendFrame(nil, 0, false, payload)
		if _, err := toWorker.Write(send); err != nil {
			t.Fatal(err)
		}
		if err := Serve(int(in.Fd()), -1); err == nil || !strings.Contains(err.Error(), "bytes") {
			t.Errorf("%s: got %v", name, err)
		}
		_ = in.Close()
		_ = toWorker.Close()
	}
}

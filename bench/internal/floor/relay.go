// Package floor is what a daemon between a Unix socket and a worker's pipes can't beat while written in Go with one goroutine a
// peer: it copies length-prefixed frames without looking into them.
//
//	client ── socket ── conn reader ── worker queue ── pipe ── worker
//	client ── socket ── conn queue ─── link reader ─── pipe ── worker
//
// Each reader patches the ids of all frames of one read in place, appends them to the queues they go to, and flushes each
// touched queue once. Nothing is allocated for a frame, and there is no goroutine for one.
//
// A connection that does not take its answers is not read from, and only it waits: answers to what was read are always queued.
// Frames of a stream do wait for their client in the link reader, so one that leaves its stream unread holds up all clients; a
// real daemon has to do better, and pays for it.
//
// Locks: the worker's queue before the slot table. A conn's queue is never held together with either.
package floor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"

	"supervisord/bench/internal/wire"
)

const (
	readSize  = 64 << 10  // first size of a read buffer
	highWater = 512 << 10 // more bytes than this waiting for a peer stop whoever feeds it
)

// slot is one call in flight. Its index is the id on the worker's side.
type slot struct {
	conn *conn
	id   uint32 // the client's
}

// Relay joins the connections of one socket with one worker.
type Relay struct {
	toWorker   *wire.Queue
	fromWorker *os.File

	tableMu sync.Mutex
	slots   []slot
	free    []uint32

	connsMu sync.Mutex
	conns   map[*conn]struct{}
	closing bool
	readers sync.WaitGroup
}

type conn struct {
	sock  *net.UnixConn
	out   *wire.Queue
	dirty bool // appended to since its last flush; link reader only
}

// New returns a relay for the worker that reads toWorker and writes fromWorker. The relay closes both.
func New(toWorker, fromWorker *os.File) (*Relay, error) {
	queue, err := wire.NewQueue(toWorker)
	if err != nil {
		return nil, fmt.Errorf("queue of the worker's pipe: %w", err)
	}
	return &Relay{toWorker: queue, fromWorker: fromWorker, conns: map[*conn]struct{}{}}, nil
}

// Run accepts connections and relays until parent ends, which is no error, or the worker's pipe does. It closes the listener, every
// connection and the pipes, and waits for its goroutines.
func (r *Relay) Run(parent context.Context, listener *net.UnixListener) error {
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	var parts sync.WaitGroup
	parts.Go(func() { stop(r.readWorker()) })
	parts.Go(func() { stop(r.accept(listener)) })
	<-ctx.Done()
	cause := context.Cause(ctx)
	if parent.Err() != nil {
		cause = nil
	}

	_ = listener.Close()
	_ = r.toWorker.Close()
	_ = r.fromWorker.Close()
	r.closeConns()
	parts.Wait()
	r.readers.Wait()
	return cause
}

func (r *Relay) accept(listener *net.UnixListener) error {
	for {
		sock, err := listener.AcceptUnix()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		out, err := wire.NewQueue(sock)
		if err != nil {
			_ = sock.Close()
			return fmt.Errorf("queue of a connection: %w", err)
		}
		c := &conn{sock: sock, out: out}
		r.connsMu.Lock()
		if r.closing {
			r.connsMu.Unlock()
			_ = sock.Close()
			return nil
		}
		r.conns[c] = struct{}{}
		r.readers.Go(func() { r.readConn(c) })
		r.connsMu.Unlock()
	}
}

func (r *Relay) closeConns() {
	r.connsMu.Lock()
	r.closing = true
	conns := slices.Collect(maps.Keys(r.conns))
	r.connsMu.Unlock()
	for _, c := range conns {
		_ = c.out.Close() // and not the socket alone: its reader may wait for a queue that nobody flushes any more
	}
}

// readConn ends with the connection, whatever ends it: a relay has nobody to tell.
func (r *Relay) readConn(c *conn) {
	defer func() {
		r.connsMu.Lock()
		delete(r.conns, c)
		r.connsMu.Unlock()
		_ = c.out.Close()
	}()
	buf := wire.NewBuffer(readSize)
	for {
		if c.out.WaitBelow(highWater) != nil || r.toWorker.WaitBelow(highWater) != nil {
			return
		}
		if buf.Fill(c.sock) != nil {
			return
		}
		if r.forward(c, buf) != nil {
			return
		}
		r.toWorker.Flush()
	}
}

// forward moves the whole frames of buf to the worker's queue, each with the id of a slot of its own.
func (r *Relay) forward(c *conn, buf *wire.Buffer) error {
	unread, done := buf.Unread(), 0
	if _, n, err := wire.Next(unread); n == 0 {
		return err
	}
	batch := r.toWorker.Begin()
	r.tableMu.Lock()
	var failed error
	for {
		frame, n, err := wire.Next(unread[done:])
		if n == 0 {
			failed = err
			break
		}
		wire.SetID(unread[done:], r.takeSlotLocked(c, frame.ID))
		done += n
	}
	r.tableMu.Unlock()
	r.toWorker.End(append(batch, unread[:done]...))
	buf.Skip(done)
	return failed
}

func (r *Relay) takeSlotLocked(c *conn, id uint32) uint32 {
	if n := len(r.free); n > 0 {
		index := r.free[n-1]
		r.free = r.free[:n-1]
		r.slots[index] = slot{conn: c, id: id}
		return index
	}
	r.slots = append(r.slots, slot{conn: c, id: id})
	return uint32(len(r.slots) - 1)
}

// readWorker returns when the worker's pipe has ended or spoken nonsense.
func (r *Relay) readWorker() error {
	buf := wire.NewBuffer(4 * readSize)
	var dirty []*conn  // touched by this read
	var ended []uint32 // slots answered by this read
	for {
		if err := buf.Fill(r.fromWorker); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read from worker: %w", err)
		}
		// An answer can only be to a request that left before it, whose slot was filled under the lock: this view holds it, even
		// when a conn reader replaces the array by a longer one.
		r.tableMu.Lock()
		slots := r.slots
		r.tableMu.Unlock()

		unread, done, run := buf.Unread(), 0, 0 // unread[run:done] goes to current
		var current *conn
		stream := false
		for {
			frame, n, err := wire.Next(unread[done:])
			if err != nil {
				return fmt.Errorf("read from worker: %w", err)
			}
			if n == 0 {
				break
			}
			if int(frame.ID) >= len(slots) || slots[frame.ID].conn == nil {
				return fmt.Errorf("worker answered id %d, which was not asked", frame.ID)
			}
			call := slots[frame.ID]
			if call.conn != current {
				dirty = deliver(current, unread[run:done], stream, dirty)
				current, run, stream = call.conn, done, false
			}
			wire.SetID(unread[done:], call.id)
			if frame.More {
				stream = true
			} else {
				ended = append(ended, frame.ID)
			}
			done += n
		}
		dirty = deliver(current, unread[run:done], stream, dirty)
		buf.Skip(done)

		r.tableMu.Lock()
		for _, index := range ended {
			r.slots[index].conn = nil
		}
		r.free = append(r.free, ended...)
		r.tableMu.Unlock()
		ended = ended[:0]
		dirty = flush(dirty)
	}
}

// deliver appends frames to c's queue. Those of a stream wait until the client has taken some, after all others were flushed.
func deliver(c *conn, frames []byte, stream bool, dirty []*conn) []*conn {
	if len(frames) == 0 {
		return dirty
	}
	if stream && c.out.Above(highWater) {
		dirty = flush(dirty)
		_ = c.out.WaitBelow(highWater) // a dead client's frames are dropped by Append
	}
	c.out.Append(frames)
	if !c.dirty {
		c.dirty = true
		dirty = append(dirty, c)
	}
	return dirty
}

func flush(dirty []*conn) []*conn {
	for i, c := range dirty {
		c.out.Flush()
		c.dirty = false
		dirty[i] = nil
	}
	return dirty[:0]
}

package load

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"os"
	"sync/atomic"
	"time"

	"supervisord/bench/internal/wire"
)

const (
	readSize    = 256 << 10
	verifyEvery = 256
)

// call is what a client knows of one call in flight.
type call struct {
	id    uint32
	busy  bool
	seq   uint32        // of the next chunk
	start time.Duration // since the window's base
}

// client is one connection. Its goroutine owns all but units.
type client struct {
	window *window
	kase   Case
	codec  codec
	sock   *net.UnixConn
	out    *wire.Queue // a queue, since a client that blocks in a write while the system waits for it to read would hang both
	calls  []call      // the low bits of an id are its index here
	mask   uint32
	busy   int
	seen   uint64 // messages, for verifyEvery
	hist   histogram
	units  atomic.Uint64
}

func newClient(w *window, kase Case, protocol Protocol, socket string) (*client, error) {
	sock, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	out, err := wire.NewQueue(sock)
	if err != nil {
		_ = sock.Close()
		return nil, err
	}
	c := &client{window: w, kase: kase, codec: newCodec(protocol, kase), sock: sock, out: out, calls: make([]call, kase.InFlight)}
	c.mask = 1<<bits.Len(uint(kase.InFlight-1)) - 1
	for i := range c.calls {
		c.calls[i].id = uint32(i)
	}
	return c, nil
}

// run calls until the window drains and every call was answered.
func (c *client) run() error {
	batch := c.out.Begin()
	for i := range c.calls {
		batch = c.send(batch, &c.calls[i], c.window.since())
	}
	c.out.End(batch)
	c.out.Flush()

	buf := wire.NewBuffer(readSize)
	for c.busy > 0 {
		if err := buf.Fill(c.sock); err != nil {
			return c.lost(err)
		}
		if err := c.consume(buf); err != nil {
			return err
		}
		c.out.Flush()
	}
	if len(buf.Unread()) > 0 {
		return fmt.Errorf("%d bytes behind the last answer", len(buf.Unread()))
	}
	return nil
}

func (c *client) lost(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%d of %d calls were never answered", c.busy, len(c.calls))
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read with %d calls in flight: %w", c.busy, err)
}

// consume takes the whole messages of buf and queues the requests that they trigger.
func (c *client) consume(buf *wire.Buffer) error {
	now, phase := c.window.since(), c.window.phase.Load()
	var units uint64
	batch := c.out.Begin()
	defer func() {
		c.out.End(batch)
		c.units.Add(units)
	}()
	for {
		m, n, err := c.codec.next(buf.Unread())
		if n == 0 {
			return err
		}
		counts, k, err := c.take(m)
		if err != nil {
			return err
		}
		if counts {
			units++
		}
		if m.kind == anAnswer {
			if phase == measuring {
				c.hist.add(now - k.start)
			}
			if phase != draining {
				batch = c.send(batch, k, now)
			}
		}
		buf.Skip(n)
	}
}

// take checks one message and reports whether it counts and whose it is.
func (c *client) take(m message) (counts bool, k *call, err error) {
	if i := m.id & c.mask; int(i) < len(c.calls) {
		k = &c.calls[i]
	}
	if k == nil || !k.busy || k.id != m.id {
		return false, nil, fmt.Errorf("message for id %d, which is not in flight: a second answer, or one nobody asked for", m.id)
	}
	chunks := uint32(c.kase.Chunks)
	if m.kind == aChunk {
		switch {
		case m.seq != k.seq:
			return false, nil, fmt.Errorf("chunk %d of id %d, want %d", m.seq, m.id, k.seq)
		case k.seq >= chunks && (k.seq > chunks || !c.codec.isEnd(m)):
			return false, nil, fmt.Errorf("chunk %d of id %d is beyond the %d asked for", m.seq, m.id, chunks)
		}
		k.seq++
	} else {
		if err := c.checkEnd(m, k); err != nil {
			return false, nil, err
		}
		k.busy = false
		c.busy--
	}
	counts = (m.kind == aChunk) == (chunks > 0) && (m.kind == anAnswer || k.seq <= chunks)
	c.seen++
	if counts && c.seen%verifyEvery == 1 {
		return counts, k, c.codec.verify(m)
	}
	return counts, k, nil
}

func (c *client) checkEnd(m message, k *call) error {
	if c.kase.Chunks == 0 {
		return nil
	}
	told, err := c.codec.chunks(m)
	switch {
	case err != nil:
		return err
	case told != k.seq:
		return fmt.Errorf("answer to id %d counts %d chunks, %d came", m.id, told, k.seq)
	case int(k.seq) < c.kase.Chunks:
		return fmt.Errorf("stream of id %d ended after %d of %d chunks", m.id, k.seq, c.kase.Chunks)
	}
	return nil
}

func (c *client) send(batch []byte, k *call, now time.Duration) []byte {
	k.id = (k.id + c.mask + 1) & maxID
	k.busy, k.seq, k.start = true, 0, now
	c.busy++
	return c.codec.appendRequest(batch, k.id)
}

// maxID keeps ids within the nine digits that glance reads.
const maxID = 1<<29 - 1

package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"supervisord/protocol"
)

// lastWords is how long the reader goes on after a failed write: a daemon that refuses a connection says why and closes.
const lastWords = time.Second

// DefaultSocket is where a daemon is expected: $SUPERVISORD_SOCKET, else, for a user other than root,
// $XDG_RUNTIME_DIR/supervisord.sock unless only the system's is there, else /run/supervisord/supervisord.sock.
func DefaultSocket() string {
	const system = "/run/supervisord/supervisord.sock"
	if path := os.Getenv("SUPERVISORD_SOCKET"); path != "" {
		return path
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" || os.Geteuid() == 0 {
		return system
	}
	own := filepath.Join(dir, "supervisord.sock")
	if exists(system) && !exists(own) {
		return system
	}
	return own
}

func exists(path string) bool {
	_, err := os.Lstat(path) //nolint:gosec // a look, no more, at a path of the user's own
	return err == nil
}

// Client is a connection to a daemon. It is safe for concurrent use.
type Client struct {
	conn   net.Conn
	output output

	// tasks are the reader and the goroutines that ask for a cancel because a context has ended.
	tasks sync.WaitGroup

	mu     sync.Mutex
	lastID uint64
	calls  map[uint64]*call // those without an answer
	err    error            // what ended the connection; nothing is called after it
}

// call is one request that waits for its answer.
type call struct {
	id     uint64
	done   chan struct{} // closed once result or err is set
	result []byte
	err    error
	stream *Stream // nil where no chunks are wanted
}

// Dial connects to the daemon at the Unix socket path; empty is DefaultSocket. ctx bounds the connecting alone.
func Dial(ctx context.Context, path string) (*Client, error) {
	if path == "" {
		path = DefaultSocket()
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return New(conn), nil
}

// New returns a Client on a connection that exists already, which it owns from then on.
func New(conn net.Conn) *Client {
	c := &Client{conn: conn, calls: make(map[uint64]*call)}
	c.output.w = conn
	c.tasks.Go(c.read)
	return c
}

// Close ends the connection and with it, by ErrClosed, every call that has no answer yet; the daemon cancels the jobs of
// a caller that has left. It waits for the reader and returns nil, also when called again.
func (c *Client) Close() error {
	c.mu.Lock()
	first := c.err == nil || !errors.Is(c.err, ErrClosed)
	if first {
		c.err = ErrClosed
	}
	streams := make([]*Stream, 0, len(c.calls))
	for _, k := range c.calls {
		if k.stream != nil {
			streams = append(streams, k.stream)
		}
	}
	c.mu.Unlock()
	if first {
		_ = c.conn.Close() // nothing is lost by it: every call without an answer gets ErrClosed
	}
	for _, s := range streams {
		s.discard(nil) // so that the reader does not wait for its consumer
	}
	c.tasks.Wait()
	return nil
}

// Call calls any method of the daemon. params is what encoding/json takes, a json.RawMessage as the bytes it is, nil for
// none; result is decoded into by encoding/json, or nil to drop it. A *json.RawMessage gets the bytes as they came.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	encoded, err := encode(params, protocol.MaxDepth-1)
	if err != nil {
		return fmt.Errorf("client: params of %s: %w", method, err)
	}
	k, err := c.begin(ctx, method, encoded, nil)
	if err != nil {
		return err
	}
	raw, err := c.wait(ctx, k)
	if err != nil {
		return err
	}
	return decodeResult(method, raw, result)
}

// begin sends a request, with a stream where its chunks are wanted.
func (c *Client) begin(ctx context.Context, method string, params []byte, stream *Stream) (*call, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	k := &call{done: make(chan struct{}), stream: stream}
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return nil, c.err
	}
	c.lastID++
	k.id = c.lastID
	c.calls[k.id] = k
	c.mu.Unlock()
	c.write(request(k.id, method, params))
	return k, nil
}

// wait waits for the answer, and asks for a cancel when ctx ends before it.
func (c *Client) wait(ctx context.Context, k *call) ([]byte, error) {
	var cause error
	select {
	case <-k.done:
	case <-ctx.Done():
		cause = context.Cause(ctx)
		c.cancel(k.id)
		<-k.done
	}
	return k.result, withCause(k.err, cause)
}

func (c *Client) cancel(id uint64) {
	c.write(fmt.Appendf(nil, `{"jsonrpc":"2.0","method":%q,"params":{"id":%d}}`+"\n", protocol.NotificationCancelRequest, id))
}

func (c *Client) write(message []byte) {
	if err := c.output.send(message); err != nil {
		// The reader ends by itself and knows more, but must not wait for ever.
		_ = c.conn.SetReadDeadline(time.Now().Add(lastWords))
	}
}

// read handles lines until the connection ends, and then ends every call.
func (c *Client) read() {
	err := c.readLines()
	_ = c.conn.Close() // it is of no use any more

	c.mu.Lock()
	if c.err == nil {
		c.err = fmt.Errorf("%w: %w", ErrLost, err)
	}
	err = c.err
	calls := c.calls
	c.calls = nil
	c.mu.Unlock()
	for _, k := range calls {
		c.finish(k, nil, err)
	}
}

func (c *Client) readLines() error {
	lines := newLineReader(c.conn)
	var m message
	for {
		line, err := lines.next()
		if err != nil {
			return err
		}
		if err := m.decode(line); err != nil {
			return err
		}
		if err := c.handle(&m); err != nil {
			return err
		}
	}
}

// handle takes one message, which is valid until it returns.
func (c *Client) handle(m *message) error {
	switch m.kind {
	case kindChunk, kindProgress:
		if s := c.streamOf(m.id); s != nil {
			return s.take(m)
		}
		return nil // of a call that has been answered: not the daemon's way, and nobody's any more
	case kindAnswer:
		k := c.remove(m.id)
		if k == nil {
			return nil
		}
		result, err := m.outcome()
		c.finish(k, result, err)
	case kindRefusal:
		// An error that names no call: the daemon takes no connection more, or could not read a request. Whose it was
		// cannot be known, and a call that waits for ever is worse than a connection lost.
		_, err := m.outcome()
		return err
	case kindOther:
	}
	return nil
}

func (c *Client) streamOf(id uint64) *Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.calls[id]; k != nil {
		return k.stream
	}
	return nil
}

func (c *Client) remove(id uint64) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.calls[id]
	delete(c.calls, id)
	return k
}

// finish ends a call that is no longer in calls.
func (c *Client) finish(k *call, result []byte, err error) {
	k.result, k.err = result, err
	if k.stream != nil {
		k.stream.end(result, err)
	}
	close(k.done)
}

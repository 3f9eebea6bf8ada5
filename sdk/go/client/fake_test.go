package client_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"supervisord/sdk/go/client"
)

// patience is how long a test waits for what must happen; never how long it takes.
const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// request is what the fake daemon reads.
type request struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	line   string
}

// peer is the fake daemon's side of one connection. Its methods fail the test by panicking with a message that serve
// reports, since they run on the daemon's goroutine.
type peer struct {
	net.Conn
	lines *bufio.Scanner
}

func newPeer(conn net.Conn) *peer {
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 64<<20)
	return &peer{Conn: conn, lines: lines}
}

type peerFailure string

// plugin is the name in the params of execute.
func (r *request) plugin() string {
	var params struct {
		PluginName string `json:"plugin_name"`
	}
	_ = json.Unmarshal(r.Params, &params) // what is no execute names none
	return params.PluginName
}

// next reads one request.
func (p *peer) next() request {
	r, ok := p.tryNext()
	if !ok {
		panic(peerFailure(fmt.Sprintf("the client sent no request: %v", p.lines.Err())))
	}
	return r
}

// tryNext is next that reports false at the end of the connection.
func (p *peer) tryNext() (request, bool) {
	if !p.lines.Scan() {
		return request{}, false
	}
	r := request{line: p.lines.Text()}
	if err := json.Unmarshal(p.lines.Bytes(), &r); err != nil {
		panic(peerFailure(fmt.Sprintf("the client sent %q: %v", r.line, err)))
	}
	return r, true
}

// want reads one request, which must be of the method.
func (p *peer) want(method string) request {
	r := p.next()
	if r.Method != method {
		panic(peerFailure(fmt.Sprintf("the client called %s, want %s", r.Method, method)))
	}
	return r
}

// wantCancel reads one notification, which must ask to cancel r.
func (p *peer) wantCancel(r request) {
	c := p.want("$/cancelRequest")
	if want := fmt.Sprintf(`{"id":%s}`, r.ID); string(c.Params) != want || c.ID != nil {
		panic(peerFailure(fmt.Sprintf("the client sent %s, want params %s and no id", c.line, want)))
	}
}

func (p *peer) send(format string, args ...any) {
	if _, err := fmt.Fprintf(p, format+"\n", args...); err != nil && !errors.Is(err, net.ErrClosed) {
		panic(peerFailure(fmt.Sprintf("write to the client: %v", err)))
	}
}

func (p *peer) answer(r request, result string) {
	p.send(`{"jsonrpc":"2.0","id":%s,"result":%s}`, r.ID, result)
}

func (p *peer) succeed(r request, data string, chunks int) {
	p.answer(r, fmt.Sprintf(`{"job_id":"j1","status":"success","data":%s,"chunks":%d}`, data, chunks))
}

func (p *peer) refuse(r request, code int, kind string) {
	p.send(`{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":"said by the test","data":{"kind":%q,"retryable":false,"job_id":"j1"}}}`, r.ID, code, kind)
}

func (p *peer) chunk(r request, seq int, value string) {
	p.send(`{"jsonrpc":"2.0","method":"stream.chunk","params":{"job_id":"j1","request_id":%s,"seq":%d,"chunk":%s,"is_final":false,"metadata":{}}}`, r.ID, seq, value)
}

// serve runs a fake daemon until the test ends: script for each connection, then the connection is closed.
func serve(t testing.TB, script func(p *peer)) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sv")
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				defer func() {
					switch failure := recover().(type) {
					case nil:
					case peerFailure:
						t.Error(failure)
					default:
						panic(failure)
					}
				}()
				_ = conn.SetDeadline(time.Now().Add(patience))
				script(newPeer(conn))
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
		os.RemoveAll(dir)
	})
	return socket
}

// connect starts a fake daemon and connects to it until the test ends.
func connect(t testing.TB, script func(p *peer)) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), serve(t, script))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// texts reads a stream to its end.
func texts(s *client.Stream) (string, error) {
	var b strings.Builder
	for chunk, err := range s.Chunks() {
		if err != nil {
			return b.String(), err
		}
		text, _ := chunk.Text()
		b.WriteString(text)
	}
	return b.String(), nil
}

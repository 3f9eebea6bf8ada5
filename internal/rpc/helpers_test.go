package rpc_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"supervisord/internal/rpc"
)

// patience is how long a test waits for something that has to happen.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	before := descriptors()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if after := descriptors(); code == 0 && after > before+2 { // the poller's own
			fmt.Fprintf(os.Stderr, "%d descriptors before the tests, %d after them\n", before, after)
			code = 1
		}
		os.Exit(code) //nolint:forbidigo // as testing does
	}))
}

func descriptors() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(list)
}

// daemon is a server on a socket of its own.
type daemon struct {
	*backend
	path   string
	server *rpc.Server
	logs   *observer.ObservedLogs
}

// start starts a daemon, which ends with the test. change may change its options.
func start(t testing.TB, change ...func(*rpc.Options)) *daemon {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	d := &daemon{backend: newBackend(), path: socketPath(t), logs: logs}
	var err error
	if d.server, err = rpc.New(options(t, d.backend, zap.New(core), change...)); err != nil {
		t.Fatal(err)
	}
	l, err := rpc.Listen(d.path, 0o666, "")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.server.Serve(context.Background(), l.UnixListener) }() //nolint:usetesting // outlives the test's own
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := receive(t, served, "end of Serve"); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // as above
		cancel()
		d.server.Close(ctx)
		made, answers, left := d.counts()
		if answers+left < made {
			t.Errorf("of %d jobs %d were answered and %d left", made, answers, left)
		}
	})
	return d
}

// options are those of start, changed.
func options(t testing.TB, b *backend, log *zap.Logger, change ...func(*rpc.Options)) rpc.Options {
	t.Helper()
	o := rpc.Options{
		MaxConnections: 100, MaxConnectionsPerUID: 50, MaxInFlight: 256, MaxInFlightPerUID: 4096, MaxQueuedBytes: 256 << 20,
		MaxMessage: 1 << 20, MaxBatch: 1000, OutputBuffer: 1 << 20, SlowClientTimeout: 30 * time.Second,
		Version: "1.2.3", Access: access(t), Backend: b, Log: log,
	}
	for _, f := range change {
		f(&o)
	}
	return o
}

// socketPath is a path for a socket in a short directory, which others may pass.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "s")
}

// client is one connection to a daemon.
type client struct {
	t  testing.TB
	nc *net.UnixConn
	r  *bufio.Reader
}

func (d *daemon) dial(t testing.TB) *client {
	t.Helper()
	nc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: d.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, nc)
}

func newClient(t testing.TB, nc *net.UnixConn) *client {
	t.Helper()
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, nc: nc, r: bufio.NewReaderSize(nc, 64<<10)}
}

// send writes bytes as they are.
func (c *client) send(parts ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, strings.Join(parts, "")); err != nil {
		c.t.Fatal(err)
	}
}

// line is the next line, without its end.
func (c *client) line() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("after %.300q: %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// want reads one line for each text, which has to be that text.
func (c *client) want(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		if got := c.line(); got != want {
			c.t.Fatalf("got  %.1000s\nwant %.1000s", got, want)
		}
	}
}

// wantLike reads one line for each text, which has to hold everything that the text holds.
func (c *client) wantLike(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		if got := c.line(); !like(parse(c.t, got), parse(c.t, want)) {
			c.t.Fatalf("got     %.1000s\nwant in %.1000s", got, want)
		}
	}
}

// rest is all that comes until the daemon closes.
func (c *client) rest() string {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("after %.300q: %v", b, err)
	}
	return string(b)
}

// wantClosed reads to the end, before which nothing must come.
func (c *client) wantClosed() {
	c.t.Helper()
	if rest := c.rest(); rest != "" {
		c.t.Fatalf("got %.1000q before the end", rest)
	}
}

func (c *client) closeWrite() {
	c.t.Helper()
	if err := c.nc.CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) close() {
	c.t.Helper()
	if err := c.nc.Close(); err != nil {
		c.t.Fatal(err)
	}
}

// ping proves that the connection lives and owes nothing.
func (c *client) ping() {
	c.t.Helper()
	c.send(`{"jsonrpc":"2.0","id":"ping","method":"daemon.ping"}`)
	c.want(`{"jsonrpc":"2.0","id":"ping","result":{}}`)
}

// alone returns when the daemon has no other connection any more.
func (c *client) alone() {
	c.t.Helper()
	for {
		c.send(call(`"status"`, "daemon.status", ""))
		if strings.Contains(c.line(), `"connections":1,`) {
			return
		}
	}
}

// call is a request of a method.
func call(id, method, params string) string {
	if params != "" {
		params = `,"params":` + params
	}
	if id != "" {
		id = `"id":` + id + `,`
	}
	return `{"jsonrpc":"2.0",` + id + `"method":"` + method + `"` + params + "}\n"
}

// run is an execute of a plugin; members stand beside plugin_name.
func run(id, plugin, members string) string {
	if members != "" {
		members = "," + members
	}
	return call(id, "execute", `{"plugin_name":"`+plugin+`"`+members+`}`)
}

func cancel(id string) string { return call("", "$/cancelRequest", `{"id":`+id+`}`) }

// framed is a message behind its header.
func framed(message string) string {
	return "Content-Length: " + strconv.Itoa(len(message)) + "\r\n\r\n" + message
}

// readFramed reads a message whose header is Content-Length alone.
func (c *client) readFramed() string {
	c.t.Helper()
	header, ok := strings.CutPrefix(c.line(), "Content-Length: ")
	n, err := strconv.Atoi(strings.TrimSuffix(header, "\r"))
	if !ok || err != nil || !strings.HasSuffix(header, "\r") {
		c.t.Fatalf("header %q", header)
	}
	c.want("\r")
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// parse reads JSON with numbers as their text.
func parse(t testing.TB, s string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %.300q", err, s)
	}
	return v
}

// like reports whether got has everything that want has: objects may have further members.
func like(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			return false
		}
		for name, value := range want {
			if have, ok := got[name]; !ok || !like(have, value) {
				return false
			}
		}
		return true
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) != len(want) {
			return false
		}
		for i := range want {
			if !like(got[i], want[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(got, want)
}

// receive waits for what has to come.
func receive[T any](t testing.TB, from <-chan T, what string) (x T) {
	t.Helper()
	select {
	case x = <-from:
	case <-time.After(patience):
		t.Fatalf("no %s", what)
	}
	return x
}

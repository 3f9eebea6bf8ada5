package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sourcegraph/jsonrpc2"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"supervisord/internal/outq"
	"supervisord/protocol"
)

// hangupInterval is how often a connection whose client has stopped sending, and that still owes answers, is asked
// whether anybody is left to read them. Nothing else in the daemon polls.
const hangupInterval = 100 * time.Millisecond

// keepOutput is the largest output buffer that a connection keeps while it is idle.
const keepOutput = 256 << 10

// conn is one connection.
type conn struct {
	s      *Server
	nc     *net.UnixConn
	peer   *Peer
	user   *userCount
	log    *zap.Logger
	out    *outq.Queue
	window int           // see streamWindow
	ended  chan struct{} // closed when its reader is done with it

	// What the connection was opened with, as in Options; the other limits are those of the moment.
	maxMessage, outputBuffer int
	slowTimeout              time.Duration

	// The reader goroutine's.
	in      reader
	set     outq.Set
	skipped []uint64 // numbers of control calls that ReadObject has still to hand to the Conn

	// Between OnSend and WriteObject, under the Conn's own lock.
	sent *jsonrpc2.Response

	waits sync.WaitGroup // goroutines of methods that wait

	answering atomic.Int32 // requests that have left, and whose answers are about to be queued
	finishing atomic.Bool  // the reader waits, or will wait, for quiet
	batched   atomic.Int64 // bytes of answers that wait for the rest of their batches
	kept      atomic.Int64 // bytes of answers that jobs keep until chunks before them have been taken

	mu       sync.Mutex
	calls    map[string]inFlight // by raw id, or by a number of ours for notifications
	controls map[uint64]*control
	next     uint64        // number of the next control or notification
	quiet    chan struct{} // closed when all is answered; nil while nobody waits for that
	waiting  []*call       // those whose chunk was refused, in the order in which they are fed
	failure  error         // why writing has ended
}

// inFlight is a request that has not been answered. Its methods are called by the reader goroutine.
type inFlight interface {
	// cancelRequest ends it because its client says so.
	cancelRequest()
	// abandon ends it because its connection has; tooSlow says that the client did not read, and how much.
	abandon(tooSlow bool, unsent int64)
}

// cancelRequest implements inFlight.
func (k *call) cancelRequest() { k.job.Cancel(protocol.ByCaller, false, &k.c.set) }

// newConn makes a connection, which runs until the client or the server ends it.
func newConn(s *Server, o *Options, nc *net.UnixConn, peer *Peer) *conn {
	c := &conn{
		s: s, nc: nc, peer: peer, ended: make(chan struct{}),
		log:        s.log.With(zap.Uint32("uid", peer.UID), zap.Int("pid", peer.PID)),
		window:     min(streamWindow, o.OutputBuffer),
		maxMessage: o.MaxMessage, outputBuffer: o.OutputBuffer, slowTimeout: o.SlowClientTimeout,
		calls:    map[string]inFlight{},
		controls: map[uint64]*control{},
	}
	c.in = reader{r: outq.NewSource(nc, c.beforeWait), limit: c.maxMessage}
	c.out = outq.New(nc, outq.Options{Stall: c.slowTimeout, Keep: keepOutput, Room: c.room, Failed: c.failed})
	return c
}

// beforeWait sends what the last reads led to, and waits while the client leaves too much unread.
func (c *conn) beforeWait() error {
	c.set.Flush()
	return c.out.WaitBelow(c.outputBuffer)
}

// enter counts a request and makes it known by its id; key is what leave takes.
func (c *conn) enter(key *string, id string, f inFlight) *protocol.Error {
	limits := c.s.now.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	*key = id
	if _, taken := c.calls[id]; id == "" || (taken && id == "null") {
		c.next++
		*key = id + "#" + strconv.FormatUint(c.next, 10) // no id looks like that
	} else if taken {
		return invalidFault(nil, "a request with this id is in flight").err
	}
	if limits.MaxInFlight > 0 && len(c.calls) >= limits.MaxInFlight {
		return tooManyInFlight()
	}
	if !c.user.enter(limits.MaxInFlightPerUID) {
		return tooManyInFlight()
	}
	c.calls[*key] = f
	return nil
}

// leastRetry is what a client is told to wait that has as many requests in flight as it may.
const leastRetry = 100 * time.Millisecond

func tooManyInFlight() *protocol.Error {
	err := protocol.NewError(protocol.CodeOverloaded, "too many requests in flight")
	err.Data.Limit, err.Data.RetryAfterMS = protocol.LimitInFlight, protocol.Milliseconds(leastRetry)
	return err
}

// leave takes a request out of what is in flight, before its answer is queued: its id may then be used again. When it is
// queued, or never will be, answered is called.
func (c *conn) leave(key string) {
	c.mu.Lock()
	_, entered := c.calls[key] // not so after teardown, which has counted it out
	delete(c.calls, key)
	c.answering.Add(1)
	c.mu.Unlock()
	if entered {
		c.user.leave(1)
	}
}

// answered says that the answer of a request that has left is queued.
func (c *conn) answered() {
	if c.answering.Add(-1) > 0 || !c.finishing.Load() {
		return
	}
	c.mu.Lock()
	if c.quiet != nil && c.quietLocked() {
		close(c.quiet)
		c.quiet = nil
	}
	c.mu.Unlock()
}

// quietLocked reports whether every answer is at least queued.
func (c *conn) quietLocked() bool { return len(c.calls) == 0 && c.answering.Load() == 0 }

// cancelRequest ends what a client named by its id. What is not in flight is answered already, or was never asked.
func (c *conn) cancelRequest(params []byte) bool {
	byName, err := members(params, "id")
	if err != nil || byName["id"] == nil {
		return false
	}
	c.mu.Lock()
	f := c.calls[string(byName["id"])]
	c.mu.Unlock()
	if f == nil {
		return false
	}
	f.cancelRequest()
	return true
}

// wait notes that a call is to be fed when there is room.
func (c *conn) wait(k *call) {
	c.mu.Lock()
	if !k.waits {
		k.waits = true
		c.waiting = append(c.waiting, k)
	}
	c.mu.Unlock()
}

// room feeds the streams that were refused. What they append is written along by whoever has called.
func (c *conn) room() {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	for _, k := range waiting {
		k.waits = false
	}
	c.mu.Unlock()
	if len(waiting) == 0 {
		return
	}
	var set outq.Set
	// The first one takes all the room there is, and is then the first to be refused: so that the others get theirs,
	// another one is first the next time.
	for _, k := range waiting[1:] {
		k.job.Feed(&set)
	}
	waiting[0].job.Feed(&set)
}

// unsent is how many bytes wait for the client.
func (c *conn) unsent() int { return c.out.Size() + int(c.batched.Load()+c.kept.Load()) }

// failed notes why writing has ended, and ends reading. It may be the reader that has flushed and finds out: closing the
// connection, which waits for the reader, would then wait for ever.
func (c *conn) failed(err error) {
	c.mu.Lock()
	c.failure = err
	c.mu.Unlock()
	_ = c.nc.CloseRead() // wakes the reader, which does the rest; fails where it has
}

// awaitAnswers is called when the client has stopped sending: it may still be reading. It returns when all is answered
// and sent, or nobody is left to read it.
func (c *conn) awaitAnswers() {
	c.set.Flush()
	c.finishing.Store(true)
	ticker := time.NewTicker(hangupInterval)
	defer ticker.Stop()
	for {
		c.mu.Lock()
		if c.failure != nil {
			c.mu.Unlock()
			return
		}
		if c.quietLocked() {
			c.mu.Unlock()
			_ = c.out.WaitBelow(0) // its error is c.failure
			return
		}
		if c.quiet == nil {
			c.quiet = make(chan struct{})
		}
		quiet := c.quiet
		c.mu.Unlock()
		if c.hungUp() {
			return
		}
		select {
		case <-quiet:
		case <-ticker.C:
		case <-c.s.cut:
			return
		}
	}
}

// hungUp reports whether the client has closed both directions.
func (c *conn) hungUp() bool {
	raw, err := c.nc.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}} //nolint:gosec // a descriptor fits
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
	})
	return gone || err != nil
}

// teardown is the end of the connection, for the reason err: nobody reads what it asked for any more.
func (c *conn) teardown(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, errLost) || errors.Is(err, os.ErrDeadlineExceeded) {
		c.awaitAnswers()
	}
	c.out.End()
	unsent := int64(c.out.Lost())
	_ = c.nc.Close()
	c.out.Wait()
	c.mu.Lock()
	calls := c.calls
	c.calls = map[string]inFlight{}
	failure := c.failure
	c.mu.Unlock()
	c.user.leave(len(calls))
	for _, f := range calls {
		f.abandon(errors.Is(failure, outq.ErrStalled), unsent)
	}
	c.set.Flush()
	c.waits.Wait()
	c.log.Debug("connection closed", zap.NamedError("reason", errors.Join(err, failure)))
	close(c.ended)
}

// abandon implements inFlight.
func (k *call) abandon(tooSlow bool, unsent int64) {
	switch {
	case !k.job.Leave():
	case tooSlow:
		k.job.TooSlow(unsent, &k.c.set)
	default:
		k.job.Cancel(protocol.ByDisconnect, false, &k.c.set)
	}
}

// serve runs the connection until its end. The Conn's goroutine is its reader.
func (c *conn) serve(ctx context.Context) {
	rpc := jsonrpc2.NewConn(ctx, (*stream)(c), (*stream)(c), jsonrpc2.OnSend((*stream)(c).onSend), jsonrpc2.SetLogger(connLogger{c.log}))
	<-c.ended
	<-rpc.DisconnectNotify()
}

// connLogger takes what the library has to say of a connection: never more than debug, since it is the client's doing.
type connLogger struct{ log *zap.Logger }

// Printf implements jsonrpc2.Logger.
func (l connLogger) Printf(format string, v ...any) {
	l.log.Debug("jsonrpc2", zap.String("text", fmt.Sprintf(format, v...)))
}

package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"supervisord/protocol"
)

// Options are what a Server needs. Counts of 0 are no limit. Reconfigure can change all but Version, Backend and Log.
type Options struct {
	MaxConnections       int
	MaxConnectionsPerUID int
	// MaxInFlight is how many unanswered requests a connection may have, batch elements counted.
	MaxInFlight       int
	MaxInFlightPerUID int
	// MaxQueuedBytes is only told to clients: the scheduler keeps it.
	MaxQueuedBytes int64
	// MaxMessage is the longest message of a client in bytes.
	MaxMessage int
	MaxBatch   int
	// OutputBuffer is how many bytes a connection may have unsent before it is no longer read from.
	OutputBuffer int
	// SlowClientTimeout is how long a client may take nothing of what waits for it; 0: for ever.
	SlowClientTimeout time.Duration
	// Version is the daemon's.
	Version string
	Access  *Access
	Backend Backend
	// Invalid is what all methods answer but those about the daemon, because its configuration is invalid; nil: it is not.
	Invalid *protocol.Error
	Log     *zap.Logger
}

// Server serves clients on a listener. It is safe for concurrent use.
type Server struct {
	version string
	backend Backend
	log     *zap.Logger
	served  []string                // methods
	now     atomic.Pointer[Options] // what holds for new requests and connections; never changed, only replaced
	refused refusals
	users   users
	cut     chan struct{} // closed by cutOff when connections are to end at once
	cutOff  func()

	mu      sync.Mutex
	conns   map[*conn]struct{}
	closing bool
	serving sync.WaitGroup // goroutines of connections
}

// New makes a server.
func New(o Options) (*Server, error) {
	if o.Backend == nil || o.Log == nil {
		return nil, errors.New("a server needs a backend and a logger")
	}
	s := &Server{
		version: o.Version, backend: o.Backend, log: o.Log, served: served(),
		conns: map[*conn]struct{}{}, cut: make(chan struct{}),
	}
	s.cutOff = sync.OnceFunc(func() { close(s.cut) })
	if err := s.Reconfigure(o); err != nil {
		return nil, err
	}
	return s, nil
}

// Reconfigure lets other options hold, as a whole: every request that is read after it has returned is judged by them
// alone. Requests in flight go on. A connection keeps the sizes and the timeout that it was opened with (MaxMessage,
// OutputBuffer, SlowClientTimeout), and stays open where there are now more than there may be. Version, Backend and Log
// are those of New. After an error nothing has changed.
func (s *Server) Reconfigure(o Options) error {
	if o.MaxMessage < 1 || o.OutputBuffer < 1 || o.Access == nil {
		return errors.New("a server needs a message size, an output buffer and access rules")
	}
	s.now.Store(&o)
	return nil
}

// Accepting again is tried after acceptPause when the daemon is short of descriptors or memory, and then less and less
// often, so that a shortage costs no processor time.
const (
	acceptPause    = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// Serve accepts connections until the listener is closed, then returns nil. No fault of one connection ends it.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	pause := acceptPause
	for {
		nc, err := l.AcceptUnix()
		switch {
		case err == nil:
			pause = acceptPause
			s.accept(ctx, nc)
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			s.log.Error("cannot accept connections for now", zap.Error(err), zap.Duration("pause", pause))
			select {
			case <-time.After(pause):
			case <-s.cut:
			}
			pause = min(2*pause, maxAcceptPause)
		default:
			return fmt.Errorf("accept connections: %w", err)
		}
	}
}

// accept begins to serve a connection, or refuses it with an error that its client can read.
func (s *Server) accept(ctx context.Context, nc *net.UnixConn) {
	peer, err := peerOf(nc)
	if err != nil {
		s.refused.add(s.log, time.Now(), err.Error())
		_ = nc.Close() // nothing was written
		return
	}
	o := s.now.Load()
	c := newConn(s, o, nc, peer)
	s.mu.Lock()
	if !s.closing && (o.MaxConnections == 0 || len(s.conns) < o.MaxConnections) {
		c.user = s.users.connect(c.peer.UID, o.MaxConnectionsPerUID)
	}
	if c.user != nil {
		s.conns[c] = struct{}{}
		s.serving.Go(func() {
			c.serve(ctx)
			s.remove(c)
		})
	}
	s.mu.Unlock()
	if c.user == nil {
		c.turnAway()
	}
}

// turnAway ends a connection that is one too many. It does not wait: the socket's buffer is empty and takes the line.
func (c *conn) turnAway() {
	err := protocol.NewError(protocol.CodeOverloaded, "too many connections")
	err.Data.Limit, err.Data.RetryAfterMS = protocol.LimitConnections, protocol.Milliseconds(leastRetry)
	c.refuse(&fault{err: err}, reply{}, &c.set)
	c.set.Flush()
	c.out.End()
	_ = c.nc.Close()
	c.out.Wait()
	c.s.refused.add(c.log, time.Now(), err.Message)
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.users.disconnect(c.peer.UID)
}

func (s *Server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Close reads no more requests, sends what is answered already, and ends all connections; those that do not take their
// answers before ctx has ended are cut. The listener is its owner's. It may be called again.
func (s *Server) Close(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	for c := range s.conns {
		_ = c.nc.SetReadDeadline(time.Unix(0, 1)) // fails where it is closed already
	}
	s.mu.Unlock()
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cut)
		s.cutOff()
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			_ = c.nc.Close() // as above
		}
	})
	s.serving.Wait()
	if stop() {
		s.cutOff()
	} else {
		<-cut
	}
	s.refused.flush(s.log)
}

package floor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"supervisord/bench/internal/wire"
)

// burst is how many bytes of chunks are gathered before a write: what a pipe of the kernel's default size holds.
const burst = 64 << 10

// fd is a blocking descriptor used without Go's poller, which spares a wait in epoll for each batch.
type fd int

func (f fd) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(f), p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("read: %w", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (f fd) writeAll(p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(int(f), p)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		p = p[n:]
	}
	return nil
}

// readable reports whether a read would return at once.
func (f fd) readable() (bool, error) {
	fds := []unix.PollFd{{Fd: int32(f), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return n > 0, err
		}
	}
}

type stream struct {
	id, next, chunks uint32
	frame            []byte // the chunk's frame, its number patched for each
}

// Serve answers the requests that come on descriptor in on descriptor out, both blocking, until in ends: all of one read in one
// write, and the chunks of concurrent streams in turns.
func Serve(in, out int) error {
	buf := wire.NewBuffer(4 * readSize)
	var streams []*stream
	var answers []byte
	for {
		wanted := true
		if len(streams) > 0 {
			var err error
			if wanted, err = fd(in).readable(); err != nil {
				return fmt.Errorf("poll requests: %w", err)
			}
		}
		if wanted {
			switch err := buf.Fill(fd(in)); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			}
		}
		answers = answers[:0]
		for {
			request, n, err := wire.Next(buf.Unread())
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			if len(request.Payload) > 0 && request.Payload[0] == opStream {
				s, err := newStream(request)
				if err != nil {
					return err
				}
				streams = append(streams, s)
			} else {
				answers = append(answers, buf.Unread()[:n]...)
			}
			buf.Skip(n)
		}
		answers, streams = advance(answers, streams)
		if err := fd(out).writeAll(answers); err != nil {
			return err
		}
	}
}

func newStream(request wire.Frame) (*stream, error) {
	chunks, size, err := parseStream(request.Payload)
	if err != nil {
		return nil, err
	}
	s := &stream{id: request.ID, chunks: chunks}
	s.frame = wire.AppendHeader(nil, int(size), request.ID, true)
	for range size {
		s.frame = append(s.frame, 'x')
	}
	return s, nil
}

// advance appends one burst of the first stream's chunks and moves that stream to the end, or drops it when it has ended. Turns of
// a whole burst are what costs least: with an equal share of each burst for every stream, 16 of them cost half as much again.
func advance(answers []byte, streams []*stream) ([]byte, []*stream) {
	if len(streams) == 0 {
		return answers, streams
	}
	s := streams[0]
	copy(streams, streams[1:])
	streams = streams[:len(streams)-1]
	for s.next < s.chunks && len(answers) < burst {
		binary.BigEndian.PutUint32(s.frame[wire.HeaderSize:], s.next)
		answers = append(answers, s.frame...)
		s.next++
	}
	if s.next < s.chunks {
		return answers, append(streams, s)
	}
	answers = wire.AppendHeader(answers, 4, s.id, false)
	return binary.BigEndian.AppendUint32(answers, s.chunks), streams
}

package load

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"supervisord/bench/internal/floor"
	"supervisord/bench/internal/wire"
)

type rawCodec struct {
	payload []byte // the request's
	size    int    // of a chunk's or an echo's payload
	stream  bool
}

func newRawCodec(c Case) *rawCodec {
	r := &rawCodec{size: c.Payload, stream: c.Chunks > 0}
	if r.stream {
		r.payload = floor.StreamRequest(c.Chunks, c.Payload)
	} else {
		r.payload = floor.EchoRequest(c.Payload)
	}
	return r
}

func (r *rawCodec) appendRequest(dst []byte, id uint32) []byte {
	return wire.AppendFrame(dst, id, false, r.payload)
}

func (r *rawCodec) next(b []byte) (message, int, error) {
	frame, n, err := wire.Next(b)
	if n == 0 {
		return message{}, 0, err
	}
	m := message{kind: anAnswer, id: frame.ID, body: frame.Payload}
	if frame.More {
		m.kind = aChunk
	}
	want := r.size
	if r.stream && !frame.More {
		want = 4
	}
	if len(m.body) != want {
		return message{}, 0, fmt.Errorf("frame of id %d has %d bytes, want %d", m.id, len(m.body), want)
	}
	if frame.More {
		m.seq = binary.BigEndian.Uint32(m.body)
	}
	return m, n, nil
}

func (r *rawCodec) verify(m message) error {
	switch {
	case m.kind == aChunk && len(bytes.Trim(m.body[4:], "x")) != 0:
		return fmt.Errorf("chunk %d of id %d is not what was asked for", m.seq, m.id)
	case m.kind == anAnswer && !r.stream && !bytes.Equal(m.body, r.payload):
		return fmt.Errorf("echo of id %d differs from what was sent", m.id)
	}
	return nil
}

func (r *rawCodec) isEnd(message) bool { return false }

func (r *rawCodec) slow() uint64 { return 0 }

func (r *rawCodec) chunks(m message) (uint32, error) { return binary.BigEndian.Uint32(m.body), nil }

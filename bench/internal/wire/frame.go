// Package wire holds what the floor relay, its worker and the load generator share: the raw frame, the read buffer and the combining output queue.
//
// A frame is eight bytes of header and a payload. The header is two big-endian words: the length of the payload in bytes, with the
// top bit set when more frames with this id follow, and the id. Nothing here looks into a payload.
package wire

import (
	"encoding/binary"
	"fmt"
)

const (
	// HeaderSize is the number of bytes before a frame's payload.
	HeaderSize = 8
	// MaxPayload is the longest payload in bytes that Next accepts.
	MaxPayload = 64 << 20

	moreBit = 1 << 31
)

// Frame is one frame as it lies in a buffer.
type Frame struct {
	ID      uint32
	More    bool   // another frame with this id follows
	Payload []byte // aliases the buffer
}

// Next reads the frame at the start of b and returns how many bytes it takes; 0 means that b does not hold all of it yet. The
// only error is a length above MaxPayload, after which the stream can't be followed any more.
func Next(b []byte) (Frame, int, error) {
	if len(b) < HeaderSize {
		return Frame{}, 0, nil
	}
	word := binary.BigEndian.Uint32(b)
	length := int(word &^ moreBit)
	if length > MaxPayload {
		return Frame{}, 0, fmt.Errorf("frame of %d bytes is above the limit of %d", length, MaxPayload)
	}
	end := HeaderSize + length
	if len(b) < end {
		return Frame{}, 0, nil
	}
	return Frame{
		ID:      binary.BigEndian.Uint32(b[4:]),
		More:    word&moreBit != 0,
		Payload: b[HeaderSize:end:end],
	}, end, nil
}

// SetID overwrites the id of the frame that starts at b[0].
func SetID(b []byte, id uint32) {
	binary.BigEndian.PutUint32(b[4:], id)
}

// AppendHeader appends the header of a frame whose payload has length bytes.
func AppendHeader(dst []byte, length int, id uint32, more bool) []byte {
	word := uint32(length)
	if more {
		word |= moreBit
	}
	dst = binary.BigEndian.AppendUint32(dst, word)
	return binary.BigEndian.AppendUint32(dst, id)
}

// AppendFrame appends a whole frame.
func AppendFrame(dst []byte, id uint32, more bool, payload []byte) []byte {
	return append(AppendHeader(dst, len(payload), id, more), payload...)
}

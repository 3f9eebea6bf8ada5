package protocol

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// TestBufferIsBounded: the buffer never exceeds the limit and 64 KiB, and a big one is given back.
func TestBufferIsBounded(t *testing.T) {
	for _, limit := range []int{1, 100, readStep - 1, readStep, readStep + 1, 3 * readStep, 1 << 20} {
		payload := bytes.Repeat([]byte{'{'}, limit)
		var stream []byte
		for range 3 {
			stream = AppendFrame(stream, payload)
			stream = AppendFrame(stream, payload[:1])
		}
		frames := NewFrameReader(bytes.NewReader(stream), limit)
		for range 6 {
			if _, err := frames.Next(); err != nil {
				t.Fatal(err)
			}
			if len(frames.buf) > limit+readStep {
				t.Fatalf("limit %d: buffer of %d", limit, len(frames.buf))
			}
		}
		if _, err := frames.Next(); err == nil {
			t.Fatal("no end")
		}
		if len(frames.buf) > keepSize {
			t.Errorf("limit %d: buffer of %d kept with nothing in it", limit, len(frames.buf))
		}
	}
}

// FuzzFrameBuffer: whatever the headers announce, the buffer is never more than the limit and 64 KiB, nor more than twice
// what has arrived and 64 KiB.
func FuzzFrameBuffer(f *testing.F) {
	f.Add(AppendHeader(nil, 1<<30), uint32(1<<31-1), uint16(1))
	f.Add(AppendFrame(AppendFrame(nil, []byte("{}")), bytes.Repeat([]byte("{"), 200<<10)), uint32(200<<10), uint16(1<<16-1))
	// Announces twice 128 KiB and a header, and ends after little more than 128 KiB.
	f.Add(append(AppendHeader(nil, 256<<10), bytes.Repeat([]byte("{"), 130<<10)...), uint32(1<<31-1), uint16(1<<16-1))
	f.Add(append(AppendHeader(nil, 300<<10), `{"type":"result","job_id":"j","data":"`...), uint32(100), uint16(7))
	f.Fuzz(func(t *testing.T, input []byte, limit uint32, step uint16) {
		r := &countingReader{rest: input, step: 1 + int(step)}
		maxFrame := int(limit >> 1)
		frames := NewFrameReader(r, maxFrame)
		for {
			payload, err := frames.Next()
			if have := len(frames.buf); have > maxFrame+readStep || have > readStep+2*r.gave {
				t.Fatalf("limit %d, %d bytes arrived: buffer of %d", maxFrame, r.gave, have)
			}
			if len(payload) > maxFrame {
				t.Fatalf("limit %d: frame of %d", maxFrame, len(payload))
			}
			if e, ok := errors.AsType[*FrameError](err); ok && e.Fault == FrameTooLong {
				if len(e.Prefix) > EnvelopePrefix || len(e.Bytes) > maxQuote {
					t.Fatalf("prefix of %d, quote of %d", len(e.Prefix), len(e.Bytes))
				}
				frames.Skip()
				continue
			}
			if err != nil {
				return
			}
		}
	})
}

type countingReader struct {
	rest       []byte
	step, gave int
}

func (c *countingReader) Read(b []byte) (int, error) {
	n := copy(b[:min(len(b), c.step)], c.rest)
	c.rest = c.rest[n:]
	if n == 0 {
		return 0, io.EOF
	}
	c.gave += n
	return n, nil
}

package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"unicode"
	"unicode/utf8"
)

// HeaderSize is the length of a frame's header: the payload's length in bytes, big-endian.
const HeaderSize = 4

const (
	readStep = 64 << 10 // at most this much is asked of the reader at once, and the buffer's least size
	keepSize = 4 * readStep
	maxQuote = 64
)

// AppendHeader appends the header of a frame with n bytes of payload, 0 to math.MaxUint32, for callers that put the
// payload together in place.
func AppendHeader(dst []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(n)) //nolint:gosec // documented range; limits keep it far below
}

// AppendFrame appends header and payload. The payload is not looked at.
func AppendFrame(dst, payload []byte) []byte {
	return append(AppendHeader(dst, len(payload)), payload...)
}

// WriteFrame writes header and payload in one Write. It refuses a payload that no frame may have: one that does not
// begin with '{', or of more than math.MaxUint32 bytes. After any other error the stream is lost, since a part of the
// frame may have been taken.
func WriteFrame(w io.Writer, payload []byte) error {
	if len(payload) == 0 || payload[0] != '{' {
		return errors.New("write frame: payload is not a JSON object")
	}
	if uint64(len(payload)) > math.MaxUint32 {
		return fmt.Errorf("write frame: %d bytes do not fit one frame", len(payload))
	}
	frame := AppendFrame(make([]byte, 0, HeaderSize+len(payload)), payload)
	if _, err := w.Write(frame); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

// FrameFault is what is wrong with the bytes of a frame.
type FrameFault uint8

// The values of FrameFault.
const (
	// FrameText: what should be a header is text, so somebody prints to the pipe.
	FrameText FrameFault = iota + 1
	// FrameReserved: the payload begins with another byte than '{', which is reserved for the feature "packed".
	FrameReserved
	// FrameEmpty: the header announces no bytes, and no JSON object has none.
	FrameEmpty
	// FrameTooLong: the header announces more than the limit. FrameReader.Skip passes over it.
	FrameTooLong
	// FrameTorn: the stream ended inside a frame. The error wraps io.ErrUnexpectedEOF.
	FrameTorn
)

var frameFaults = [...]string{
	FrameText: "text", FrameReserved: "reserved", FrameEmpty: "empty", FrameTooLong: "too_long", FrameTorn: "torn",
}

// String returns the name of the fault as it stands in the conformance vectors.
func (f FrameFault) String() string {
	if int(f) < len(frameFaults) && frameFaults[f] != "" {
		return frameFaults[f]
	}
	return fmt.Sprintf("fault_%d", uint8(f))
}

// FrameError says why a stream is not made of frames. After it, framing is lost, except after FrameTooLong.
type FrameError struct {
	Fault FrameFault
	// Length is what the header announced, 0 where there was no whole header.
	Length int64
	// Limit is the most that a frame may hold.
	Limit int64
	// Bytes are the first bytes of the frame, header included: up to 64 of those that had arrived, fewer or more from
	// one run to the next. For people only.
	Bytes []byte
	// Prefix are the first EnvelopePrefix bytes of the payload, with FrameTooLong alone.
	Prefix []byte
}

// Error names the fault and quotes the bytes, escaped.
func (e *FrameError) Error() string {
	switch e.Fault {
	case FrameText:
		return fmt.Sprintf("worker wrote text where a frame should begin: %q", e.Bytes)
	case FrameReserved:
		return fmt.Sprintf("frame begins with a byte other than '{', which is reserved for packed: %q", e.Bytes)
	case FrameEmpty:
		return "frame of no bytes"
	case FrameTooLong:
		return fmt.Sprintf("frame of %d bytes is over the limit of %d", e.Length, e.Limit)
	case FrameTorn:
		return fmt.Sprintf("unexpected EOF inside a frame: %q", e.Bytes)
	}
	return e.Fault.String()
}

// Unwrap returns io.ErrUnexpectedEOF for FrameTorn, else nil.
func (e *FrameError) Unwrap() error {
	if e.Fault == FrameTorn {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// FrameReader reads frames. What it holds grows with the bytes that have arrived, never with the announced length, to
// at most maxFrame + 64 KiB, and shrinks again after a big frame. It belongs to one goroutine.
type FrameReader struct {
	r        io.Reader
	maxFrame int
	buf      []byte // buf[from:to] has arrived and has not been returned
	from, to int
	skip     int64 // bytes of a frame to be passed over that have not been read
	tooLong  int64 // payload length of the frame that FrameTooLong was returned for, until Skip
	err      error // of the reader or of the framing, once nothing can follow
}

// NewFrameReader returns a reader of frames with at most maxFrame bytes of payload.
func NewFrameReader(r io.Reader, maxFrame int) *FrameReader {
	return &FrameReader{r: r, maxFrame: maxFrame}
}

// Next returns the payload of the next frame, valid until the next call. The error is io.EOF at an end between frames, a
// *FrameError where the bytes are no frame, or the reader's own, wrapped. After the reader's own error, such as a
// deadline, Next may be called again and goes on where it was; every other error is final, but for FrameTooLong
// followed by Skip.
func (f *FrameReader) Next() ([]byte, error) {
	if f.err != nil {
		return nil, f.err
	}
	if err := f.passOver(); err != nil {
		return nil, err
	}
	f.shrink()
	if err := f.fill(HeaderSize); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(f.buf[f.from:]))
	if n == 0 {
		return nil, f.fail(FrameEmpty, n)
	}
	if n > int64(f.maxFrame) && isText(f.buf[f.from:f.from+HeaderSize]) {
		return nil, f.fail(FrameText, 0)
	}
	if err := f.fill(HeaderSize + 1); err != nil {
		return nil, err
	}
	if f.buf[f.from+HeaderSize] != '{' {
		return nil, f.fail(FrameReserved, n)
	}
	if n > int64(f.maxFrame) {
		return nil, f.failTooLong(n)
	}
	if err := f.fill(HeaderSize + int(n)); err != nil {
		return nil, err
	}
	payload := f.buf[f.from+HeaderSize : f.from+HeaderSize+int(n)]
	f.from += HeaderSize + int(n)
	return payload[:n:n], nil
}

// Skip passes over the frame for which Next has just returned FrameTooLong, so that the next call of Next goes on
// behind it. It reads nothing itself and does nothing after any other error.
func (f *FrameReader) Skip() {
	if f.tooLong > 0 {
		f.skip, f.tooLong, f.err = HeaderSize+f.tooLong, 0, nil
	}
}

// Buffered reports whether a whole frame, or the error that ends the stream, is there: Next will return without reading.
// A caller that gathers output may flush when it is false.
func (f *FrameReader) Buffered() bool {
	have := f.to - f.from
	if f.err != nil {
		return true
	}
	if f.skip > 0 || have < HeaderSize {
		return false
	}
	return int64(have) >= HeaderSize+int64(binary.BigEndian.Uint32(f.buf[f.from:]))
}

// fill reads until n bytes from f.from on have arrived.
func (f *FrameReader) fill(n int) error {
	for f.to-f.from < n {
		f.makeRoom(n)
		if err := f.read(); err != nil {
			if !errors.Is(err, io.EOF) {
				return fmt.Errorf("read frame: %w", err)
			}
			if f.to == f.from {
				f.err = io.EOF
				return io.EOF
			}
			if have := f.buf[f.from:f.to]; len(have) < HeaderSize && isText(have) {
				return f.fail(FrameText, 0)
			}
			return f.fail(FrameTorn, 0)
		}
	}
	return nil
}

// read takes what one Read gives. A reader may return bytes together with an error, which then comes again.
func (f *FrameReader) read() error {
	room := f.buf[f.to:min(len(f.buf), f.to+readStep)]
	for range 100 { // as bufio does: a reader that gives nothing for ever must not hang us
		n, err := f.r.Read(room)
		f.to += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// makeRoom makes place for more bytes of a frame of n bytes: by moving what has arrived to the front, else by growing
// to twice the size or what the frame needs, so that the buffer is never more than twice what has arrived and 64 KiB.
func (f *FrameReader) makeRoom(n int) {
	if f.to < len(f.buf) && f.from == 0 || f.from+n <= len(f.buf) {
		return
	}
	have := f.buf[f.from:f.to]
	if len(f.buf) == 0 || len(have) == len(f.buf) {
		size := min(max(2*len(f.buf), readStep), n+readStep)
		if size < n && n <= size+readStep {
			size = n // and not once more for the little that is missing
		}
		grown := make([]byte, min(size, f.maxFrame+readStep))
		copy(grown, have)
		f.buf = grown
	} else {
		copy(f.buf, have)
	}
	f.from, f.to = 0, len(have)
}

// shrink gives a big buffer back once it holds little.
func (f *FrameReader) shrink() {
	if f.from == f.to {
		f.from, f.to = 0, 0
	}
	if have := f.buf[f.from:f.to]; len(f.buf) > keepSize && len(have) <= readStep/2 {
		f.buf = make([]byte, readStep)
		f.from, f.to = 0, copy(f.buf, have)
	}
}

// passOver drops the bytes of a frame that is to be skipped.
func (f *FrameReader) passOver() error {
	for f.skip > 0 {
		if f.from == f.to {
			f.from, f.to = 0, 0
			f.makeRoom(HeaderSize)
			if err := f.read(); err != nil {
				if !errors.Is(err, io.EOF) {
					return fmt.Errorf("skip frame: %w", err)
				}
				return f.fail(FrameTorn, 0)
			}
		}
		n := int(min(f.skip, int64(f.to-f.from)))
		f.from += n
		f.skip -= int64(n)
	}
	return nil
}

func (f *FrameReader) failTooLong(n int64) error {
	if err := f.fill(HeaderSize + min(EnvelopePrefix, int(n))); err != nil {
		return err
	}
	e := f.newError(FrameTooLong, n)
	payload := f.buf[f.from+HeaderSize : f.to]
	e.Prefix = append([]byte(nil), payload[:min(len(payload), EnvelopePrefix, int(n))]...)
	f.tooLong, f.err = n, e
	return e
}

func (f *FrameReader) fail(fault FrameFault, length int64) error {
	f.err = f.newError(fault, length)
	return f.err
}

func (f *FrameReader) newError(fault FrameFault, length int64) *FrameError {
	have := f.buf[f.from:f.to]
	return &FrameError{
		Fault: fault, Length: length, Limit: int64(f.maxFrame),
		Bytes: append([]byte(nil), have[:min(len(have), maxQuote)]...),
	}
}

// isText reports whether b reads as the beginning of a text: UTF-8 without control characters but white space and escape.
func isText(b []byte) bool {
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			return !utf8.FullRune(b) // cut in the middle of a character
		}
		if unicode.IsControl(r) && r != '\t' && r != '\n' && r != '\r' && r != 0x1b {
			return false
		}
		b = b[size:]
	}
	return true
}

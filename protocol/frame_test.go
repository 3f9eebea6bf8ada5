package protocol_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"supervisord/protocol"
)

func TestWriteFrameIsOneWrite(t *testing.T) {
	var writes [][]byte
	w := writerFunc(func(b []byte) (int, error) {
		writes = append(writes, bytes.Clone(b))
		return len(b), nil
	})
	if err := protocol.WriteFrame(w, []byte(`{"type":"stop"}`)); err != nil {
		t.Fatal(err)
	}
	want := [][]byte{[]byte("\x00\x00\x00\x0f" + `{"type":"stop"}`)}
	if !reflect.DeepEqual(writes, want) {
		t.Fatalf("writes = %q, want %q", writes, want)
	}
	for _, payload := range []string{"", "[]", " {}"} {
		if err := protocol.WriteFrame(w, []byte(payload)); err == nil {
			t.Errorf("WriteFrame(%q) = nil", payload)
		}
	}
	if len(writes) != 1 {
		t.Errorf("refused payloads were written: %q", writes[1:])
	}
	broken := errors.New("broken")
	err := protocol.WriteFrame(writerFunc(func([]byte) (int, error) { return 3, broken }), []byte("{}"))
	if !errors.Is(err, broken) {
		t.Errorf("WriteFrame = %v, want it to wrap the writer's error", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestFrameErrorTexts(t *testing.T) {
	long := strings.Repeat("Loading weights... ", 20)
	for _, c := range []struct{ name, input, want string }{
		{"text", "Load\n\x1b[0m\x01", `worker wrote text where a frame should begin: "Load\n\x1b[0m\x01"`},
		{"long text", long, `worker wrote text where a frame should begin: "` + long[:64] + `"`},
		{"reserved", "\x00\x00\x00\x02[]", `frame begins with a byte other than '{', which is reserved for packed: "\x00\x00\x00\x02[]"`},
		{"too long", "\x00\x00\x01\x00{" + strings.Repeat(" ", 300), "frame of 256 bytes is over the limit of 100"},
		{"torn", "\x00\x00\x00\x02{", `unexpected EOF inside a frame: "\x00\x00\x00\x02{"`},
		{"empty", "\x00\x00\x00\x00", "frame of no bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := protocol.NewFrameReader(strings.NewReader(c.input), 100).Next()
			if err == nil || err.Error() != c.want {
				t.Fatalf("Next = %v\nwant   %s", err, c.want)
			}
			if errors.Is(err, io.ErrUnexpectedEOF) != (c.name == "torn") {
				t.Fatalf("errors.Is(%v, io.ErrUnexpectedEOF) is wrong", err)
			}
		})
	}
}

// TestTextIsToldAtOnce: a worker that prints a line and then waits must not be waited for.
func TestTextIsToldAtOnce(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.WriteString("ready\n"); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err = protocol.NewFrameReader(r, 1<<20).Next()
	if e, ok := errors.AsType[*protocol.FrameError](err); !ok || e.Fault != protocol.FrameText || string(e.Bytes) != "ready\n" {
		t.Fatalf("Next = %v", err)
	}
}

// TestReaderErrorsAreNotFinal: after a deadline has passed in mid frame, reading goes on where it was.
func TestReaderErrorsAreNotFinal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	frame := protocol.AppendFrame(nil, []byte(`{"type":"stop"}`))
	if _, err := w.Write(frame[:7]); err != nil {
		t.Fatal(err)
	}
	frames := protocol.NewFrameReader(r, 100)
	if err := r.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := frames.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Next = %v, want a deadline", err)
		}
	}
	if err := r.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(frame[7:]); err != nil {
		t.Fatal(err)
	}
	if got, err := frames.Next(); err != nil || string(got) != `{"type":"stop"}` {
		t.Fatalf("Next = %q, %v", got, err)
	}
}

func TestBuffered(t *testing.T) {
	input := protocol.AppendFrame(protocol.AppendFrame(nil, []byte(`{"a":1}`)), []byte(`{"b":2}`))
	frames := protocol.NewFrameReader(bytes.NewReader(append(input, 0, 0)), 100)
	for i, want := range []bool{false, true, false} {
		if got := frames.Buffered(); got != want {
			t.Errorf("Buffered before frame %d = %v, want %v", i, got, want)
		}
		_, err := frames.Next()
		if (err != nil) != (i == 2) {
			t.Fatalf("Next %d: %v", i, err)
		}
	}
}

// TestAnnouncedLengthIsNotAllocated: a header that promises 512 MiB and brings little costs little.
func TestAnnouncedLengthIsNotAllocated(t *testing.T) {
	const limit = 1 << 30
	input := append(protocol.AppendHeader(nil, 512<<20), '{')
	input = append(input, make([]byte, 100<<10)...)
	before := allocated()
	_, err := protocol.NewFrameReader(bytes.NewReader(input), limit).Next()
	if used := allocated() - before; used > 2<<20 {
		t.Errorf("%d bytes allocated for %d that arrived", used, len(input))
	}
	if e, ok := errors.AsType[*protocol.FrameError](err); !ok || e.Fault != protocol.FrameTorn {
		t.Errorf("Next = %v, want torn", err)
	}
}

func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

// TestBigFrames crosses every size of the buffer, up and down, and checks the bytes.
func TestBigFrames(t *testing.T) {
	const limit = 1 << 20
	random := rand.New(rand.NewPCG(1, 2))
	var stream []byte
	var sizes []int
	for i := range 60 {
		size := 2 + random.IntN(200)
		switch i % 6 {
		case 1:
			size = limit - i/6
		case 3:
			size = 60<<10 + random.IntN(12<<10)
		}
		sizes = append(sizes, size)
		stream = protocol.AppendFrame(stream, testPayload(i, size))
	}
	frames := protocol.NewFrameReader(&stepReader{r: bytes.NewReader(stream), t: t}, limit)
	for i, size := range sizes {
		got, err := frames.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, testPayload(i, size)) {
			t.Fatalf("frame %d of %d bytes came back different", i, size)
		}
	}
	if _, err := frames.Next(); err != io.EOF { //nolint:errorlint // io.EOF itself is the contract
		t.Fatalf("Next = %v, want io.EOF", err)
	}
}

func testPayload(i, size int) []byte {
	b := bytes.Repeat([]byte{byte('a' + i%26)}, size)
	b[0], b[size-1] = '{', '}'
	return b
}

// stepReader fails the test when more than 64 KiB are asked for at once.
type stepReader struct {
	r io.Reader
	t testing.TB
}

func (s *stepReader) Read(b []byte) (int, error) {
	if len(b) == 0 || len(b) > 64<<10 {
		s.t.Errorf("Read of %d bytes", len(b))
	}
	return s.r.Read(b)
}

func TestReaderThatGivesNothing(t *testing.T) {
	_, err := protocol.NewFrameReader(readerFunc(func([]byte) (int, error) { return 0, nil }), 100).Next()
	if !errors.Is(err, io.ErrNoProgress) {
		t.Fatalf("Next = %v, want io.ErrNoProgress", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

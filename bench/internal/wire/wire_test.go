package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"testing/iotest"
)

func TestNextReadsWhatAppendFrameWrote(t *testing.T) {
	var b []byte
	b = AppendFrame(b, 7, true, []byte("chunk"))
	b = AppendFrame(b, 1<<32-1, false, nil)
	SetID(b, 8)

	first, n, err := Next(b)
	if err != nil || n != HeaderSize+5 || first.ID != 8 || !first.More || string(first.Payload) != "chunk" {
		t.Fatalf("first frame: %+v, %d bytes, %v", first, n, err)
	}
	second, m, err := Next(b[n:])
	if err != nil || n+m != len(b) || second.ID != 1<<32-1 || second.More || len(second.Payload) != 0 {
		t.Fatalf("second frame: %+v, %d bytes, %v", second, m, err)
	}
	for short := range n {
		if _, n, err := Next(b[:short]); n != 0 || err != nil {
			t.Fatalf("%d bytes of a frame: got %d, %v; want more bytes asked for", short, n, err)
		}
	}
}

func TestNextRefusesAnAbsurdLength(t *testing.T) {
	b := AppendHeader(nil, MaxPayload+1, 0, false)
	if _, _, err := Next(b); err == nil {
		t.Fatal("no error for a payload above the limit")
	}
}

func TestBufferKeepsEveryByte(t *testing.T) {
	var want []byte
	for i := range uint32(2000) {
		want = binary.BigEndian.AppendUint32(want, i)
	}
	for _, step := range []int{1, 7, 64, 1000} { // how much must be unread before it is skipped
		source := iotest.HalfReader(bytes.NewReader(want))
		buf := NewBuffer(64)
		var got []byte
		for {
			err := buf.Fill(source)
			if errors.Is(err, io.EOF) {
				got = append(got, buf.Unread()...)
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for len(buf.Unread()) >= step {
				got = append(got, buf.Unread()[:step]...)
				buf.Skip(step)
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("in steps of %d: got other bytes than were read", step)
		}
	}
}

// pipe returns a queue that writes to a pipe, and the pipe's other end.
func pipe(t *testing.T) (*Queue, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	q, err := NewQueue(w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = q.Close()
		_ = r.Close()
	})
	return q, r
}

func TestQueueKeepsTheOrderOfEachProducer(t *testing.T) {
	const producers, each = 8, 5000
	q, r := pipe(t)
	var wg sync.WaitGroup
	for p := range uint32(producers) {
		wg.Go(func() {
			for i := range uint32(each) {
				if err := q.WaitBelow(64 << 10); err != nil {
					t.Error(err)
					return
				}
				q.Append(AppendFrame(nil, p, false, binary.BigEndian.AppendUint32(nil, i)))
				q.Flush()
			}
		})
	}
	var next [producers]uint32
	buf := NewBuffer(64 << 10)
	for got := 0; got < producers*each; {
		frame, n, err := Next(buf.Unread())
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			if err := buf.Fill(r); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if i := binary.BigEndian.Uint32(frame.Payload); i != next[frame.ID] {
			t.Fatalf("producer %d: got %d, want %d", frame.ID, i, next[frame.ID])
		}
		next[frame.ID]++
		got++
		buf.Skip(n)
	}
	wg.Wait()
}

func TestFlushDoesNotWaitForThePeer(t *testing.T) {
	q, r := pipe(t)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB, more than a pipe takes
	q.Append(want)
	q.Flush() // would hang here, since nobody reads yet
	q.Append([]byte("end"))
	q.Flush()
	got := make([]byte, len(want)+3)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, append(want, "end"...)) {
		t.Fatal("the bytes differ from what was appended")
	}
}

func TestCloseEndsTheWriterAndThoseWhoWait(t *testing.T) {
	q, _ := pipe(t)
	q.Append(make([]byte, 1<<20))
	q.Flush() // leaves a drain goroutine blocked in its write
	q.Append(make([]byte, 1<<20))
	waited := make(chan error)
	go func() { waited <- q.WaitBelow(0) }()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; !errors.Is(err, io.ErrClosedPipe) {
		t.Fatalf("WaitBelow: %v, want io.ErrClosedPipe", err)
	}
	q.Append([]byte("late"))
	q.Flush()
	if q.Above(0) {
		t.Fatal("a closed queue holds bytes")
	}
}

func TestQueueFailsWithItsPeer(t *testing.T) {
	q, r := pipe(t)
	_ = r.Close()
	q.Append([]byte("x"))
	q.Flush()
	if err := q.WaitBelow(0); err == nil {
		t.Fatal("no error after a write to a pipe that nobody reads")
	}
}

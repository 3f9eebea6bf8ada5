package outq_test

import (
	"bytes"
	"io"
	"testing"

	"supervisord/internal/outq"
)

// shrink reads one page after the other from a pipe of one page, until at most size bytes are queued.
func shrink(t *testing.T, q *outq.Queue, r io.Reader, size int) {
	t.Helper()
	for at := q.Size(); at > size; at = q.Size() {
		readFull(t, r, 4096)
		if err := q.WaitBelow(at - 1); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLockBelow(t *testing.T) {
	w, _ := pipe(t, 4096)
	q := outq.New(w, outq.Options{})
	q.Append(pattern(100))
	if _, ok := q.LockBelow(99); ok {
		t.Error("100 bytes are below 99")
	}
	b, ok := q.LockBelow(100)
	if !ok {
		t.Fatal("100 bytes are over 100")
	}
	q.Unlock(append(b, "more"...))
	if q.Size() != 104 {
		t.Errorf("%d bytes are queued, want 104", q.Size())
	}
	finish(t, q, w)
	b, ok = q.LockBelow(0)
	if !ok || q.Unlock(append(b, "dropped"...)) {
		t.Error("a queue that has ended refuses, or takes what is appended")
	}
	if q.Size() != 0 {
		t.Errorf("%d bytes are queued after the end", q.Size())
	}
}

func TestRoomIsCalledOnceAtHalfOfTheLimit(t *testing.T) {
	w, r := pipe(t, 4096)
	room := make(chan int, 16)
	var q *outq.Queue
	q = outq.New(w, outq.Options{Room: func() { room <- q.Size() }})
	q.Append(pattern(40 << 10))
	q.Flush()
	for _, limit := range []int{30 << 10, 10 << 10, 20 << 10} { // the last one counts
		if _, ok := q.LockBelow(limit); ok {
			t.Fatalf("%d bytes are below %d", q.Size(), limit)
		}
	}
	shrink(t, q, r, 12<<10)
	select {
	case size := <-room:
		t.Errorf("Room was called at %d bytes", size)
	default:
	}
	shrink(t, q, r, 8<<10)
	if size := receive(t, room, "room"); size > 10<<10 {
		t.Errorf("Room was called at %d bytes", size)
	}
	shrink(t, q, r, 0)
	finish(t, q, w)
	if len(room) > 0 {
		t.Error("Room was called twice for one refusal")
	}
}

func TestRoomIsNotCalledUnasked(t *testing.T) {
	w, r := pipe(t, 4096)
	calls := make(chan struct{}, 16)
	q := outq.New(w, outq.Options{Room: func() { calls <- struct{}{} }})
	q.Append(pattern(40 << 10))
	q.Flush()
	if b, ok := q.LockBelow(1 << 20); ok {
		q.Unlock(b)
	}
	shrink(t, q, r, 0)
	finish(t, q, w)
	if len(calls) > 0 {
		t.Error("Room was called though nothing had been refused")
	}
}

func TestRoomIsNotCalledAfterTheEnd(t *testing.T) {
	w, _ := pipe(t, 4096)
	calls := make(chan struct{}, 16)
	q := outq.New(w, outq.Options{Room: func() { calls <- struct{}{} }})
	q.Append(pattern(40 << 10))
	q.Flush()
	q.LockBelow(1000)
	finish(t, q, w)
	q.Flush()
	if len(calls) > 0 {
		t.Error("Room was called for a queue that has ended")
	}
}

// A feeder that is refused appends the rest from Room, time and again. Nobody else flushes.
func TestRoomFeedsTheQueue(t *testing.T) {
	each(t, func(t *testing.T, w io.WriteCloser, r io.ReadCloser) {
		const limit = 20 << 10
		want := pattern(1 << 20)
		var (
			q     *outq.Queue
			rest  = want
			most  int
			calls int
			fed   = make(chan struct{})
		)
		feed := func() { // one call after the other: by the test, then by the one writer
			for len(rest) > 0 {
				b, ok := q.LockBelow(limit)
				if !ok {
					return
				}
				n := min(1000, len(rest))
				q.Unlock(append(b, rest[:n]...))
				if rest = rest[n:]; len(rest) == 0 {
					close(fed)
				}
				most = max(most, q.Size())
			}
		}
		q = outq.New(w, outq.Options{Room: func() { calls++; feed() }})
		feed()
		q.Flush()
		if got := readFull(t, r, len(want)); !bytes.Equal(got, want) {
			t.Error("the peer gets other bytes than were appended")
		}
		receive(t, fed, "end of the feeder")
		flushed(t, q)
		finish(t, q, w)
		if most > limit+1000 {
			t.Errorf("%d bytes were queued, limit %d", most, limit)
		}
		if least := len(want) / (2 * limit); calls < least {
			t.Errorf("Room was called %d times for %d bytes, want %d or more", calls, len(want), least)
		}
	})
}

package outq_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"weak"

	"supervisord/internal/outq"
)

// One flush writes the messages of all who appended, in order, and an empty one does nothing.
func TestAppendAndFlush(t *testing.T) {
	each(t, func(t *testing.T, w io.WriteCloser, r io.ReadCloser) {
		q := outq.New(w, outq.Options{})
		q.Flush()
		if !q.Append([]byte("one ")) || !q.Unlock(append(q.Lock(), "two "...)) {
			t.Fatal("the queue has ended")
		}
		b, ok := q.LockBelow(8)
		if !ok || string(b) != "one two " {
			t.Fatalf("the locked buffer holds %q", b)
		}
		q.Unlock(append(b, "three"...))
		if q.Size() != 13 {
			t.Errorf("%d bytes are queued, want 13", q.Size())
		}
		q.Flush()
		if got := readFull(t, r, 13); string(got) != "one two three" {
			t.Errorf("the peer gets %q", got)
		}
		flushed(t, q)
		finish(t, q, w)
	})
}

// What the kernel takes at once needs no goroutine: it has left when Flush returns.
func TestFlushWritesItself(t *testing.T) {
	for _, tr := range transports[:2] {
		t.Run(tr.name, func(t *testing.T) {
			w, _ := tr.open(t)
			q := outq.New(w, outq.Options{})
			q.Append([]byte("message"))
			q.Flush()
			if q.Size() != 0 {
				t.Errorf("%d bytes are left after Flush", q.Size())
			}
			finish(t, q, w)
		})
	}
}

// A peer that does not read costs the flusher nothing.
func TestFlushDoesNotWaitForThePeer(t *testing.T) {
	each(t, func(t *testing.T, w io.WriteCloser, r io.ReadCloser) {
		q := outq.New(w, outq.Options{})
		want := pattern(4 << 20)
		for rest := range slices.Chunk(want, 1000) {
			q.Append(rest)
			q.Flush()
		}
		if q.Size() == 0 {
			t.Fatal("the kernel took 4 MiB that nobody reads")
		}
		if got := readFull(t, r, len(want)); !bytes.Equal(got, want) {
			t.Error("the peer gets other bytes than were appended")
		}
		flushed(t, q)
		finish(t, q, w)
	})
}

// A peer that reads as fast as the queue grows does not keep the flusher: what is over its budget goes to the drain
// goroutine. Here the queue grows for as long as Flush has not returned.
func TestFlushReturnsThoughTheQueueGrows(t *testing.T) {
	w, r := socketpair(t)
	var q *outq.Queue
	var returned, tooLong atomic.Bool
	grow := func() {
		if returned.Load() || tooLong.Load() {
			return
		}
		q.Append(make([]byte, 8<<10))
		q.LockBelow(0) // is refused, so that there is a next time
	}
	q = outq.New(w, outq.Options{Room: grow})
	reader := make(chan int64)
	go func() {
		var n int64
		p := make([]byte, 1<<20)
		for {
			m, err := r.Read(p)
			if n += int64(m); n > 256<<20 {
				tooLong.Store(true)
			}
			if err != nil {
				reader <- n
				return
			}
		}
	}()
	grow()
	q.Flush()
	returned.Store(true)
	if tooLong.Load() {
		t.Error("Flush went on for 256 MiB")
	}
	flushed(t, q)
	finish(t, q, w)
	receive(t, reader, "end of the stream")
}

// One Flush writes 256 KiB at most, even of a slice that the kernel would take whole; each step of the drain goroutine
// that follows, too.
func TestFlushBudget(t *testing.T) {
	w, _ := pipe(t, 1<<20)
	sizes := make(chan int, 1)
	var q *outq.Queue
	q = outq.New(w, outq.Options{Room: func() { sizes <- q.Size() }})
	q.Unlock(q.Ref(q.Lock(), pattern(600<<10)))
	q.LockBelow(599 << 10) // Room is called when 299.5 KiB are left, which two steps bring
	q.Flush()
	if got := receive(t, sizes, "room"); got != 88<<10 {
		t.Errorf("%d bytes are left after two steps, want 88 KiB", got)
	}
	finish(t, q, w)
}

// Those who wait for the queue to shrink hear of it at once, although the writer has more to write and must wait.
func TestProgressIsToldBeforeTheNextSlice(t *testing.T) {
	w, r := pipe(t, 4096)
	q := outq.New(w, outq.Options{})
	q.Append(pattern(4096))
	q.Flush()
	q.Unlock(q.Ref(append(q.Lock(), pattern(4096)...), pattern(40<<10)))
	q.Flush()
	readFull(t, r, 4096) // now the page has room for what comes before the large slice
	if err := q.WaitBelow(40 << 10); err != nil {
		t.Error(err)
	}
	finish(t, q, w)
}

func TestWaitBelow(t *testing.T) {
	t.Run("wakes when the queue shrinks", func(t *testing.T) {
		w, r := pipe(t, 4096)
		q := outq.New(w, outq.Options{})
		q.Append(pattern(40960))
		q.Flush()
		if got := q.Size(); got != 36864 {
			t.Fatalf("%d bytes are queued, want all but one page", got)
		}
		if err := q.WaitBelow(36864); err != nil { // has not to wait
			t.Fatal(err)
		}
		woken := make(chan int, 1)
		go func() {
			if err := q.WaitBelow(10000); err != nil {
				t.Error(err)
			}
			woken <- q.Size()
		}()
		for range 6 {
			readFull(t, r, 4096)
		}
		// Six pages read let six others in: 12288 bytes are left.
		if err := q.WaitBelow(12288); err != nil {
			t.Fatal(err)
		}
		select {
		case size := <-woken:
			t.Errorf("the waiter for 10000 woke up at %d", size)
		default:
		}
		readFull(t, r, 4096)
		if size := receive(t, woken, "waiter"); size > 10000 {
			t.Errorf("the waiter for 10000 woke up at %d", size)
		}
		finish(t, q, w)
	})
	t.Run("wakes when the queue ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ours, peer := net.Pipe()
			defer peer.Close()
			q := outq.New(ours, outq.Options{})
			q.Append(pattern(100))
			q.Flush()
			woken := make(chan error, 3)
			for _, limit := range []int{0, 50, 99} {
				go func() { woken <- q.WaitBelow(limit) }()
			}
			synctest.Wait()
			if len(woken) > 0 {
				t.Fatal("a waiter woke up though nothing was read")
			}
			finish(t, q, ours)
			for range 3 {
				if err := <-woken; !errors.Is(err, outq.ErrClosed) {
					t.Errorf("WaitBelow returns %v", err)
				}
			}
			if err := q.WaitBelow(1000); !errors.Is(err, outq.ErrClosed) {
				t.Errorf("WaitBelow returns %v after the end", err)
			}
		})
	})
	t.Run("wakes when writing fails", func(t *testing.T) {
		w, r := socketpair(t)
		q := outq.New(w, outq.Options{})
		q.Append(pattern(4 << 20))
		q.Flush()
		woken := make(chan error, 1)
		go func() { woken <- q.WaitBelow(0) }()
		r.Close()
		if err := receive(t, woken, "waiter"); err == nil || errors.Is(err, outq.ErrClosed) {
			t.Errorf("WaitBelow returns %v", err)
		}
		finish(t, q, w)
	})
}

// Buffers are used again up to the size that the owner keeps.
func TestKeep(t *testing.T) {
	w, r := socketpair(t)
	q := outq.New(w, outq.Options{Keep: 4096})
	turn := func(n int) {
		q.Append(pattern(n))
		q.Flush()
		readFull(t, r, n)
	}
	capacity := func() int {
		b := q.Lock()
		q.Unlock(b)
		return cap(b)
	}
	turn(2000)
	turn(2000) // two buffers take turns
	if got := capacity(); got < 2000 || got > 4096 {
		t.Errorf("a buffer for %d bytes is kept, want about 2000", got)
	}
	turn(10000)
	turn(10000)
	if got := capacity(); got > 4096 {
		t.Errorf("a buffer for %d bytes is kept", got)
	}
	finish(t, q, w)
}

// A flush in steady state allocates nothing, whatever the peer is.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	for _, tr := range transports[:2] {
		t.Run(tr.name, func(t *testing.T) {
			w, r := tr.open(t)
			q := outq.New(w, outq.Options{Keep: 64 << 10})
			var set outq.Set
			message, p := pattern(100), make([]byte, 4096)
			turn := func() {
				for range 10 {
					b, _ := q.LockBelow(1 << 20)
					q.Unlock(q.Ref(append(b, message...), message))
					set.Add(q)
				}
				set.Flush()
				if n, err := r.Read(p); n != 2000 || err != nil {
					t.Errorf("the peer reads %d bytes: %v", n, err)
				}
			}
			turn()
			turn()
			if n := testing.AllocsPerRun(500, turn); n != 0 {
				t.Errorf("appending, flushing and reading allocates %v times", n)
			}
			finish(t, q, w)
		})
	}
}

func TestSet(t *testing.T) {
	var set outq.Set
	set.Flush() // of an empty one does nothing
	type end struct {
		q *outq.Queue
		w io.Closer
		r io.Reader
	}
	var ends []end
	for range 20 {
		w, r := socketpair(t)
		ends = append(ends, end{outq.New(w, outq.Options{}), w, r})
	}
	for turn := range 2 { // a set is used again
		for range 3 {
			for _, e := range ends {
				e.q.Append([]byte{byte(turn)})
				set.Add(e.q)
				set.Add(e.q)
			}
		}
		for i, e := range ends {
			if e.q.Size() != 3 {
				t.Fatalf("queue %d was flushed before its set", i)
			}
		}
		set.Flush()
		for i, e := range ends {
			if got := readFull(t, e.r, 3); !bytes.Equal(got, []byte{byte(turn), byte(turn), byte(turn)}) {
				t.Errorf("peer %d gets %v", i, got)
			}
		}
	}
	for _, e := range ends {
		finish(t, e.q, e.w)
	}
}

// A callback that runs within Flush may mark another queue in the same set.
func TestSetGrowsWhileItIsFlushed(t *testing.T) {
	w, r := pipe(t, 0)
	other, otherPeer := pipe(t, 0)
	next := outq.New(other, outq.Options{})
	var set outq.Set
	q := outq.New(w, outq.Options{Room: func() {
		next.Append([]byte("next"))
		set.Add(next)
	}})
	q.Append([]byte("first"))
	q.LockBelow(0)
	set.Add(q)
	set.Flush()
	if got := readFull(t, r, 5); string(got) != "first" {
		t.Errorf("the peer gets %q", got)
	}
	if got := readFull(t, otherPeer, 4); string(got) != "next" {
		t.Errorf("the other peer gets %q", got)
	}
	finish(t, q, w)
	finish(t, next, other)
}

// Large slices are written from where they are; small ones are copied.
func TestRef(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			w, r := tr.open(t)
			q := outq.New(w, outq.Options{Keep: 1 << 20})
			var want []byte
			b := q.Lock()
			add := func(p []byte) { b = append(b, p...); want = append(want, p...) }
			ref := func(n int) {
				p := pattern(n)
				b = q.Ref(b, p)
				want = append(want, p...)
				if n < 32<<10 {
					clear(p) // a copy was taken
				}
			}
			ref(100 << 10)
			add([]byte("between"))
			ref(10)
			ref(32 << 10)
			ref(300 << 10)
			ref(32<<10 - 1)
			add([]byte("after"))
			q.Unlock(b)
			b = q.Lock() // what is appended now comes after all that
			ref(64 << 10)
			q.Unlock(b)
			if q.Size() != len(want) {
				t.Errorf("%d bytes are queued, want %d", q.Size(), len(want))
			}
			q.Flush()
			got := make([]byte, 0, len(want))
			for p := make([]byte, 5000); len(got) < len(want); {
				n, err := r.Read(p)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, p[:n]...)
			}
			if !bytes.Equal(got, want) {
				t.Error("the peer gets other bytes than were appended")
			}
			flushed(t, q)
			finish(t, q, w)
		})
	}
}

// pieces notes the slices that it is asked to write.
type pieces struct{ all [][]byte }

func (p *pieces) Write(b []byte) (int, error) {
	p.all = append(p.all, b)
	return len(b), nil
}

func TestRefIsNotCopied(t *testing.T) {
	w, large := &pieces{}, pattern(100<<10)
	q := outq.New(w, outq.Options{})
	q.Unlock(append(q.Ref(append(q.Lock(), "before"...), large), "after"...))
	q.Flush()
	flushed(t, q)
	q.End()
	q.Wait()
	if len(w.all) != 3 || &w.all[1][0] != &large[0] || len(w.all[1]) != len(large) {
		t.Errorf("the large slice was copied, or written in pieces")
	}
}

// A large slice lives no longer than it must: not with a queue that is idle, nor with one that has ended.
func TestRefIsForgotten(t *testing.T) {
	large := func(q *outq.Queue) weak.Pointer[byte] {
		p := pattern(100 << 10)
		q.Unlock(q.Ref(q.Lock(), p))
		return weak.Make(&p[0])
	}
	gone := func(t *testing.T, p weak.Pointer[byte]) {
		t.Helper()
		runtime.GC()
		if p.Value() != nil {
			t.Error("a slice is held that will never be written again")
		}
	}
	t.Run("idle", func(t *testing.T) {
		w, r := socketpair(t)
		q := outq.New(w, outq.Options{Keep: 1 << 20})
		p := large(q)
		q.Flush()
		readFull(t, r, 100<<10)
		flushed(t, q)
		gone(t, p)
		finish(t, q, w)
	})
	t.Run("ended before it was written", func(t *testing.T) {
		w, _ := socketpair(t)
		q := outq.New(w, outq.Options{})
		p := large(q)
		q.End()
		gone(t, p)
		finish(t, q, w)
	})
	t.Run("ended by a callback in the middle of it", func(t *testing.T) {
		w, _ := pipe(t, 64<<10)
		var q *outq.Queue
		q = outq.New(w, outq.Options{Room: func() { q.End() }})
		p := large(q)
		q.LockBelow(90 << 10)
		q.Flush() // 36 KiB are left, less than half of the limit
		if q.Append(nil) {
			t.Fatal("there was no room")
		}
		gone(t, p)
		finish(t, q, w)
	})
}

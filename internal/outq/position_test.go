package outq_test

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"supervisord/internal/outq"
)

// Offsets count all that was appended, written or not, copied or by reference.
func TestOffset(t *testing.T) {
	w, r := pipe(t, 0)
	q := outq.New(w, outq.Options{})
	check := func(want int64) {
		t.Helper()
		b := q.Lock()
		if got := q.Offset(b); got != want {
			t.Errorf("offset %d, want %d", got, want)
		}
		q.Unlock(b)
	}
	check(0)
	q.Append([]byte("abc"))
	check(3)
	q.Flush()
	check(3)
	b := q.Lock()
	b = append(b, "de"...)
	if got := q.Offset(b); got != 5 {
		t.Errorf("offset %d in the middle of a message, want 5", got)
	}
	b = q.Ref(b, pattern(100<<10))
	b = append(b, "f"...)
	q.Unlock(b)
	check(6 + 100<<10)
	q.Flush() // more than fits
	check(6 + 100<<10)
	if _, err := io.ReadFull(r, make([]byte, 50<<10)); err != nil {
		t.Fatal(err)
	}
	check(6 + 100<<10)
	q.Halt()
}

// Halt frees a writer that waits, and knows to the byte what the kernel has taken.
func TestHalt(t *testing.T) {
	for _, stall := range []time.Duration{0, time.Hour} {
		w, r := pipe(t, 0)
		q := outq.New(w, outq.Options{Stall: stall})
		q.Append(pattern(300 << 10))
		q.Flush()
		if _, err := io.ReadFull(r, make([]byte, 100<<10)); err != nil {
			t.Fatal(err)
		}
		taken := q.Halt()
		if again := q.Halt(); again != taken {
			t.Errorf("taken %d, then %d", taken, again)
		}
		q.Wait() // nobody closes the pipe for that
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(r)
		if err != nil || int64(100<<10+len(rest)) != taken {
			t.Errorf("the kernel has taken %d, the peer got %d: %v", taken, 100<<10+len(rest), err)
		}
	}
}

// Also where the peer went away, and the queue ended by itself.
func TestHaltAfterFailure(t *testing.T) {
	w, r := pipe(t, 0)
	f := newFailures()
	q := outq.New(w, outq.Options{Failed: f.failed})
	q.Append(pattern(1000))
	q.Flush()
	r.Close()
	q.Append(pattern(100 << 10))
	q.Flush()
	if err := receive(t, f.errs, "failure"); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("failed with %v", err)
	}
	if n := q.Halt(); n != 1000 {
		t.Errorf("taken %d, want 1000", n)
	}
}

// Halt comes at any moment of a write.
func TestHaltStress(t *testing.T) {
	for i := range 200 {
		w, r := pipe(t, 0)
		q := outq.New(w, outq.Options{Stall: time.Duration(i%2) * time.Hour})
		read := make(chan int64)
		go func() {
			n, _ := io.Copy(io.Discard, r) // the pipe is closed below
			read <- n
		}()
		go func() {
			for q.Append(pattern(40 << 10)) {
				q.Flush()
			}
		}()
		time.Sleep(time.Duration(i) * 20 * time.Microsecond)
		taken := q.Halt()
		w.Close()
		if n := receive(t, read, "end of the stream"); n != taken {
			t.Fatalf("taken %d, read %d", taken, n)
		}
		q.Wait()
	}
}

func TestSetStall(t *testing.T) {
	w, _ := pipe(t, 0)
	f := newFailures()
	q := outq.New(w, outq.Options{Failed: f.failed})
	q.SetStall(10 * time.Millisecond)
	q.Append(pattern(100 << 10))
	q.Flush()
	if err := receive(t, f.errs, "failure"); !errors.Is(err, outq.ErrStalled) {
		t.Errorf("failed with %v", err)
	}
	q.Halt()
}

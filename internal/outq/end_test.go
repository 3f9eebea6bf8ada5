package outq_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"supervisord/internal/outq"
)

func TestEnd(t *testing.T) {
	each(t, func(t *testing.T, w io.WriteCloser, r io.ReadCloser) {
		f := newFailures()
		q := outq.New(w, outq.Options{Failed: f.failed})
		q.Append([]byte("never written"))
		q.End()
		q.End()
		if q.Size() != 0 || q.Append([]byte("late")) || q.Unlock(q.Ref(q.Lock(), pattern(100<<10))) {
			t.Error("a queue that has ended takes what is appended")
		}
		q.Flush()
		finish(t, q, w)
		if got, err := io.ReadAll(r); len(got) > 0 || err != nil {
			t.Errorf("the peer gets %q: %v", got, err)
		}
		f.want(t, 0)
	})
}

// When a queue ends in the middle of a message, nothing follows that half, whoever still appends and flushes.
func TestNothingFollowsHalfAMessage(t *testing.T) {
	for _, tr := range transports[:3] {
		t.Run(tr.name, func(t *testing.T) {
			w, r := tr.open(t)
			q := outq.New(w, outq.Options{})
			stream := pattern(2 << 20)
			half := make(chan struct{}, 1)
			var wg sync.WaitGroup
			wg.Go(func() {
				rest := stream
				for large := true; len(rest) > 0; large = !large {
					n := min(len(rest), 3333)
					b := q.Lock()
					if large {
						n = min(len(rest), 50000)
						b = q.Ref(b, rest[:n])
					} else {
						b = append(b, rest[:n]...)
					}
					q.Unlock(b)
					q.Flush()
					before := len(rest)
					if rest = rest[n:]; before > len(stream)/2 && len(rest) <= len(stream)/2 {
						half <- struct{}{}
					}
				}
			})
			var got []byte
			wg.Go(func() {
				p := make([]byte, 777)
				for {
					n, err := r.Read(p)
					got = append(got, p[:n]...)
					if err != nil {
						return
					}
				}
			})
			receive(t, half, "half of the stream")
			finish(t, q, w)
			wg.Wait()
			if !bytes.HasPrefix(stream, got) {
				t.Error("what the peer got is no beginning of the stream")
			}
		})
	}
}

func TestFailed(t *testing.T) {
	t.Run("in Flush", func(t *testing.T) {
		w, r := socketpair(t)
		f := newFailures()
		q := outq.New(w, outq.Options{Failed: f.failed})
		r.Close()
		q.Append([]byte("message"))
		q.Flush()
		if err := receive(t, f.errs, "failure"); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("writing failed with %v", err)
		}
		if q.Append([]byte("late")) || q.Size() != 0 {
			t.Error("a queue that has failed takes what is appended")
		}
		if err := q.WaitBelow(0); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("WaitBelow returns %v", err)
		}
		q.Flush()
		finish(t, q, w)
		f.want(t, 1)
	})
	t.Run("in the drain goroutine", func(t *testing.T) {
		each(t, func(t *testing.T, w io.WriteCloser, r io.ReadCloser) {
			f := newFailures()
			var q *outq.Queue
			q = outq.New(w, outq.Options{Failed: func(err error) {
				q.End() // does nothing, and must not make the reason another
				q.Flush()
				f.failed(err)
			}})
			q.Append(pattern(4 << 20))
			q.Flush()
			r.Close()
			err := receive(t, f.errs, "failure")
			if err == nil || errors.Is(err, outq.ErrClosed) {
				t.Errorf("writing failed with %v", err)
			}
			if got := q.WaitBelow(0); !errors.Is(got, err) {
				t.Errorf("WaitBelow returns %v, want %v", got, err)
			}
			finish(t, q, w)
			f.want(t, 1)
		})
	})
	t.Run("not when the owner closes after End", func(t *testing.T) {
		for _, tr := range transports[:3] {
			t.Run(tr.name, func(t *testing.T) {
				w, _ := tr.open(t)
				f := newFailures()
				q := outq.New(w, outq.Options{Failed: f.failed})
				q.Append(pattern(4 << 20))
				q.Flush()
				finish(t, q, w) // the writer is blocked, and wakes up with an error
				f.want(t, 0)
			})
		}
	})
	t.Run("when the descriptor is closed without End", func(t *testing.T) {
		w, _ := socketpair(t)
		f := newFailures()
		q := outq.New(w, outq.Options{Failed: f.failed})
		q.Append(pattern(4 << 20))
		q.Flush()
		w.Close()
		if err := receive(t, f.errs, "failure"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing failed with %v", err)
		}
		q.Wait()
		f.want(t, 1)
	})
}

// short takes less than it is given and says nothing.
type short struct{}

func (short) Write([]byte) (int, error) { return 0, nil }

func TestShortWriteIsAFailure(t *testing.T) {
	f := newFailures()
	q := outq.New(short{}, outq.Options{Failed: f.failed})
	q.Append([]byte("message"))
	q.Flush()
	if err := receive(t, f.errs, "failure"); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("writing failed with %v", err)
	}
	q.Wait()
}

// Whoever comes first, the owner with End or the writer with an error, is the reason; the other is not heard.
func TestEndAgainstFailure(t *testing.T) {
	large := pattern(1 << 20)
	for range 100 {
		w, r := socketpair(t)
		f := newFailures()
		q := outq.New(w, outq.Options{Failed: f.failed})
		q.Unlock(q.Ref(q.Lock(), large))
		q.Flush()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { q.Append([]byte("message")); q.Flush() })
			wg.Go(q.End)
		}
		wg.Go(func() { r.Close() })
		wg.Wait()
		w.Close()
		q.Wait()
		want := int32(1)
		if errors.Is(q.WaitBelow(0), outq.ErrClosed) {
			want = 0
		}
		f.want(t, want)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		defer peer.Close()
		q := outq.New(ours, outq.Options{})
		q.Wait() // nobody is at work
		q.Append(pattern(100))
		q.Flush()
		synctest.Wait() // the drain goroutine is blocked
		q.End()
		waited := make(chan struct{})
		go func() {
			q.Wait()
			close(waited)
		}()
		synctest.Wait()
		select {
		case <-waited:
			t.Error("Wait returned while the drain goroutine was blocked")
		default:
		}
		ours.Close()
		<-waited
	})
}

func TestPeerThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		defer peer.Close()
		f := newFailures()
		q := outq.New(ours, outq.Options{Stall: 10 * time.Second, Failed: f.failed})
		start := time.Now()
		q.Append(pattern(100))
		q.Flush()
		if err := q.WaitBelow(0); !errors.Is(err, outq.ErrStalled) {
			t.Errorf("WaitBelow returns %v", err)
		}
		if got := time.Since(start); got != 10*time.Second {
			t.Errorf("the peer was given %v", got)
		}
		finish(t, q, ours)
		if err := <-f.errs; !errors.Is(err, outq.ErrStalled) {
			t.Errorf("writing failed with %v", err)
		}
		f.want(t, 1)
	})
}

func TestPeerThatTakesAByteNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		defer peer.Close()
		f := newFailures()
		q := outq.New(ours, outq.Options{Stall: 10 * time.Second, Failed: f.failed})
		want := pattern(100)
		q.Append(want)
		q.Flush()
		got := make([]byte, 0, len(want))
		for range want {
			time.Sleep(9 * time.Second)
			got = append(got, readFull(t, peer, 1)...)
		}
		flushed(t, q)
		if !bytes.Equal(got, want) {
			t.Error("the peer gets other bytes than were appended")
		}
		// Nothing is left of the time that the peer was given: a queue may be idle as long as it likes.
		time.Sleep(time.Hour)
		q.Append([]byte("later"))
		q.Flush()
		if got := readFull(t, peer, 5); string(got) != "later" {
			t.Errorf("the peer gets %q", got)
		}
		flushed(t, q)
		finish(t, q, ours)
		f.want(t, 0)
	})
}

func TestNoStallMeansPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		defer peer.Close()
		f := newFailures()
		q := outq.New(ours, outq.Options{Failed: f.failed})
		q.Append([]byte("message"))
		q.Flush()
		time.Sleep(1000 * time.Hour)
		if got := readFull(t, peer, 7); string(got) != "message" {
			t.Errorf("the peer gets %q", got)
		}
		flushed(t, q)
		finish(t, q, ours)
		f.want(t, 0)
	})
}

// hurried is a socket for which time passes at once: every deadline is over as soon as it is set, and before it is, the
// peer does what meanwhile says.
type hurried struct {
	*net.UnixConn
	meanwhile func()
}

func (h *hurried) SetWriteDeadline(at time.Time) error {
	if !at.IsZero() {
		h.meanwhile()
		at = time.Unix(1, 0)
	}
	return h.UnixConn.SetWriteDeadline(at)
}

// A Unix socket that is full is not reported writable before three quarters of it are empty. A peer that reads more
// slowly has not stalled.
func TestSlowReaderOfASocketIsNotStalled(t *testing.T) {
	ours, peer := socketpair(t)
	f, want := newFailures(), pattern(1<<20)
	got := make([]byte, 0, len(want))
	w := &hurried{UnixConn: ours, meanwhile: func() {
		p := make([]byte, 40<<10)
		n, err := peer.Read(p)
		if err != nil {
			t.Error(err)
		}
		got = append(got, p[:n]...)
	}}
	q := outq.New(w, outq.Options{Stall: time.Minute, Failed: f.failed})
	q.Append(want)
	q.Flush()
	flushed(t, q)
	got = append(got, readFull(t, peer, len(want)-len(got))...)
	if !bytes.Equal(got, want) {
		t.Error("the peer gets other bytes than were appended")
	}
	finish(t, q, ours)
	f.want(t, 0)
}

func TestSocketWhosePeerTakesNothing(t *testing.T) {
	ours, _ := socketpair(t)
	f := newFailures()
	q := outq.New(&hurried{UnixConn: ours, meanwhile: func() {}}, outq.Options{Stall: time.Minute, Failed: f.failed})
	q.Append(pattern(1 << 20))
	q.Flush()
	if err := receive(t, f.errs, "failure"); !errors.Is(err, outq.ErrStalled) {
		t.Errorf("writing failed with %v", err)
	}
	finish(t, q, ours)
	f.want(t, 1)
}

// Real time, real descriptors: the deadline is set, and it is heard.
func TestStallOnRealDescriptors(t *testing.T) {
	for _, tr := range transports[:2] {
		t.Run(tr.name, func(t *testing.T) {
			w, _ := tr.open(t)
			f := newFailures()
			q := outq.New(w, outq.Options{Stall: time.Millisecond, Failed: f.failed})
			q.Append(pattern(1 << 20))
			q.Flush()
			if err := receive(t, f.errs, "failure"); !errors.Is(err, outq.ErrStalled) || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("writing failed with %v", err)
			}
			finish(t, q, w)
			f.want(t, 1)
		})
	}
}

func TestLost(t *testing.T) {
	w, _ := socketpair(t)
	q := outq.New(w, outq.Options{})
	q.Append([]byte("message"))
	if q.Lost() != 0 {
		t.Error("something is lost before the end")
	}
	q.End()
	q.End()
	if q.Lost() != 7 || q.Size() != 0 {
		t.Errorf("%d bytes are lost, %d queued", q.Lost(), q.Size())
	}
	finish(t, q, w)
}

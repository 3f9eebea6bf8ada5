package outq_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"supervisord/internal/outq"
)

const frameHead = 12

// bodies is what the bodies of frames are cut from.
var bodies = pattern(100 << 10)

func body(appender, seq, n int) []byte { return bodies[(appender*31+seq*7)%1000:][:n] }

// frame is message number seq of an appender, n bytes long beside its head.
func frame(appender, seq, n int) []byte {
	p := make([]byte, 0, frameHead+n)
	p = binary.BigEndian.AppendUint32(p, uint32(appender))
	p = binary.BigEndian.AppendUint32(p, uint32(seq))
	p = binary.BigEndian.AppendUint32(p, uint32(n))
	return append(p, body(appender, seq, n)...)
}

// readFrames reads frames until the stream ends, which may be in the middle of one, and returns how many came whole of
// each appender. Each must be what its appender wrote, in its order and without a gap.
func readFrames(t *testing.T, r io.Reader, appenders int) []int {
	counts := make([]int, appenders)
	in := bufio.NewReaderSize(r, 1000)
	head, space := make([]byte, frameHead), make([]byte, 90<<10)
	for {
		if _, err := io.ReadFull(in, head); err != nil {
			return counts
		}
		appender, seq := int(binary.BigEndian.Uint32(head)), int(binary.BigEndian.Uint32(head[4:]))
		if appender >= appenders || seq != counts[appender] {
			t.Errorf("frame %d of appender %d comes where it should not", seq, appender)
			return counts
		}
		n := binary.BigEndian.Uint32(head[8:])
		if int(n) > len(space) {
			t.Errorf("frame %d of appender %d would have %d bytes", seq, appender, n)
			return counts
		}
		if _, err := io.ReadFull(in, space[:n]); err != nil {
			return counts
		}
		if !bytes.Equal(space[:n], body(appender, seq, int(n))) {
			t.Errorf("frame %d of appender %d has other bytes", seq, appender)
			return counts
		}
		counts[appender]++
		if seq%16 == 0 {
			runtime.Gosched()
		}
	}
}

// Many goroutines append messages of all sizes, each in its own way, to a peer that reads slowly: all arrives, and in
// the order of each.
func TestManyAppenders(t *testing.T) {
	const appenders, messages = 8, 300
	each(t, func(t *testing.T, w io.WriteCloser, r io.ReadCloser) {
		f := newFailures()
		q := outq.New(w, outq.Options{Keep: 64 << 10, Stall: patience, Failed: f.failed})
		counts := make(chan []int, 1)
		go func() { counts <- readFrames(t, r, appenders) }()
		var wg sync.WaitGroup
		for a := range appenders {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(a), 1))
				var set outq.Set
				for seq := range messages {
					n := random.IntN(300)
					if random.IntN(20) == 0 {
						n = 30000 + random.IntN(50000)
					}
					if p := frame(a, seq, n); random.IntN(2) == 0 {
						q.Append(p)
					} else {
						q.Unlock(q.Ref(append(q.Lock(), p[:frameHead]...), p[frameHead:]))
					}
					set.Add(q)
					if random.IntN(4) == 0 {
						set.Flush()
					}
					if random.IntN(50) == 0 {
						set.Flush()
						if err := q.WaitBelow(random.IntN(100 << 10)); err != nil {
							t.Error(err)
						}
					}
				}
				set.Flush()
			})
		}
		wg.Wait()
		flushed(t, q)
		finish(t, q, w)
		for a, got := range receive(t, counts, "end of the stream") {
			if got != messages {
				t.Errorf("%d messages of appender %d arrive, want %d", got, a, messages)
			}
		}
		f.want(t, 0)
	})
}

// Everything at once, and the end at any time and from any side: no message is torn, no waiter stays asleep, nothing is
// called twice.
func TestStress(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 10
	}
	for _, tr := range transports[:3] {
		t.Run(tr.name, func(t *testing.T) {
			for round := range rounds {
				w, r := tr.open(t)
				stress(t, w, r, rand.New(rand.NewPCG(uint64(round), 2)))
			}
		})
	}
}

func stress(t *testing.T, w io.WriteCloser, r io.ReadCloser, random *rand.Rand) {
	const appenders, messages = 6, 60
	var (
		q        *outq.Queue
		inRoom   atomic.Int32
		refused  atomic.Int64 // refusals that Room has not answered yet; only that they are some is known
		fed      int          // frames of the last appender, which is fed by Room
		feeding  sync.Mutex
		f        = newFailures()
		limit    = 1000 + random.IntN(50000)
		endsAt   = random.IntN(2 * appenders * messages) // often never
		appended atomic.Int32
		how      = random.IntN(3)
	)
	feed := func() {
		feeding.Lock()
		defer feeding.Unlock()
		for fed < messages {
			b, ok := q.LockBelow(limit)
			if !ok {
				refused.Store(1)
				return
			}
			ok = q.Unlock(append(b, frame(appenders, fed, 2000)...))
			fed++
			if !ok {
				return
			}
		}
	}
	q = outq.New(w, outq.Options{
		Keep: 10000, Stall: patience, Failed: f.failed,
		Room: func() {
			if inRoom.Add(1) != 1 {
				t.Error("Room is called twice at a time")
			}
			if refused.Swap(0) == 0 {
				t.Error("Room is called and nothing was refused")
			}
			feed()
			inRoom.Add(-1)
		},
	})
	end := sync.OnceFunc(func() {
		switch how {
		case 0:
			q.End()
		case 1:
			r.Close()
		case 2:
			w.Close()
		}
	})
	counts := make(chan []int, 1)
	go func() { counts <- readFrames(t, r, appenders+1) }()
	feed()
	var wg sync.WaitGroup
	for a := range appenders {
		seed := random.Uint64()
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, 3))
			for seq := range messages {
				n := random.IntN(5000)
				if random.IntN(10) == 0 {
					n = 32<<10 + random.IntN(40<<10)
				}
				p := frame(a, seq, n)
				q.Unlock(q.Ref(q.Lock(), p))
				if random.IntN(3) > 0 {
					q.Flush()
				}
				if random.IntN(10) == 0 {
					q.Flush()
					_ = q.WaitBelow(random.IntN(20000)) // an error where the queue has ended, which is as good
				}
				if int(appended.Add(1)) == endsAt {
					end()
				}
				if q.Size() < 0 {
					t.Error("less than nothing is queued")
				}
			}
			q.Flush()
		})
	}
	wg.Wait()
	err := q.WaitBelow(0)
	if whole := endsAt == 0 || endsAt > appenders*messages; whole != (err == nil) && (whole || how == 0) {
		t.Errorf("the queue ended with %v, was ended: %v", err, !whole)
	}
	q.End()
	w.Close()
	q.Wait()
	got := receive(t, counts, "end of the stream")
	if err == nil {
		for a, n := range got {
			if n != messages {
				t.Errorf("%d messages of appender %d arrive, want %d", n, a, messages)
			}
		}
	}
	if n := f.count.Load(); n > 1 || (n == 1 && err == nil) {
		t.Errorf("Failed was called %d times, and the queue ended with %v", n, err)
	}
}

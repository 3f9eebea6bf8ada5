package jobs

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// entry is one chunk as the backlog should hold it.
type entry struct {
	chunk, metadata []byte
	final           bool
}

// A backlog gives back what it was given, in order, whatever its sizes and however full it is in between.
func TestBacklog(t *testing.T) {
	for _, c := range []struct {
		name string
		size func(*rand.Rand) int
		keep int // about how many wait
	}{
		{"empty chunks", func(*rand.Rand) int { return 0 }, 10},
		{"small", func(r *rand.Rand) int { return r.IntN(20) }, 50},
		{"mixed", func(r *rand.Rand) int { return r.IntN(1 << r.IntN(16)) }, 20},
		{"hardly any", func(r *rand.Rand) int { return r.IntN(100) }, 1},
		{"one huge", func(r *rand.Rand) int { return r.IntN(2) * (200 << 10) }, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(len(c.name))))
			var (
				b        backlog
				want     []entry
				produced int64
				held     int
				biggest  int
			)
			for range 1000 {
				if r.IntN(2*c.keep) >= len(want) {
					e := entry{
						chunk: bytes.Repeat([]byte{byte(r.Uint32())}, c.size(r)), metadata: bytes.Repeat([]byte("m"), r.IntN(5)),
						final: r.IntN(2) == 0,
					}
					b.push(e.chunk, e.metadata, e.final)
					want = append(want, e)
					produced++
					held += backlogHeader + len(e.chunk) + len(e.metadata)
				} else {
					checkFirst(t, &b, want[0], produced, int64(len(want)))
					held -= backlogHeader + len(want[0].chunk) + len(want[0].metadata)
					want = want[1:]
					b.pop()
				}
				biggest = max(biggest, held)
				if b.empty() != (len(want) == 0) || b.size() != held {
					t.Fatalf("size %d, want %d of %d chunks", b.size(), held, len(want))
				}
			}
			for ; len(want) > 0; want = want[1:] {
				checkFirst(t, &b, want[0], produced, int64(len(want)))
				b.pop()
			}
			if !b.empty() || b.size() != 0 {
				t.Errorf("size %d when empty", b.size())
			}
			// What was taken makes room for what comes: the memory is bounded by what waits, not by what has passed.
			if most := 8*biggest + 64; cap(b.buf) > most {
				t.Errorf("%d bytes of memory for at most %d", cap(b.buf), biggest)
			}
		})
	}
}

func checkFirst(t *testing.T, b *backlog, want entry, produced, waiting int64) {
	t.Helper()
	seq, chunk, metadata, final := b.first(produced)
	if seq != produced-waiting || !bytes.Equal(chunk, want.chunk) || !bytes.Equal(metadata, want.metadata) || final != want.final {
		t.Fatalf("chunk %d of %d bytes, metadata %q, final %t", seq, len(chunk), metadata, final)
	}
	if cap(chunk) != len(chunk) || cap(metadata) != len(metadata) {
		t.Fatal("appending to a chunk would write into the next")
	}
}

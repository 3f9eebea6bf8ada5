package dispatch_test

import (
	"sync/atomic"
	"testing"
	"time"

	"supervisord/internal/jobs"
	"supervisord/internal/outq"
	"supervisord/protocol"
)

// answer is a caller that only wants to know when it is answered.
type answer chan *protocol.Error

func (answer) Chunk(int64, []byte, []byte, bool, *outq.Set) bool { return true }
func (answer) Progress([]byte, []byte, *outq.Set)                {}

func (a answer) Keep(int) bool { return true }

func (a answer) Done(_ []byte, _ int64, err *protocol.Error, _ *outq.Set) { a <- err }

// benchCall is the whole path of one call from its making to its answer, through a real process.
func benchCall(b *testing.B, f *fixture, set *outq.Set, params []byte, a answer) {
	j, err := f.registry.Make(jobs.Spec{Plugin: "echo", Params: params, Created: time.Now()}, a)
	if err != nil {
		b.Error(err)
		return
	}
	j.Start(set)
	set.Flush()
	if err := <-a; err != nil {
		b.Error(err)
	}
}

func benchFixture(b *testing.B) *fixture {
	f := newFixture(b, nil)
	f.add("text", "concurrent", func(s *setup) { s.Options.Concurrency, s.QueueSize = 64, 1<<20 })
	f.settled()
	b.ReportAllocs()
	return f
}

var benchParams = []byte(`{"text":"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"}`)

// BenchmarkCall makes one call after the other. Most of its time is the process's.
func BenchmarkCall(b *testing.B) {
	f := benchFixture(b)
	var set outq.Set
	a := make(answer, 1)
	for b.Loop() {
		benchCall(b, f, &set, benchParams, a)
	}
}

// BenchmarkCalls has 64 calls in flight.
func BenchmarkCalls(b *testing.B) {
	f := benchFixture(b)
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		var set outq.Set
		a := make(answer, 1)
		for pb.Next() {
			benchCall(b, f, &set, benchParams, a)
		}
	})
}

// BenchmarkChunks streams one job's chunks; an operation is one chunk.
func BenchmarkChunks(b *testing.B) {
	f := newFixture(b, nil)
	f.add("text", "flood", nil)
	f.settled()
	b.ReportAllocs()
	c := &counting{answer: make(answer, 1), more: make(chan struct{}, 1)}
	j, err := f.registry.Make(jobs.Spec{Plugin: "echo", Params: []byte(`{"flood":true}`), Stream: true, Created: time.Now()}, c)
	if err != nil {
		b.Fatal(err)
	}
	var set outq.Set
	j.Start(&set)
	set.Flush()
	seen := int64(0)
	for b.Loop() {
		for seen == c.chunks.Load() {
			<-c.more
		}
		seen++
	}
	j.Cancel(protocol.ByCaller, false, &set)
	set.Flush()
	if err := <-c.answer; err == nil {
		b.Error("a flood has ended by itself")
	}
}

// counting counts the chunks of a stream.
type counting struct {
	answer
	chunks atomic.Int64
	more   chan struct{}
}

func (c *counting) Chunk(int64, []byte, []byte, bool, *outq.Set) bool {
	c.chunks.Add(1)
	select {
	case c.more <- struct{}{}:
	default:
	}
	return true
}

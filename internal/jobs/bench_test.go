package jobs_test

import (
	"testing"
	"time"

	"supervisord/internal/jobs"
	"supervisord/internal/outq"
	"supervisord/protocol"
)

// sink is a caller that takes everything.
type sink struct{}

func (sink) Chunk(int64, []byte, []byte, bool, *outq.Set) bool { return true }
func (sink) Progress([]byte, []byte, *outq.Set)                {}
func (sink) Keep(int) bool                                     { return true }
func (sink) Done([]byte, int64, *protocol.Error, *outq.Set)    {}
func (sink) Submit(*jobs.Job, *outq.Set)                       {}
func (sink) End(*jobs.Job, jobs.Ending, *outq.Set)             {}

// BenchmarkJob is a job's own part of a call: what it costs beside scheduler and link.
func BenchmarkJob(b *testing.B) {
	var set outq.Set
	r := jobs.New(jobs.Options{Backlog: 1 << 20, Executor: sink{}})
	s := jobs.Spec{Plugin: "echo", Params: []byte(`{"text":"x"}`), Created: time.Now()}
	data := []byte(`{"text":"x"}`)
	b.ReportAllocs()
	for b.Loop() {
		j, err := r.Make(s, sink{})
		if err != nil {
			b.Fatal(err)
		}
		j.Start(&set)
		j.Running("text/0", 1, 1, s.Created)
		j.Finish(data, nil, protocol.EndedByResult, "", s.Created, &set)
	}
}

// BenchmarkChunk is a job's own part of a chunk that its caller takes at once.
func BenchmarkChunk(b *testing.B) {
	var set outq.Set
	r := jobs.New(jobs.Options{Backlog: 1 << 20, Executor: sink{}})
	j, err := r.Make(jobs.Spec{Plugin: "echo", Stream: true, Created: time.Now()}, sink{})
	if err != nil {
		b.Fatal(err)
	}
	j.Start(&set)
	j.Running("text/0", 1, 1, time.Now())
	chunk, metadata := []byte(`"0123456789"`), []byte("{}")
	b.ReportAllocs()
	for b.Loop() {
		j.Chunk(chunk, metadata, false, &set)
	}
}

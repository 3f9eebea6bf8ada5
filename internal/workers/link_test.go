package workers

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/zap"

	"supervisord/internal/outq"
	"supervisord/internal/process"
	"supervisord/protocol"
)

// sinkJob counts what it gets. Its channel gets a token for the final chunk of a batch.
type sinkJob struct {
	id     string
	chunks int
	final  chan struct{}
	result chan Result
}

func (j *sinkJob) ID() string { return j.id }

func (j *sinkJob) Chunk(_, _ []byte, final bool, _ *outq.Set) bool {
	if j.chunks++; final {
		j.final <- struct{}{}
	}
	return false
}

func (j *sinkJob) Hold(Holder) bool                  { return false }
func (j *sinkJob) Logged(*outq.Set)                  {}
func (j *sinkJob) Crowded(*outq.Set)                 {}
func (j *sinkJob) Oversized(int64, *outq.Set)        {}
func (j *sinkJob) Progress(_, _ []byte, _ *outq.Set) {}
func (j *sinkJob) Result(r *Result, _ *outq.Set)     { j.result <- *r }
func (j *sinkJob) Unresponsive(*outq.Set)            {}
func (j *sinkJob) Lost(*Exit, bool, *outq.Set)       {}

func newSinkJob(id string) *sinkJob {
	return &sinkJob{id: id, final: make(chan struct{}, 1), result: make(chan Result, 1)}
}

func chunkFrame(b []byte, id string, final bool) []byte {
	const text = "sixty-four bytes of a text that a language model might write now"
	return protocol.AppendFrame(b, fmt.Appendf(nil,
		`{"type":"stream_chunk","job_id":%q,"chunk":%q,"is_final":%t,"metadata":{}}`, id, text, final))
}

// linkOver is a link that reads a pipe, ready and with these jobs.
func linkOver(tb testing.TB, jobs ...*sinkJob) (w *os.File) {
	tb.Helper()
	_, w = incarnationOver(tb, jobs...)
	return w
}

func incarnationOver(tb testing.TB, jobs ...*sinkJob) (inc *Incarnation, w *os.File) {
	tb.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	worker := &Worker{pool: &Pool{}, mail: newMailbox()}
	inc = &Incarnation{
		worker: worker, gen: &generation{opts: &Options{}}, proc: &process.Process{Responses: r}, log: zap.NewNop(),
		jobs: map[string]held{}, capacity: 8, exit: make(chan struct{}), created: time.Now(),
	}
	for _, j := range jobs {
		inc.jobs[j.id] = held{job: j, id: j.id, linkID: j.id}
	}
	inc.link = newLink(inc, 1<<20)
	inc.link.ready = true
	inc.readers.Go(inc.link.run)
	tb.Cleanup(func() {
		w.Close()
		inc.readers.Wait()
		r.Close()
		if inc.link.fault != nil {
			tb.Error(inc.link.fault)
		}
	})
	return inc, w
}

// batchOf is n chunks, those of the jobs in turns, the last one final.
func batchOf(n int, jobs ...*sinkJob) []byte {
	var b []byte
	for i := range n {
		b = chunkFrame(b, jobs[i%len(jobs)].id, i == n-1)
	}
	return b
}

// A chunk costs no allocation, whether it is of the same job as the last one or not.
func TestChunksDoNotAllocate(t *testing.T) {
	const n = 100
	one, two := newSinkJob("job-0123456789abcdef0123456789abcdef"), newSinkJob("job-fedcba9876543210fedcba9876543210")
	for name, jobs := range map[string][]*sinkJob{"one stream": {one}, "two streams": {one, two}} {
		t.Run(name, func(t *testing.T) {
			w := linkOver(t, jobs...)
			batch := batchOf(n, jobs...)
			last := jobs[(n-1)%len(jobs)]
			allocs := testing.AllocsPerRun(100, func() {
				if _, err := w.Write(batch); err != nil {
					t.Fatal(err)
				}
				<-last.final
			})
			if allocs >= 1 {
				t.Errorf("%.1f allocations for %d chunks", allocs, n)
			}
		})
	}
}

// BenchmarkLinkChunks reads chunks of 64 bytes from a pipe: one operation is one chunk.
func BenchmarkLinkChunks(b *testing.B) {
	const n = 300 // about what a pipe holds
	j := newSinkJob("job-0123456789abcdef0123456789abcdef")
	w := linkOver(b, j)
	batch := batchOf(n, j)
	b.ReportAllocs()
	begin := time.Now()
	chunks := 0
	for b.Loop() {
		if chunks%n == 0 {
			if _, err := w.Write(batch); err != nil {
				b.Fatal(err)
			}
			<-j.final
		}
		chunks++
	}
	b.ReportMetric(float64(chunks)/time.Since(begin).Seconds(), "chunks/s")
}

package jobs_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"supervisord/internal/jobs"
	"supervisord/internal/outq"
	"supervisord/protocol"
)

// window is a caller with room for a few chunks, which another goroutine makes: what a connection is.
type window struct {
	t    *testing.T
	room chan struct{} // a token: somebody waits for room
	done chan struct{}
	quit chan struct{}

	mu    sync.Mutex // as a connection's: taken after the job's
	free  int
	next  int64
	ended int
	all   int64
	err   *protocol.Error
}

func (w *window) Chunk(seq int64, chunk, _ []byte, _ bool, _ *outq.Set) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended > 0 {
		w.t.Errorf("chunk %d after the answer", seq)
	}
	if w.free == 0 {
		select {
		case w.room <- struct{}{}:
		default:
		}
		return false
	}
	w.free--
	if got := int64(binary.BigEndian.Uint64(chunk)); seq != w.next || got != seq {
		w.t.Errorf("chunk %d as number %d, want %d", got, seq, w.next)
	}
	w.next++
	return true
}

func (w *window) Progress([]byte, []byte, *outq.Set) {}

func (w *window) Keep(int) bool { return true }

func (w *window) Done(_ []byte, chunks int64, err *protocol.Error, _ *outq.Set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended++; w.ended > 1 {
		w.t.Error("answered twice")
		return
	}
	w.all, w.err = chunks, err
	close(w.done)
}

// feed makes room whenever somebody waits for it.
func (w *window) feed(j *jobs.Job, r *rand.Rand) {
	var set outq.Set
	for {
		select {
		case <-w.quit:
			return
		case <-w.room:
		}
		w.mu.Lock()
		w.free += 1 + r.IntN(10)
		w.mu.Unlock()
		j.Feed(&set)
	}
}

// reader is the holder of a link.
type reader chan struct{}

func (r reader) Resume() {
	select {
	case r <- struct{}{}:
	default:
	}
}

// Whatever a worker, a connection and those who end a job do at once: each chunk reaches the caller once and in order, the
// answer comes once and after them, and a reader that waits is always woken.
func TestModel(t *testing.T) {
	const rounds = 400
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 7))
		modelRound(t, r)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

func modelRound(t *testing.T, r *rand.Rand) {
	registry := jobs.New(jobs.Options{Backlog: 1 + r.IntN(300), Executor: &executor{}})
	w := &window{t: t, room: make(chan struct{}, 1), done: make(chan struct{}), quit: make(chan struct{}), free: r.IntN(3)}
	j, err := registry.Make(jobs.Spec{Stream: true, Continue: r.IntN(2) == 0, Created: time.Now()}, w)
	if err != nil {
		t.Fatal(err)
	}
	var (
		set     outq.Set
		wg      sync.WaitGroup
		feeding sync.WaitGroup
		count   = r.IntN(200)
		died    = r.IntN(2) == 0
		cancel  = r.IntN(3) == 0
		leaves  = r.IntN(4) == 0
		at      = r.IntN(200)
		moment  = make(chan struct{}) // of the stream at which the others act
	)
	j.Start(&set)
	j.Running("p/0", 1, 1, time.Now())
	feeder := rand.New(rand.NewPCG(r.Uint64(), 1))
	feeding.Go(func() { w.feed(j, feeder) })
	wg.Go(func() { produce(t, j, count, min(at, count-1), moment, died) })
	if cancel {
		wg.Go(func() {
			<-moment
			var set outq.Set
			j.Cancel(protocol.ByOwner, false, &set)
		})
	}
	if leaves {
		wg.Go(func() {
			<-moment
			j.Leave()
		})
	}
	wg.Wait()
	answered := false
	select {
	case <-w.done:
		answered = true
	case <-time.After(patience):
		t.Error("no answer came")
	case <-after(leaves): // it had left before
	}
	close(w.quit)
	feeding.Wait()
	checkModel(t, w, j, answered, died)
	if n := len(registry.All()); n != 0 {
		t.Errorf("%d live jobs", n)
	}
}

// after is closed at once where ok, else never.
func after(ok bool) <-chan struct{} {
	c := make(chan struct{})
	if ok {
		close(c)
	}
	return c
}

// produce is the link's reader of a worker that runs nothing else; chunk number at closes moment.
func produce(t *testing.T, j *jobs.Job, count, at int, moment chan struct{}, died bool) {
	var set outq.Set
	h := make(reader, 1)
	buf := make([]byte, 8)
	if count == 0 {
		close(moment)
	}
	for i := range count {
		if i == at {
			close(moment)
		}
		binary.BigEndian.PutUint64(buf, uint64(i))
		if j.Chunk(buf, []byte("{}"), false, &set) == jobs.Flowing {
			continue
		}
		for j.HoldFor(h) {
			select {
			case <-h:
			case <-time.After(patience):
				t.Error("a reader was never woken")
				return
			}
		}
	}
	var err *protocol.Error
	if died {
		err = protocol.NewError(protocol.CodeWorkerDied, "killed")
	}
	j.Finish([]byte("{}"), err, protocol.EndedByResult, protocol.HowCooperative, time.Now(), &set)
}

func checkModel(t *testing.T, w *window, j *jobs.Job, answered, died bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !answered || w.ended == 0 {
		return
	}
	status, _ := j.Outcome()
	want := protocol.JobCompleted
	switch {
	case j.Ending():
		want = protocol.JobCancelled
	case died:
		want = protocol.JobFailed
	}
	if got := fmt.Sprint(status, w.err == nil); got != fmt.Sprint(want, want == protocol.JobCompleted) {
		t.Errorf("status %s, error %v", status, w.err)
	}
	if w.all != j.Chunks() || w.next > w.all || want != protocol.JobCancelled && w.next != w.all {
		t.Errorf("%d chunks of %d, told %d", w.next, j.Chunks(), w.all)
	}
}

package workers

import (
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"supervisord/internal/outq"
	"supervisord/protocol"
)

// lateJob is a job at whose first chunk the reader is held up, as by a busy machine or a log that takes nothing.
type lateJob struct {
	*sinkJob
	begun, free chan struct{}
}

func (j *lateJob) Chunk([]byte, []byte, bool, *outq.Set) bool {
	close(j.begun)
	<-j.free
	return false
}

// What a process wrote before its end counts, however late the reader comes to it.
func TestResultBehindTheDrainDeadline(t *testing.T) {
	inc, w := incarnationOver(t)
	j := &lateJob{sinkJob: newSinkJob("job-1"), begun: make(chan struct{}), free: make(chan struct{})}
	inc.mu.Lock()
	inc.jobs[j.id] = held{job: j, id: j.id, linkID: j.id}
	inc.mu.Unlock()
	if _, err := w.Write(chunkFrame(nil, j.id, false)); err != nil {
		t.Fatal(err)
	}
	<-j.begun
	if _, err := w.Write(protocol.AppendFrame(nil, []byte(`{"type":"result","job_id":"job-1","status":"success","data":{}}`))); err != nil {
		t.Fatal(err)
	}
	w.Close() // the process has ended, and nobody else holds the pipe
	inc.proc.DrainUntil(time.Now().Add(-time.Second))
	close(j.free)
	inc.readers.Wait()
	select {
	case <-j.result:
	default:
		t.Error("the result, which was in the pipe, is lost")
	}
}

// So does the last line of its stderr.
func TestLastLineBehindTheDrainDeadline(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("first\nlast words"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := r.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	o := &output{log: zap.NewNop(), job: func() string { return "" }}
	o.read(r, "stderr")
	if tail := o.stderrTail(); !slices.Equal(tail, []string{"first", "last words"}) {
		t.Errorf("tail %q", tail)
	}
}

package workers

import (
	"io"
	"testing"

	"supervisord/internal/outq"
)

// A job that comes between the end of the link and the word of it is not taken, so that it can go elsewhere.
func TestExecuteOnBrokenLink(t *testing.T) {
	inc := &Incarnation{
		worker: &Worker{pool: &Pool{}, mail: newMailbox()}, queue: outq.New(io.Discard, outq.Options{}), accepting: true, jobs: map[string]held{},
	}
	inc.queue.End()
	var set outq.Set
	if inc.Execute(&Execution{LinkID: "a", Plugin: "echo"}, newSinkJob("a"), &set) || len(inc.jobs) != 0 {
		t.Error("the job was taken")
	}
}

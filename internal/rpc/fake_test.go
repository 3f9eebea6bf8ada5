package rpc_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"supervisord/internal/outq"
	"supervisord/internal/rpc"
	"supervisord/protocol"
)

// backend is a daemon without workers, in which nothing happens by itself. Its plugins are echo (the result is the
// params), spell (streams the letters of params.word), big (a result of params.size bytes), fail (a worker's error) and
// hold, whose jobs the test drives.
type backend struct {
	held   chan *job // jobs of hold, once they have started
	events chan event

	mu      sync.Mutex
	jobs    map[string]*job
	made    int
	answers int    // calls of Done
	left    int    // calls of Leave
	told    int    // calls of Plugins
	panics  string // what Plugins panics with, unless empty
	plugins []protocol.Plugin
	slow    func(*job, string, bool) // what Cancel does instead of ending the job

	admin admin // set before the first call
}

// event is something that was asked of a job.
type event struct {
	job  *job
	what string // "cancel caller", "cancel owner force", "too slow", "leave"
	n    int64  // with "too slow"
}

func newBackend() *backend {
	return &backend{
		held: make(chan *job, 1000), events: make(chan event, 10000), jobs: map[string]*job{},
		admin: admin{asked: make(chan string, 1000)},
	}
}

func (b *backend) Make(x rpc.Execution, caller rpc.Caller) (rpc.Job, *protocol.Error) {
	switch x.Plugin {
	case "echo", "spell", "big", "fail", "hold":
	default:
		err := protocol.NewError(protocol.CodeUnknownPlugin, "no pool offers this plugin")
		err.Data.Known = []string{"echo"}
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.made++
	j := &job{b: b, x: x, caller: caller, id: x.JobID, done: make(chan struct{})}
	if j.id == "" {
		j.id = fmt.Sprintf("job-%d", b.made)
	}
	b.jobs[j.id] = j
	return j, nil
}

func (b *backend) Find(id string, uid uint32, admin bool) rpc.Job {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := b.jobs[id]
	if j == nil || (j.x.UID != uid && !admin) {
		return nil
	}
	return j
}

func (b *backend) Plugins() []protocol.Plugin {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told++
	if b.panics != "" {
		panic(b.panics)
	}
	return append([]protocol.Plugin{}, b.plugins...)
}

func (b *backend) Pools() []protocol.Pool     { return []protocol.Pool{} }
func (b *backend) Workers() []protocol.Worker { return []protocol.Worker{} }

func (b *backend) Status() protocol.DaemonStatus {
	return protocol.DaemonStatus{State: protocol.DaemonReady, Version: "1.2.3", Pools: []protocol.Pool{}, TreeKill: protocol.TreeKillCgroup}
}

// offer sets what Plugins tells.
func (b *backend) offer(plugins ...protocol.Plugin) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plugins = plugins
}

// tellings is how often Plugins was asked.
func (b *backend) tellings() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.told
}

// counts are how many jobs were made, answered and left.
func (b *backend) counts() (made, answers, left int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.made, b.answers, b.left
}

// job is the backend's job: what it does to its caller is what the daemon's jobs do.
type job struct {
	b  *backend
	x  rpc.Execution
	id string

	mu      sync.Mutex
	caller  rpc.Caller // nil after Done and after Leave
	chunks  int64
	backlog []string
	refused int // chunks
	ended   bool
	data    []byte
	err     *protocol.Error
	how     protocol.How
	done    chan struct{}
}

func (j *job) JobID() string         { return j.id }
func (j *job) Owner() uint32         { return j.x.UID }
func (j *job) Done() <-chan struct{} { return j.done }

func (j *job) Start(set *outq.Set) {
	switch j.x.Plugin {
	case "echo":
		j.finish(j.x.Params, nil, set)
	case "spell":
		if j.x.Stream {
			for _, letter := range "hi" {
				j.chunk(`"`+string(letter)+`"`, set)
			}
		}
		j.finish(nil, nil, set)
	case "big":
		var size int
		if _, err := fmt.Sscanf(string(j.x.Params), `{"size":%d}`, &size); err != nil {
			panic(err)
		}
		j.finish([]byte(`"`+strings.Repeat("x", size)+`"`), nil, set)
	case "fail":
		err := protocol.NewError(protocol.CodeJobFailed, "bad <input>")
		err.Data.JobID = j.id
		j.finish(nil, err, set)
	case "hold":
		j.b.held <- j
	}
}

// push makes the worker send a chunk, and flushes.
func (j *job) push(chunk string) {
	var set outq.Set
	j.chunk(chunk, &set)
	set.Flush()
}

func (j *job) chunk(chunk string, set *outq.Set) {
	j.mu.Lock()
	defer j.mu.Unlock()
	seq := j.chunks
	j.chunks++
	if j.caller == nil {
		return
	}
	if len(j.backlog) == 0 && j.caller.Chunk(seq, []byte(chunk), []byte("{}"), false, set) {
		return
	}
	j.refused++
	j.backlog = append(j.backlog, chunk)
}

// refusals is how many chunks were not taken at once.
func (j *job) refusals() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.refused
}

func (j *job) progress(progress, message string) {
	var set outq.Set
	j.mu.Lock()
	if j.caller != nil {
		j.caller.Progress([]byte(progress), []byte(message), &set)
	}
	j.mu.Unlock()
	set.Flush()
}

// end makes the worker send its result, and flushes.
func (j *job) end(data string, err *protocol.Error) {
	var set outq.Set
	j.finish([]byte(data), err, &set)
	set.Flush()
}

func (j *job) finish(data []byte, err *protocol.Error, set *outq.Set) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ended {
		return
	}
	j.ended, j.data, j.err = true, data, err
	close(j.done)
	if j.caller != nil && (err != nil || len(j.backlog) == 0) {
		j.answerLocked(set)
	}
}

func (j *job) answerLocked(set *outq.Set) {
	caller := j.caller
	j.caller, j.backlog = nil, nil
	caller.Done(j.data, j.chunks, j.err, set)
	j.b.mu.Lock()
	j.b.answers++
	j.b.mu.Unlock()
}

func (j *job) Feed(set *outq.Set) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.caller == nil {
		return
	}
	for len(j.backlog) > 0 {
		seq := j.chunks - int64(len(j.backlog))
		if !j.caller.Chunk(seq, []byte(j.backlog[0]), []byte("{}"), false, set) {
			return
		}
		j.backlog = j.backlog[1:]
	}
	if j.ended {
		j.answerLocked(set)
	}
}

func (j *job) Leave() bool {
	j.b.mu.Lock()
	j.b.left++
	j.b.mu.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.caller, j.backlog = nil, nil
	j.b.events <- event{job: j, what: "leave"}
	return !j.x.Continue && !j.ended
}

func (j *job) Cancel(by string, force bool, set *outq.Set) {
	what := "cancel " + by
	if force {
		what += " force"
	}
	j.b.events <- event{job: j, what: what}
	j.b.mu.Lock()
	slow := j.b.slow
	j.b.mu.Unlock()
	if slow != nil {
		slow(j, by, force)
		return
	}
	err := protocol.NewError(protocol.CodeCancelled, "job cancelled by "+by)
	err.Data.JobID, err.Data.By, err.Data.How = j.id, by, new(protocol.HowQueued)
	j.mu.Lock()
	if !j.ended {
		j.how = protocol.HowQueued
	}
	j.mu.Unlock()
	j.finish(nil, err, set)
}

func (j *job) TooSlow(buffered int64, set *outq.Set) {
	j.b.events <- event{job: j, what: "too slow", n: buffered}
	j.finish(nil, protocol.NewError(protocol.CodeClientTooSlow, "too slow"), set)
}

func (j *job) Outcome() (protocol.JobStatus, protocol.How) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.how != "":
		return protocol.JobCancelled, j.how
	case j.err != nil:
		return protocol.JobFailed, ""
	}
	return protocol.JobCompleted, ""
}

// hold returns the next job of hold that has started.
func (b *backend) hold(t testing.TB) *job { return receive(t, b.held, "held job") }

// want waits for the next event, which has to be this one.
func (b *backend) want(t testing.TB, j *job, what string) event {
	t.Helper()
	e := receive(t, b.events, what)
	if e.job != j || e.what != what {
		t.Fatalf("%s of %s, want %s of %s", e.what, e.job.id, what, j.id)
	}
	return e
}

// direct passes a chunk on as it is.
func (j *job) direct(chunk, metadata string, final bool) {
	var set outq.Set
	j.mu.Lock()
	j.chunks++
	j.caller.Chunk(j.chunks-1, []byte(chunk), []byte(metadata), final, &set)
	j.mu.Unlock()
	set.Flush()
}

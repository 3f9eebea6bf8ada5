package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"supervisord/protocol"
	"supervisord/protocol/jsonscan"
)

// patience is how long the end of Serve waits for functions that do not heed their context, and for a daemon that takes
// nothing more. The daemon ends the process anyway.
const patience = time.Second

// ErrNoLink is what Serve returns in a process that supervisord has not started.
var ErrNoLink = errors.New("worker: this program is started by supervisord, as the command of a pool")

// Serve answers the daemon that started this process, on file descriptors 3 and 4, until the daemon says stop or closes
// the link, then returns nil; the program should exit then. It returns the cause of ctx when that ends first, ErrNoLink
// outside of a daemon, and an error when the link fails. A function that has not returned a second after its context
// ended is left behind. Both descriptors are closed to child processes.
func (w *Worker) Serve(ctx context.Context) error {
	in, err := linkEnd(protocol.FDRequests)
	if err != nil {
		return err
	}
	out, err := linkEnd(protocol.FDResponses)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	return errors.Join(w.ServeConn(ctx, in, out), out.Close())
}

// linkEnd takes over one end of the link.
func linkEnd(fd int) (*os.File, error) {
	// Without the variable the descriptors may be the Go runtime's own.
	if os.Getenv(protocol.EnvProtocol) == "" {
		return nil, ErrNoLink
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("%w: file descriptor %d: %w", ErrNoLink, fd, err)
	}
	if kind := st.Mode & syscall.S_IFMT; kind != syscall.S_IFIFO && kind != syscall.S_IFSOCK {
		return nil, fmt.Errorf("%w: file descriptor %d is no pipe", ErrNoLink, fd)
	}
	syscall.CloseOnExec(fd)
	// Non-blocking before NewFile, which then waits in the poller, so that Close ends a Read.
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("worker: file descriptor %d: %w", fd, err)
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("link fd %d", fd)), nil
}

// ServeConn is Serve over any pair of streams, for tests and for transports of one's own. It closes r; w is the
// caller's. Where w is an *os.File or a net.Conn, a deadline of its last write is left set.
func (w *Worker) ServeConn(ctx context.Context, r io.ReadCloser, wr io.Writer) error {
	s := &session{worker: w, in: r, out: newOutput(wr), jobs: make(map[string]*Job), loading: make(chan struct{}, 1)}
	s.loaded = make(map[string]bool, len(w.order))
	jobs, cancel := context.WithCancelCause(ctx)
	defer cancel(ErrClosed)
	var drain sync.WaitGroup
	drain.Go(s.out.drain)
	in := newInput(r, s.flush) // before the hook: it clears the deadline that interrupt sets
	unhook := context.AfterFunc(ctx, s.interrupt)

	err := s.read(jobs, in)

	unhook()
	cancel(ErrClosed)
	s.cancelAll()
	s.awaitIdle()
	s.out.close(patience)
	drain.Wait()
	_ = r.Close() // only now, since it may be the other end of the output; nothing was written to it
	if s.isFinished() {
		return nil // err is that of the interrupted reader
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// session is a worker on one link.
type session struct {
	worker *Worker
	in     io.ReadCloser
	out    *output

	// The reader's own: scratch space, and the one job that inline functions share.
	scanner jsonscan.Scanner
	object  jsonscan.Object
	inline  Job

	// maxFrame is how many bytes the daemon takes in a frame, 0 before init.
	maxFrame atomic.Int64

	// loading holds a token while a loader runs, for those run one at a time.
	loading chan struct{}

	mu          sync.Mutex
	jobs        map[string]*Job // those that run on a goroutine
	running     int             // goroutines of jobs and loaders
	idle        chan struct{}   // closed when running reaches 0, once somebody waits for it
	stopping    bool
	finished    bool // the last job after stop has ended, and so the reader was interrupted
	interrupted bool
	loaded      map[string]bool // by plugin, for those with a loader
	current     string          // the plugin of the last successful reload
	config      json.RawMessage // its config
}

// errStopped ends the reader after stop, when no job is left.
var errStopped = errors.New("stopped")

// read handles frames until the link ends. It is the only reader, and the only goroutine that runs inline functions.
func (s *session) read(ctx context.Context, in *input) error {
	// The daemon may send what it likes; the buffer grows with what has arrived, never by the announced length.
	frames := protocol.NewFrameReader(in, math.MaxInt32)
	for {
		body, err := frames.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("worker: %w", err)
		}
		if err := s.handle(ctx, body); err != nil {
			if errors.Is(err, errStopped) {
				return nil
			}
			return fmt.Errorf("worker: %w", err)
		}
	}
}

// flush is what the input does before it waits.
func (s *session) flush() error {
	if err := s.out.flush(); err != nil {
		return fmt.Errorf("write to the daemon: %w", err)
	}
	return nil
}

// handle takes one frame, which is valid until it returns.
func (s *session) handle(ctx context.Context, body []byte) error {
	o := &s.object
	if err := o.Scan(&s.scanner, body, envelopeKeys, protocol.MaxDepth); err != nil {
		return fmt.Errorf("frame from the daemon: %w", err)
	}
	if fault, key := o.Fault(); fault != jsonscan.NoFault {
		return fmt.Errorf("frame from the daemon: member %q twice or in another case", envelopeKeys.Name(key))
	}
	kind := o.Value(keyType)
	if string(kind) == `"execute"` { // nearly always, and without an allocation
		return s.execute(ctx, body)
	}
	switch text(kind) {
	case protocol.TypeExecute:
		return s.execute(ctx, body)
	case protocol.TypeCancel:
		s.cancel(text(o.Value(keyJobID)))
		return nil
	}
	return s.control(ctx, body)
}

// execute runs a job, right here where its function is inline.
func (s *session) execute(ctx context.Context, body []byte) error {
	o := &s.object
	rawID, rawPlugin := o.Value(keyJobID), o.Value(keyPlugin)
	if len(rawID) == 0 || rawID[0] != '"' || len(rawPlugin) == 0 || rawPlugin[0] != '"' {
		return errors.New("frame from the daemon: execute without job_id or plugin_name")
	}
	p := s.worker.plugins[string(rawPlugin[1:len(rawPlugin)-1])]
	if p == nil {
		p = s.worker.plugins[text(rawPlugin)]
	}
	if p == nil {
		s.answer(rawID, payload{}, Errorf(UserInput, "this worker has no plugin %s", rawPlugin))
		return nil
	}
	if p.load != nil && !s.isLoaded(p) {
		s.answer(rawID, payload{}, Errorf(Transient, "plugin %s is not loaded", rawPlugin))
		return nil
	}
	job := &s.inline
	if p.inline {
		*job = Job{}
	} else {
		job, body = new(Job), bytes.Clone(body)
	}
	job.ctx, job.session, job.plugin = ctx, s, p
	job.rawID, job.meta = o.In(body, keyJobID), o.In(body, keyMeta)
	job.streaming = string(o.In(body, keyStream)) == "true"
	job.params = paramsOf(body, o)
	if p.inline {
		value, err := p.run(ctx, job)
		s.answer(job.rawID, value, err)
		return nil
	}
	if !s.begin(job) {
		s.answer(job.rawID, payload{}, Errorf(Transient, "this worker is stopping"))
		return nil
	}
	go func() { // awaitIdle waits for it, as far as the function heeds its context
		defer s.end(job)
		value, err := job.runAlone()
		s.answer(job.rawID, value, err)
		runtime.Gosched() // let others that are ready answer in the same write
		_ = s.out.flush() // the reader reports what is wrong with it
	}()
	return nil
}

// runAlone runs the function of a job with a goroutine of its own.
func (j *Job) runAlone() (payload, error) {
	defer j.cancel(nil)
	if limit, ok := j.timeout(); ok {
		j.ctx = deadlined{j.ctx, time.Now().Add(limit)}
	}
	value, err := j.plugin.run(j.ctx, j)
	if err != nil && j.cancelled.Load() {
		err = errAnswerCancelled
	}
	return value, err
}

// deadlined is a context that knows when its job's time is up. It ends by the cancel that the daemon sends then: a timer
// of its own would race with that, and its winner would have the caller told that the job failed.
type deadlined struct {
	context.Context //nolint:containedctx // it is one
	at              time.Time
}

// Deadline implements context.Context.
func (d deadlined) Deadline() (time.Time, bool) { return d.at, true }

// run calls the function and encodes what it returned. A panic is the job's error.
func (p *plugin) run(ctx context.Context, job *Job) (value payload, err error) {
	defer func() {
		if r := recover(); r != nil {
			value = payload{}
			err = &Error{Category: Fatal, Message: fmt.Sprintf("panic: %v", r), Traceback: string(debug.Stack())}
		}
	}()
	result, err := p.call(ctx, job)
	if err != nil {
		return payload{}, spoken(err)
	}
	if result == nil {
		return payload{raw: []byte(`{}`)}, nil
	}
	if raw, ok := result.(json.RawMessage); ok && sameBytes(raw, job.params) {
		return payload{raw: raw}, nil
	}
	return encode(result)
}

// spoken returns err, once it has said what it is: the nil *Error that a function returns as an error panics here, where
// it costs the job alone.
func spoken(err error) error {
	if err != nil {
		_ = err.Error()
	}
	return err
}

// answer ends a job with its result. Data is spliced into the frame.
func (s *session) answer(rawID []byte, value payload, err error) {
	if err != nil {
		s.send(failed(text(rawID), err), held)
		return
	}
	b, from := beginFrame(s.out.lock())
	b = append(b, `{"type":"result","job_id":`...)
	b = append(b, rawID...)
	b = value.append(append(b, `,"status":"success","data":`...))
	s.out.unlock(endFrame(append(b, '}'), from), held)
}

// cancel ends the context of a job. One that has ended has been answered already.
func (s *session) cancel(id string) {
	s.mu.Lock()
	job := s.jobs[id]
	s.mu.Unlock()
	if job != nil {
		job.cancelled.Store(true)
		job.cancel(ErrCancelled)
	}
}

// cancelAll ends the context of every job, because the link has ended.
func (s *session) cancelAll() {
	s.mu.Lock()
	jobs := slices.Collect(maps.Values(s.jobs))
	s.mu.Unlock()
	for _, job := range jobs {
		job.cancel(ErrClosed)
	}
}

// begin enters a job among those that run; it reports false after stop.
func (s *session) begin(job *Job) bool {
	id := job.ID()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	// cancelAll ends it with the link; hanging it below the link's context costs more than all the rest of a short job.
	job.ctx, job.cancel = context.WithCancelCause(context.WithoutCancel(job.ctx))
	s.jobs[id] = job
	s.running++
	return true
}

// end is called when the goroutine of a job, or of a loader (nil), is done.
func (s *session) end(job *Job) {
	s.mu.Lock()
	if job != nil {
		delete(s.jobs, job.ID())
	}
	s.running--
	if s.running == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
	finished := s.stopping && s.running == 0 && !s.interrupted
	s.finished = s.finished || finished
	s.mu.Unlock()
	if finished {
		s.interrupt()
	}
}

// stop takes no more jobs and ends the reader when the last one has been answered. Reading goes on until then, for
// cancels and the end of the link.
func (s *session) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	if s.running == 0 {
		return errStopped
	}
	return nil
}

func (s *session) isFinished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finished
}

// awaitIdle waits for the goroutines of jobs and loaders, whose contexts have ended, but not for ever.
func (s *session) awaitIdle() {
	s.mu.Lock()
	if s.running == 0 {
		s.mu.Unlock()
		return
	}
	idle := make(chan struct{})
	s.idle = idle
	s.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}

// interrupt ends the reader: by a deadline where there are any, since closing the input may close the output, too.
func (s *session) interrupt() {
	s.mu.Lock()
	first := !s.interrupted
	s.interrupted = true
	s.mu.Unlock()
	if !first {
		return
	}
	if d, ok := s.in.(interface{ SetReadDeadline(time.Time) error }); ok && d.SetReadDeadline(time.Now()) == nil {
		return
	}
	_ = s.in.Close() // nothing was written to it
}

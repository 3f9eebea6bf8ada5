package workers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"go.uber.org/zap"

	"supervisord/internal/outq"
	"supervisord/protocol"
	"supervisord/protocol/jsonscan"
)

// link reads what a process writes to fd 4. One goroutine runs it, which owns all but resume, paused and, once it has
// ended, fault.
type link struct {
	inc    *Incarnation
	in     *responses
	frames *protocol.FrameReader
	limit  int64 // of a payload
	set    outq.Set
	resume chan struct{} // a token wakes a pause
	paused atomic.Bool   // a pause has begun, or is about to

	scanner jsonscan.Scanner
	object  jsonscan.Object
	result  Result

	// The job of the last chunk: streams come in runs. lastJob is nil for none.
	lastID  string
	lastJob Job

	whole int64 // bytes of the frames that have ended, or are to be skipped
	torn  bool  // Incarnation.tornAt is set
	ended int   // jobs
	full  bool  // the owner was told that these are as many as it may

	ready   bool
	loads   int             // of load_progress
	unknown map[string]bool // message types that were logged
	reason  string          // of the worker's own error message

	// fault is how the protocol was broken, else nil.
	fault error
}

// maxUnknown is how many unknown message types of one incarnation are logged; all are counted.
const maxUnknown = 8

// How a pipe has ended while its process lives.
var (
	errClosedResponses = errors.New("closed its response pipe")
	errClosedRequests  = errors.New("closed its request pipe")
)

func newLink(inc *Incarnation, maxMessage int) *link {
	l := &link{inc: inc, limit: int64(maxMessage), resume: make(chan struct{}, 1)}
	source := outq.NewSource(inc.proc.Responses, func() error {
		l.set.Flush()
		l.waits()
		return nil
	})
	source.Rest(maxPipe) // what the process has written counts, however late it is read
	l.in = &responses{source: source, pipe: inc.proc.Responses, pipes: inc.gen.opts.Pipes}
	l.frames = protocol.NewFrameReader(l.in, maxMessage+protocol.FrameOverhead)
	return l
}

// Resume implements Holder.
func (l *link) Resume() {
	select {
	case l.resume <- struct{}{}:
	default: // the token that is there will do
	}
}

// run reads until the pipe ends or the protocol is broken, and tells the owner which.
func (l *link) run() {
	defer l.in.close()
	err := l.read()
	l.set.Flush()
	l.lastID, l.lastJob = "", nil
	switch torn, _ := errors.AsType[*protocol.FrameError](err); {
	case errors.Is(err, os.ErrDeadlineExceeded): // the process has ended before
	case errors.Is(err, io.EOF):
		l.tell(mailClosed, errClosedResponses)
	case torn != nil && torn.Fault == protocol.FrameTorn:
		l.tell(mailClosed, fmt.Errorf("%w inside a frame", errClosedResponses))
	default:
		l.fault = err
		l.tell(mailFault, err)
	}
}

func (l *link) tell(kind mailKind, err error) {
	l.inc.worker.mail.put(letter{kind: kind, inc: l.inc, err: err})
}

func (l *link) read() error {
	for {
		frame, err := l.frames.Next()
		if err != nil {
			if l.tooLong(err) {
				l.frames.Skip()
				continue
			}
			return err //nolint:wrapcheck // says what is wrong with the bytes
		}
		if l.whole += int64(protocol.HeaderSize + len(frame)); l.torn {
			l.mended()
		}
		if err := l.handle(frame); err != nil {
			return err
		}
	}
}

// tooLong deals with a frame over the limit whose beginning tells whose answer it is: only that job fails.
func (l *link) tooLong(err error) bool {
	e, ok := errors.AsType[*protocol.FrameError](err)
	if !ok || e.Fault != protocol.FrameTooLong || !l.ready {
		return false
	}
	l.whole += protocol.HeaderSize + e.Length
	typ, id, ok := protocol.PrefixEnvelope(e.Prefix)
	switch {
	case !ok:
	case typ == protocol.TypeResult:
		l.result = Result{TooLarge: l.limit}
		l.finish([]byte(id))
	default:
		if h, held := l.inc.find([]byte(id)); held {
			h.job.Oversized(l.limit, &l.set)
		} else {
			l.inc.worker.pool.counts.dropped.Add(1)
		}
	}
	return ok
}

// The members that one scan of a frame records.
const (
	keyType = iota
	keyJobID
	keyChunk
	keyIsFinal
	keyMetadata
	keyStatus
	keyData
	keyProgress
	keyMessage
)

var linkKeys = jsonscan.NewKeys("type", "job_id", "chunk", "is_final", "metadata", "status", "data", "progress", "message")

var emptyObject, emptyString, null = []byte("{}"), []byte(`""`), []byte("null")

// handle deals with one frame. What is common passes with one scan and without a copy; all the rest, and every doubt,
// goes to protocol.Decode, which knows the exact verdict.
func (l *link) handle(frame []byte) error {
	if l.object.Scan(&l.scanner, frame, linkKeys, protocol.MaxDepth) == nil {
		if l.scanner.Newline() {
			flatten(frame)
		}
		if fault, _ := l.object.Fault(); fault == jsonscan.NoFault && l.ready && l.answer() {
			return nil
		}
	}
	if err := l.other(frame); err != nil {
		return fmt.Errorf("%w: %s", err, quote(frame))
	}
	return nil
}

// answer handles a well-formed stream_chunk, or a result without an error. It reports whether the frame was one.
func (l *link) answer() bool {
	id := plainString(l.object.Value(keyJobID))
	if id == nil {
		return false
	}
	switch string(l.object.Value(keyType)) {
	case `"stream_chunk"`:
		chunk := l.object.Value(keyChunk)
		if chunk == nil {
			return false
		}
		metadata := l.object.Value(keyMetadata)
		if len(metadata) == 0 || metadata[0] != '{' {
			metadata = emptyObject
		}
		final := l.object.Value(keyIsFinal)
		l.chunk(id, chunk, metadata, len(final) > 0 && final[0] == 't')
		return true
	case `"result"`:
		switch string(l.object.Value(keyStatus)) {
		case `"success"`:
			l.result = Result{Status: protocol.StatusSuccess, Data: l.object.Value(keyData)}
		case `"cancelled"`:
			l.result = Result{Status: protocol.StatusCancelled}
		default:
			return false
		}
		l.finish(id)
		return true
	}
	return false
}

func (l *link) chunk(id, chunk, metadata []byte, final bool) {
	if string(id) != l.lastID || l.lastJob == nil {
		h, ok := l.inc.find(id)
		if !ok {
			l.inc.worker.pool.counts.dropped.Add(1)
			return
		}
		l.lastID, l.lastJob = h.linkID, h.job
	}
	switch {
	case !l.lastJob.Chunk(chunk, metadata, final, &l.set):
	case l.inc.isAlone():
		l.pause(l.lastJob)
	default:
		l.lastJob.Crowded(&l.set)
	}
}

// pause waits for room. The process, whose only job this is, will wait in write(2). Execute ends the pause, for the sake
// of the job that it adds; so does the end of the process, after which there is no more to come than what is in the pipe.
func (l *link) pause(job Job) {
	l.set.Flush()
	l.paused.Store(true)
	defer l.paused.Store(false)
	for l.inc.isAlone() {
		select {
		case <-l.inc.exit:
			return
		default:
		}
		if !job.Hold(l) {
			return
		}
		select {
		case <-l.resume: // of this hold or of an earlier one: Hold knows
		case <-l.inc.exit:
			return
		}
	}
}

// finish ends a job with l.result.
func (l *link) finish(id []byte) {
	job, ok := l.inc.take(id)
	if !ok {
		l.inc.worker.pool.counts.dropped.Add(1)
		return
	}
	if string(id) == l.lastID {
		l.lastID, l.lastJob = "", nil
	}
	if l.result.Status == protocol.StatusSuccess && !l.inc.succeeded.Load() {
		l.inc.succeeded.Store(true)
	}
	job.Result(&l.result, &l.set)
	l.spent()
}

// other handles everything that answer does not. The error says how the frame broke the protocol.
func (l *link) other(frame []byte) error {
	message, err := protocol.Decode(frame)
	if unknown, ok := errors.AsType[*protocol.UnknownTypeError](err); ok {
		l.ignore(unknown.Type)
		return nil
	}
	if err != nil {
		return err //nolint:wrapcheck // names the message and the member
	}
	switch m := message.(type) {
	case *protocol.Ready:
		return l.becomeReady(m)
	case *protocol.StreamChunk, *protocol.Result, *protocol.Response, *protocol.State:
		return l.decodedAnswer(message)
	case *protocol.Progress:
		l.progress(m)
	case *protocol.LoadProgress:
		if l.loads++; !l.ready && l.loads <= maxExtensions || l.ready && l.inc.loading() {
			l.tell(mailLoadProgress, nil)
		}
	case *protocol.Log:
		l.log(m)
	case *protocol.Metric:
		l.inc.output.metric(m.Name, m.Value, l.clientID(m.JobID))
	case *protocol.ErrorMessage:
		if l.reason == "" { // the first is the cause of the others
			l.reason = oneLine(m.Error)
			l.inc.log.Warn("worker reports a fatal error", zap.String("text", l.reason))
		}
	default: // one that only the daemon sends
		l.ignore(message.MessageType())
	}
	return nil
}

// ignore counts a message that this version of the daemon does not know.
func (l *link) ignore(typ string) {
	l.inc.worker.pool.counts.ignored.Add(1)
	if l.unknown[typ] || len(l.unknown) == maxUnknown {
		return
	}
	if l.unknown == nil {
		l.unknown = make(map[string]bool)
	}
	l.unknown[typ] = true
	l.inc.log.Info("worker message ignored", zap.String("type", typ))
}

func (l *link) becomeReady(m *protocol.Ready) error {
	if l.ready {
		return errors.New("second ready message")
	}
	l.ready = true
	l.inc.setReady(m)
	l.tell(mailReady, nil)
	return nil
}

// decodedAnswer handles an answer that was not of the common form, but may be right.
func (l *link) decodedAnswer(message protocol.Message) error {
	if !l.ready {
		return fmt.Errorf("%s message before ready", message.MessageType())
	}
	switch m := message.(type) {
	case *protocol.StreamChunk:
		flatten(m.Chunk)
		flatten(m.Metadata)
		l.chunk([]byte(m.JobID), m.Chunk, m.Metadata, m.IsFinal)
	case *protocol.Result:
		flatten(m.Data)
		l.result = Result{Status: m.Status}
		switch m.Status {
		case protocol.StatusSuccess:
			l.result.Data = m.Data
		case protocol.StatusError:
			l.result.Error, l.result.Info = m.Error, m.ErrorInfo
		}
		l.finish([]byte(m.JobID))
	default: // response and state
		if !l.inc.answer(message) {
			l.inc.worker.pool.counts.dropped.Add(1)
		}
	}
	return nil
}

// progress passes the raw values of the scan on: Decode has found them right, or absent.
func (l *link) progress(m *protocol.Progress) {
	h, ok := l.inc.find([]byte(m.JobID))
	if !ok {
		l.inc.worker.pool.counts.dropped.Add(1)
		return
	}
	share, text := null, emptyString
	if m.Progress != nil {
		share = l.object.Value(keyProgress)
	}
	if m.Message != "" {
		text = l.object.Value(keyMessage)
	}
	h.job.Progress(share, text, &l.set)
}

func (l *link) log(m *protocol.Log) {
	h, held := l.inc.find([]byte(m.JobID))
	if held {
		h.job.Logged(&l.set)
	}
	l.inc.output.message(m.Level, m.Message, h.id, m.Fields)
}

// clientID is the id by which clients know a job of this incarnation, "" for any other.
func (l *link) clientID(linkID string) string {
	h, _ := l.inc.find([]byte(linkID))
	return h.id
}

// plainString is what stands between the quotes of a JSON string without escapes, nil for anything else.
func plainString(raw []byte) []byte {
	if len(raw) < 2 || raw[0] != '"' || bytes.IndexByte(raw, '\\') >= 0 {
		return nil
	}
	return raw[1 : len(raw)-1]
}

// flatten turns the newlines of valid JSON, which stand between its tokens, into spaces: what is passed on must fit a
// protocol of one message a line.
func flatten(b []byte) {
	for _, c := range [...]byte{'\n', '\r'} {
		for rest := b; ; {
			i := bytes.IndexByte(rest, c)
			if i < 0 {
				break
			}
			rest[i] = ' '
			rest = rest[i+1:]
		}
	}
}

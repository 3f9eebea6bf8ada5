package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"supervisord/protocol"
	"supervisord/protocol/jsonscan"
)

// Job is one call of a plugin, the argument of its function. Its methods are safe for concurrent use until the function
// returns; after that nothing may be sent any more.
type Job struct {
	ctx       context.Context //nolint:containedctx // a Job is the argument of one call, as http.Request is
	session   *session
	plugin    *plugin
	rawID     []byte // the JSON string, spliced into every frame
	params    json.RawMessage
	meta      []byte // $meta, nil without
	streaming bool

	cancel    context.CancelCauseFunc // nil for an inline job
	cancelled atomic.Bool             // the daemon asked for it
	chunks    atomic.Bool             // one was sent: the first leaves at once
}

// ID is the id that the daemon knows the job by.
func (j *Job) ID() string { return text(j.rawID) }

// Plugin is the name that the function was called by.
func (j *Job) Plugin() string { return j.plugin.name }

// Params is the caller's params as one JSON object, the bytes as they came. It must not be changed.
func (j *Job) Params() json.RawMessage { return j.params }

// Streaming reports whether the caller wants chunks.
func (j *Job) Streaming() bool { return j.streaming }

// Bind decodes the params into v, as json.Unmarshal does. Its error is a UserInput *Error, ready to be returned.
func (j *Job) Bind(v any) error {
	err := json.Unmarshal(j.params, v)
	if err == nil {
		return nil
	}
	e := Errorf(UserInput, "params: %w", err)
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && t.Field != "" {
		e.FieldsInvalid = []string{t.Field}
	}
	return e
}

// Metadata is the object that the caller gave as metadata, {} without one.
func (j *Job) Metadata() json.RawMessage {
	if m := j.metaMember(metaMetadata); m != nil {
		return m
	}
	return json.RawMessage(`{}`)
}

// Traceparent is the W3C trace context of the call, empty without one.
func (j *Job) Traceparent() string { return text(j.metaMember(metaTraceparent)) }

// timeout is what the daemon leaves the job to run, if it said so.
func (j *Job) timeout() (time.Duration, bool) {
	ms, err := strconv.ParseInt(string(j.metaMember(metaDeadline)), 10, 64)
	if err != nil || ms < 0 || ms > math.MaxInt64/int64(time.Millisecond) {
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}

func (j *Job) metaMember(key int) []byte {
	if j.meta == nil {
		return nil
	}
	var (
		s jsonscan.Scanner
		o jsonscan.Object
	)
	if err := o.Scan(&s, j.meta, metaKeys, protocol.MaxDepth); err != nil {
		return nil // cannot be: the frame around it was scanned
	}
	return o.Value(key)
}

// Chunk is one piece of a job's stream.
type Chunk struct {
	// Value is what json.Marshal takes; a json.RawMessage is sent as the bytes it is.
	Value any
	// Final says that no chunk follows. It may be left out.
	Final bool
	// Metadata is an object, nil for none.
	Metadata map[string]any
}

// Send sends one chunk: text for most plugins, but any JSON value. It waits while the daemon takes nothing, for that is
// how a slow caller slows its job down, and returns the cause of the job's context once that has ended. Where the caller
// wants no stream the chunk is dropped.
func (j *Job) Send(value any) error { return j.SendChunk(Chunk{Value: value}) }

// SendChunk is Send for a chunk with more than a value.
func (j *Job) SendChunk(chunk Chunk) error {
	if !j.streaming {
		if j.ctx.Err() != nil {
			return context.Cause(j.ctx)
		}
		return nil
	}
	if j.cancel == nil {
		return ErrInline
	}
	value, err := encode(chunk.Value)
	if err != nil {
		return err
	}
	var metadata payload
	if chunk.Metadata != nil {
		if metadata, err = encode(chunk.Metadata); err != nil {
			return fmt.Errorf("metadata of a chunk: %w", err)
		}
	}
	when := soon
	if !j.chunks.Load() && !j.chunks.Swap(true) {
		when = now
	}
	b, err := j.session.out.lockRoom(j.ctx)
	if err != nil {
		return err
	}
	b, from := beginFrame(b)
	b = append(b, `{"type":"stream_chunk","job_id":`...)
	b = append(b, j.rawID...)
	b = append(b, `,"chunk":`...)
	b = value.append(b)
	if chunk.Final {
		b = append(b, `,"is_final":true`...)
	}
	if metadata.raw != nil {
		b = metadata.append(append(b, `,"metadata":`...))
	}
	j.session.out.unlock(endFrame(append(b, '}'), from), when)
	return nil
}

// Progress tells how far the job is, 0 to 1, and on what; a fraction outside means unknown. It also shows the daemon
// that the job has not stalled.
func (j *Job) Progress(fraction float64, message string) {
	j.session.send(&protocol.Progress{JobID: j.ID(), Progress: share(fraction), Message: message}, soon)
}

// Metric reports a measured value under a name. One that is not finite becomes an error in the log.
func (j *Job) Metric(name string, value float64) {
	j.session.send(&protocol.Metric{Name: name, Value: value, JobID: j.ID()}, soon)
}

// Log writes a line of the daemon's log, tied to the job. args are those of slog.Logger.Log.
func (j *Job) Log(level slog.Level, message string, args ...any) {
	j.session.send(&protocol.Log{Level: levelName(level), Message: message, JobID: j.ID(), Fields: logFields(args)}, soon)
}

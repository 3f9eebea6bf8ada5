package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"sync"

	"supervisord/protocol"
	"supervisord/protocol/jsonscan"
)

// StreamBuffer is how many bytes of chunks that nobody has taken a Stream holds before its Client stops reading the
// connection. One chunk always fits, whatever its size.
const StreamBuffer = 1 << 20

// Chunk is one piece of a job's stream.
type Chunk struct {
	JobID string
	// Seq counts from 0, without gaps.
	Seq int64
	// Value is any JSON value, text for most plugins.
	Value json.RawMessage
	// Metadata is an object.
	Metadata json.RawMessage
	// Final says that the worker called it the last one. It may be missing on the last, which the end of the loop tells.
	Final bool
}

// Text returns the value where it is text; ok is false for any other.
func (c *Chunk) Text() (text string, ok bool) {
	if len(c.Value) < 2 || c.Value[0] != '"' {
		return "", false
	}
	text, err := jsonscan.Unquote(c.Value[1 : len(c.Value)-1])
	return text, err == nil
}

// Stream is a job whose chunks are read while it runs. It belongs to one goroutine, which either reads Chunks, or calls
// Result at once to drop them. A Stream that is left alone goes on until its context ends, and may stop its Client from
// reading meanwhile.
type Stream struct {
	client     *Client
	call       *call // nil where it never began
	onProgress func(protocol.JobProgress)

	mu        sync.Mutex
	unhook    func() bool // from the context, nil before watch
	changed   sync.Cond   // on mu: items came or were taken, or a field below was set
	items     []item      // what nobody has taken
	size      int         // their bytes
	jobID     string
	discarded bool  // nobody wants more items
	dropped   bool  // a chunk was not given to the consumer
	cause     error // of the context that has ended, where that was before the answer
	ended     bool
	result    *Result
	err       error
}

// item is a chunk or a progress, in the order in which they came.
type item struct {
	chunk    Chunk
	progress *protocol.JobProgress
}

// itemOverhead is what an item counts beyond its payload.
const itemOverhead = 128

// Stream runs a plugin and returns at once; an error, too, is told by Chunks and Result. When ctx ends the job is
// cancelled.
func (c *Client) Stream(ctx context.Context, e Execute) *Stream {
	s := &Stream{client: c}
	s.changed.L = &s.mu
	params, err := e.encode(true)
	if err == nil {
		s.call, err = c.begin(ctx, protocol.MethodExecute, params, s)
	}
	if err != nil {
		s.ended, s.err = true, err
		return s
	}
	s.watch(ctx)
	return s
}

// watch cancels the job when ctx ends. Only now that the request was sent, since a cancel that overtakes it is lost.
func (s *Stream) watch(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.client.tasks.Add(1) // the reader is among them until it has ended this stream
	s.unhook = context.AfterFunc(ctx, func() {
		defer s.client.tasks.Done()
		if s.discard(context.Cause(ctx)) {
			s.client.cancel(s.call.id)
		}
	})
}

// OnProgress sets what is called for each progress that the worker tells: within the loop over Chunks or within Result,
// on their goroutine and in the order in which the daemon sent it. It returns s.
func (s *Stream) OnProgress(f func(protocol.JobProgress)) *Stream {
	s.onProgress = f
	return s
}

// Chunks is the sequence of chunks, in order and without gaps; where the job fails, its error comes last. When the loop
// is left early the job is cancelled, and the loop ends once the daemon has answered. The sequence can be read once.
func (s *Stream) Chunks() iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		for batch := s.next(); batch != nil; batch = s.next() {
			for i := range batch {
				if !s.give(&batch[i], yield) {
					return
				}
			}
		}
		if _, err := s.outcome(); err != nil {
			yield(Chunk{}, err)
		}
	}
}

// give hands one item to the consumer and reports whether the loop goes on.
func (s *Stream) give(it *item, yield func(Chunk, error) bool) bool {
	if it.progress != nil {
		if s.onProgress != nil {
			s.onProgress(*it.progress)
		}
		return true
	}
	if s.skip() {
		return true
	}
	left := true // unless yield returns, the loop was left by a panic
	defer func() {
		if left {
			s.leave()
		}
	}()
	left = !yield(it.chunk, nil)
	return !left
}

// Result waits for the end of the job and drops the chunks that were not read.
func (s *Stream) Result() (*Result, error) {
	for batch := s.next(); batch != nil; batch = s.next() {
		for i := range batch {
			if p := batch[i].progress; p != nil && s.onProgress != nil {
				s.onProgress(*p)
			}
		}
	}
	return s.outcome()
}

// next waits for items and takes all there are; nil at the end.
func (s *Stream) next() []item {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.items) == 0 && !s.ended {
		s.changed.Wait()
	}
	batch := s.items
	s.items, s.size = nil, 0
	s.changed.Broadcast()
	return batch
}

// skip reports whether a chunk that was taken is not wanted any more, since the context has ended.
func (s *Stream) skip() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = s.dropped || s.discarded
	return s.discarded
}

// leave cancels the job, because the loop was left, and waits for its end.
func (s *Stream) leave() {
	if s.call == nil {
		return
	}
	if s.discard(nil) {
		s.client.cancel(s.call.id)
	}
	<-s.call.done
}

// discard drops what has come and what will come. It reports false where the answer is in, or it was called before.
func (s *Stream) discard(cause error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.discarded {
		return false
	}
	s.discarded, s.cause = true, cause
	for i := range s.items {
		s.dropped = s.dropped || s.items[i].progress == nil
	}
	s.items, s.size = nil, 0
	s.changed.Broadcast()
	return true
}

// outcome returns what the job ended with, once it has.
func (s *Stream) outcome() (*Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && s.dropped && s.cause != nil {
		return s.result, s.cause // it was faster than the cancel, but not all of it was read
	}
	return s.result, s.err
}

// take queues a chunk or a progress. It waits while the consumer has too many; the reader calls it.
func (s *Stream) take(m *message) error {
	it, size, err := s.decode(m)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.size >= StreamBuffer && !s.discarded {
		s.changed.Wait()
	}
	if s.discarded {
		s.dropped = s.dropped || it.progress == nil
		return nil
	}
	s.items = append(s.items, it)
	s.size += size
	if len(s.items) == 1 {
		s.changed.Broadcast()
	}
	return nil
}

// decode makes an item that keeps nothing of the message's line.
func (s *Stream) decode(m *message) (item, int, error) {
	if m.kind == kindProgress {
		var p protocol.JobProgressParams
		if err := json.Unmarshal(m.params, &p); err != nil {
			return item{}, 0, fmt.Errorf("progress from the daemon: %w", err)
		}
		return item{progress: &protocol.JobProgress{Progress: p.Progress, Message: p.Message}}, itemOverhead + len(p.Message), nil
	}
	// One copy for both payloads.
	params := bytes.Clone(m.params)
	seq, err := strconv.ParseInt(string(m.inner.In(params, chunkSeq)), 10, 64)
	value := m.inner.In(params, chunkValue)
	if err != nil || value == nil {
		return item{}, 0, errors.New("chunk from the daemon without seq or chunk")
	}
	chunk := Chunk{
		JobID: s.internJobID(m.inner.In(params, chunkJobID)), Seq: seq, Value: value,
		Metadata: m.inner.In(params, chunkMetadata), Final: string(m.inner.In(params, chunkFinal)) == "true",
	}
	return item{chunk: chunk}, itemOverhead + len(params), nil
}

// internJobID makes the one string that all chunks of the stream share. Only the reader calls it.
func (s *Stream) internJobID(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	if name := raw[1 : len(raw)-1]; string(name) != s.jobID {
		s.jobID, _ = jsonscan.Unquote(name) // a scanner has accepted it
	}
	return s.jobID
}

// end sets the outcome; the reader calls it, once.
func (s *Stream) end(raw []byte, err error) {
	var result *Result
	if err == nil {
		result, err = newResult(raw)
	}
	s.mu.Lock()
	s.ended, s.result, s.err = true, result, withCause(err, s.cause)
	unhook := s.unhook
	s.changed.Broadcast()
	s.mu.Unlock()
	if unhook != nil && unhook() {
		s.client.tasks.Done()
	}
}

package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
)

// A Function answers one job. The result may be any value that encoding/json can encode; a json.RawMessage is sent as
// the bytes it is, nil as {}. It may call job.Send for each chunk, which is dropped where the caller wants no stream.
// An *Error tells the caller more than a plain error; a panic fails the job alone.
type Function func(ctx context.Context, job *Job) (any, error)

// A StreamFunction produces the chunks of one job. A chunk is encoded before yield returns, and its memory may be used
// again then. An error ends the stream and fails the job; when the context ends,
// the loop over the sequence is left, so that the sequence's deferred calls run.
type StreamFunction func(ctx context.Context, job *Job) iter.Seq2[any, error]

// Worker is a set of functions under their plugin names. Register all of them, then Serve; it is safe for concurrent
// use from then on, since nothing changes any more.
type Worker struct {
	plugins map[string]*plugin
	order   []*plugin
}

type plugin struct {
	name        string
	call        Function
	inline      bool
	streaming   bool
	schema      json.RawMessage
	description string
	load        func(context.Context, *Load) error
	unload      func(context.Context) error
}

// New returns a worker without functions.
func New() *Worker { return &Worker{plugins: make(map[string]*plugin)} }

// Func registers f as the plugin called name. It panics on an empty name or one that is taken, as a mistake of the
// program.
func (w *Worker) Func(name string, f Function, options ...Option) {
	w.add(&plugin{name: name, call: f}, options)
}

// Stream registers f as the streaming plugin called name. A caller that asked for a stream gets every chunk, then an
// empty one with is_final, then the result {"streamed": true}. One that did not gets all chunks in the result: as
// {"text": ..., "metadata": {}} when all of them are strings, else as {"chunks": [...]}. It panics like Func.
func (w *Worker) Stream(name string, f StreamFunction, options ...Option) {
	w.add(&plugin{name: name, call: streamCall(f), streaming: true}, options)
}

func (w *Worker) add(p *plugin, options []Option) {
	if p.name == "" {
		panic("worker: a plugin needs a name")
	}
	if w.plugins[p.name] != nil {
		panic(fmt.Sprintf("worker: plugin %q is registered twice", p.name))
	}
	for _, o := range options {
		o(p)
	}
	if p.inline && p.streaming {
		panic(fmt.Sprintf("worker: plugin %q is inline and cannot stream", p.name))
	}
	w.plugins[p.name] = p
	w.order = append(w.order, p)
}

// Option is a property of one plugin.
type Option func(*plugin)

// Inline runs the function on the goroutine that reads from the daemon, which saves the cost of a goroutine for each
// call. For functions that take microseconds and never wait: meanwhile nothing is read, not even a cancel. The job and
// its params are valid only until the function returns, Job.Send fails with ErrInline, and the context is the worker's.
// A plugin that streams cannot be inline; registering it panics.
func Inline() Option { return func(p *plugin) { p.inline = true } }

// Streaming tells the daemon that a function registered with Func calls Job.Send.
func Streaming() Option { return func(p *plugin) { p.streaming = true } }

// Describe gives the plugin one line of text for plugin.list.
func Describe(text string) Option { return func(p *plugin) { p.description = text } }

// Schema gives the JSON Schema of the plugin's params, for plugin.list. It panics on invalid JSON.
func Schema(schema json.RawMessage) Option {
	if err := validate(schema); err != nil {
		panic("worker: the schema is not JSON: " + err.Error())
	}
	return func(p *plugin) { p.schema = schema }
}

// OnLoad gives the plugin a loader: called once before the worker is ready, with the config of the pool ({} without
// one), and again for each reload. A plugin whose loader fails is left out of loaded_plugins and its jobs fail until a
// reload succeeds. Loaders run one at a time and never while a job runs.
func OnLoad(f func(ctx context.Context, load *Load) error) Option {
	return func(p *plugin) { p.load = f }
}

// OnUnload gives the plugin a function that frees what its loader took. Called before a reload and for an unload,
// under the same rule as OnLoad. Not called when the process ends.
func OnUnload(f func(ctx context.Context) error) Option {
	return func(p *plugin) { p.unload = f }
}

// streamCall makes a Function of a sequence.
func streamCall(f StreamFunction) Function {
	return func(ctx context.Context, job *Job) (any, error) {
		if !job.Streaming() {
			return collect(ctx, f(ctx, job))
		}
		for chunk, err := range f(ctx, job) {
			if err != nil {
				return nil, err
			}
			if err := job.Send(chunk); err != nil {
				return nil, err
			}
		}
		if err := job.SendChunk(Chunk{Value: "", Final: true}); err != nil {
			return nil, err
		}
		return json.RawMessage(`{"streamed":true}`), nil
	}
}

func collect(ctx context.Context, chunks iter.Seq2[any, error]) (any, error) {
	var (
		all   = []json.RawMessage{}
		text  []byte
		texts = true
	)
	for chunk, err := range chunks {
		if err != nil {
			return nil, err
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		value, err := encode(chunk) // now, as Send does: the chunk may be used again
		if err != nil {
			return nil, err
		}
		all = append(all, value.append(nil))
		if s, ok := chunk.(string); ok && texts {
			text = append(text, s...)
		} else {
			texts = false
		}
	}
	if texts {
		return map[string]any{"text": string(text), "metadata": struct{}{}}, nil
	}
	return map[string]any{"chunks": all}, nil
}

package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"supervisord/protocol"
)

// payloadDepth is how deep params may nest: they stand two levels down in their message.
const payloadDepth = protocol.MaxDepth - 2

// Execute says what to run. Only Plugin is required; zero means the daemon's default.
type Execute struct {
	Plugin string
	// Params is what encoding/json makes one object of; a json.RawMessage is sent as the bytes it is. nil is {}.
	Params any
	// Pool is where to run it; empty: any pool that offers the plugin.
	Pool string
	// Timeout is how long it may run; 0: the pool's job_timeout.
	Timeout time.Duration
	// MaxWait is how long it may wait for a worker; 0 means only if it can start now, nil the pool's max_queue_wait.
	MaxWait *time.Duration
	// Priority is -100 to 100 and orders the jobs of one user.
	Priority int
	// JobID is the caller's own name for the job; see protocol.ValidJobID.
	JobID string
	// AffinityKey prefers the worker that ran the last job of the same key.
	AffinityKey string
	// SupersedeKey ends an earlier job of the same key.
	SupersedeKey string
	// KeepAlive is how long the plugin shall stay loaded afterwards; nil says nothing.
	KeepAlive *time.Duration
	// OnDisconnect says what becomes of the job when this Client ends: protocol.OnDisconnectCancel or
	// protocol.OnDisconnectContinue. Empty is to cancel.
	OnDisconnect string
	// Metadata is what encoding/json makes one object of. It goes into the job's record and to the worker.
	Metadata any
}

// Result is a job's success.
type Result struct {
	JobID string
	// Data is what the worker answered.
	Data json.RawMessage
	// Chunks is how many chunks the job had, for a stream.
	Chunks int64
}

// Bind decodes Data into v, as json.Unmarshal does.
func (r *Result) Bind(v any) error {
	if err := json.Unmarshal(r.Data, v); err != nil {
		return fmt.Errorf("client: data of job %s: %w", r.JobID, err)
	}
	return nil
}

// Text returns the member text of Data; ok is false where there is none that is a string.
func (r *Result) Text() (text string, ok bool) {
	var data struct {
		Text *string `json:"text"`
	}
	if err := json.Unmarshal(r.Data, &data); err != nil || data.Text == nil {
		return "", false
	}
	return *data.Text, true
}

// Execute runs a plugin and waits for its result. When ctx ends first the job is cancelled, and Execute returns once the
// daemon has said that it has ended, with the result where it was faster than the cancel.
func (c *Client) Execute(ctx context.Context, e Execute) (*Result, error) {
	params, err := e.encode(false)
	if err != nil {
		return nil, err
	}
	k, err := c.begin(ctx, protocol.MethodExecute, params, nil)
	if err != nil {
		return nil, err
	}
	raw, err := c.wait(ctx, k)
	if err != nil {
		return nil, err
	}
	return newResult(raw)
}

func newResult(raw []byte) (*Result, error) {
	var r protocol.ExecuteResult
	if err := decodeResult(protocol.MethodExecute, raw, &r); err != nil {
		return nil, err
	}
	return &Result{JobID: r.JobID, Data: r.Data, Chunks: r.Chunks}, nil
}

// encode makes the params of execute. The payloads are spliced in, since json.Marshal would write their bytes anew.
func (e *Execute) encode(stream bool) ([]byte, error) {
	params, err := encode(e.Params, payloadDepth)
	if err != nil {
		return nil, fmt.Errorf("client: params of plugin %s: %w", e.Plugin, err)
	}
	metadata, err := encode(e.Metadata, payloadDepth)
	if err != nil {
		return nil, fmt.Errorf("client: metadata of plugin %s: %w", e.Plugin, err)
	}
	p := protocol.ExecuteParams{
		PluginName: e.Plugin, Pool: e.Pool, Stream: stream, JobID: e.JobID, Priority: e.Priority,
		AffinityKey: e.AffinityKey, SupersedeKey: e.SupersedeKey, OnDisconnect: e.OnDisconnect,
	}
	if e.Timeout != 0 {
		p.TimeoutMS = protocol.Milliseconds(e.Timeout)
	}
	if e.MaxWait != nil {
		p.MaxWaitMS = protocol.Milliseconds(*e.MaxWait)
	}
	if e.KeepAlive != nil {
		p.KeepAliveMS = protocol.Milliseconds(*e.KeepAlive)
	}
	b, err := encode(p, payloadDepth)
	if err != nil {
		return nil, fmt.Errorf("client: call of plugin %s: %w", e.Plugin, err)
	}
	b = appendMember(b, "params", params)
	return appendMember(b, "metadata", metadata), nil
}

// appendMember adds a member to an object that has some, unless value is nothing.
func appendMember(object []byte, name string, value []byte) []byte {
	if len(value) == 0 {
		return object
	}
	object = append(bytes.TrimSuffix(object, []byte("}")), `,"`+name+`":`...)
	return append(append(object, value...), '}')
}

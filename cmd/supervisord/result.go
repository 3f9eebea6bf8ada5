package main

import (
	"bytes"
	"errors"
	"io"

	"supervisord/protocol"
	"supervisord/sdk/go/client"
)

// resultPrinter prints chunks as they come and the answer at the end.
type resultPrinter struct {
	w     io.Writer
	every bool // print messages and nothing else
	json  bool // data as JSON, also where it is a text

	open    bool // the last line has no newline yet
	printed bool // a chunk was printed
	err     error
}

// message is what --json prints of a call: a notification, or the answer.
type message struct {
	Method string                  `json:"method,omitzero"`
	Params any                     `json:"params,omitempty"`
	Result *protocol.ExecuteResult `json:"result,omitzero"`
	Error  *protocol.Error         `json:"error,omitzero"`
}

// chunk prints one chunk. The error, which end tells again, is that of a reader who has left.
func (p *resultPrinter) chunk(c *client.Chunk) error {
	text, isText := c.Text()
	switch {
	case p.every:
		p.line(message{Method: protocol.NotificationStreamChunk, Params: map[string]any{
			"job_id": c.JobID, "seq": c.Seq, "chunk": c.Value, "is_final": c.Final, "metadata": c.Metadata,
		}})
	case !isText:
		p.printed = true
		p.closeLine()
		p.line(c.Value)
	case text != "":
		p.printed = true
		p.write([]byte(text))
	}
	return p.err
}

func (p *resultPrinter) progress(progress protocol.JobProgress) {
	if p.every {
		p.line(message{Method: protocol.NotificationJobProgress, Params: progress})
	}
}

// end prints the answer and returns what the command ends with.
func (p *resultPrinter) end(result *client.Result, err error) error {
	if p.every {
		m := message{}
		if result != nil && err == nil {
			m.Result = &protocol.ExecuteResult{JobID: result.JobID, Status: protocol.StatusSuccess, Data: result.Data, Chunks: result.Chunks}
		}
		if failure, ok := errors.AsType[*protocol.Error](err); ok {
			m.Error = failure
		}
		if m.Result != nil || m.Error != nil {
			p.line(m)
		}
		return p.outcome(err)
	}
	// A job that had a stream has its answer in it.
	if result != nil && err == nil && !p.printed && result.Chunks == 0 {
		p.data(result)
	}
	p.closeLine()
	return p.outcome(err)
}

// outcome is a failed write before all else: the job was cancelled because of it.
func (p *resultPrinter) outcome(err error) error {
	if p.err != nil {
		return p.err
	}
	return err
}

func (p *resultPrinter) data(result *client.Result) {
	if text, ok := result.Text(); ok && !p.json {
		p.write([]byte(text))
		return
	}
	p.line(result.Data)
}

func (p *resultPrinter) line(v any) {
	b, err := encodeJSON(v)
	if err != nil {
		p.fail(err)
		return
	}
	p.write(b)
}

func (p *resultPrinter) closeLine() {
	if p.open {
		p.write([]byte("\n"))
	}
}

func (p *resultPrinter) write(b []byte) {
	if p.err != nil || len(b) == 0 {
		return
	}
	p.open = !bytes.HasSuffix(b, []byte("\n"))
	if _, err := p.w.Write(b); err != nil {
		p.fail(err)
	}
}

func (p *resultPrinter) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

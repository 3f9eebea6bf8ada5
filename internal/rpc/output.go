package rpc

import (
	"bytes"
	"encoding/json"
	"strconv"

	"supervisord/internal/outq"
	"supervisord/protocol"
)

// reply is where the answer to a request goes.
type reply struct {
	id    string // raw JSON; "" for a notification, which gets none
	batch *batch // nil outside of one
	slot  int    // in the batch
}

// end completes the message that was appended to b from the index from on, as the connection's framing wants it.
func (c *conn) end(b []byte, from int) []byte {
	if c.in.framing != framingHeaders {
		return append(b, '\n')
	}
	// The length is known only now, so the message makes way for its header.
	n := len(b) - from
	var header [48]byte
	h := append(header[:0], "Content-Length: "...)
	h = append(strconv.AppendInt(h, int64(n), 10), "\r\n\r\n"...)
	b = append(b, h...)
	copy(b[from+len(h):], b[from:from+n])
	copy(b[from:], h)
	return b
}

// send queues one complete message.
func (c *conn) send(message []byte, set *outq.Set) {
	b := c.out.Lock()
	from := len(b)
	c.out.Unlock(c.end(append(b, message...), from))
	set.Add(c.out)
}

// answer queues an answer: the response to r that add appends, from `"result":` or `"error":` on.
func (c *conn) answer(r *reply, add func([]byte) []byte, set *outq.Set) {
	switch {
	case r.batch != nil:
		var answer []byte
		if r.id != "" {
			answer = append(add(appendHead(nil, r.id)), '}')
		}
		r.batch.put(r.slot, answer, set)
	case r.id != "":
		b := c.out.Lock()
		from := len(b)
		b = append(add(appendHead(b, r.id)), '}')
		c.out.Unlock(c.end(b, from))
		set.Add(c.out)
	}
}

func appendHead(b []byte, id string) []byte {
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	return append(append(b, id...), ',')
}

func (c *conn) answerError(r *reply, err *protocol.Error, set *outq.Set) {
	c.answer(r, func(b []byte) []byte { return appendError(b, err) }, set)
}

// refuse answers a message that is no request.
func (c *conn) refuse(f *fault, r reply, set *outq.Set) {
	r.id = "null"
	if f.id != nil {
		r.id = string(f.id)
	}
	c.answerError(&r, f.err, set)
}

func appendError(b []byte, err *protocol.Error) []byte {
	return append(append(b, `"error":`...), encodeJSON(err)...)
}

// encodeJSON is json.Marshal without the escapes that only HTML needs. What it is given can be encoded.
func encodeJSON(v any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic("rpc: encode answer: " + err.Error())
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

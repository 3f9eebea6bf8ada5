package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/sourcegraph/jsonrpc2"

	"supervisord/protocol"
	"supervisord/protocol/jsonscan"
)

// stream is a connection as its jsonrpc2.Conn sees it: where it reads requests of the method table from, what handles
// them, and where it writes their answers to.
//
// The Conn's value for a message can only be filled by json.Unmarshal, so each request is handed over as a skeleton that
// has nothing but a number of ours and the method; the answer comes back under that number. What WriteObject is given is
// as opaque, but OnSend is called with the response right before, under the same lock. TestConnCallsOnSendBeforeWrite
// guards this order, which the library does not document.
type stream conn

var (
	_ jsonrpc2.ObjectStream = (*stream)(nil)
	_ jsonrpc2.Handler      = (*stream)(nil)
)

// ReadObject implements jsonrpc2.ObjectStream. It is the connection's reader: it returns only for requests of the method
// table, and with the error that ends the connection.
func (s *stream) ReadObject(v any) error {
	c := (*conn)(s)
	for {
		if len(c.skipped) > 0 {
			number := c.skipped[0]
			c.skipped = c.skipped[1:]
			return c.skeleton(number, v)
		}
		// One read may bring many small requests with large answers.
		if c.out.Size() > c.outputBuffer {
			if err := c.beforeWait(); err != nil {
				c.teardown(err)
				return err
			}
		}
		message, err := c.in.next()
		if f, ok := errors.AsType[*fault](err); ok {
			c.refuse(f, reply{}, &c.set)
			continue
		}
		if err != nil {
			c.teardown(err)
			return err
		}
		c.handle(message)
	}
}

func (c *conn) skeleton(number uint64, v any) error {
	c.mu.Lock()
	k := c.controls[number]
	c.mu.Unlock()
	b := append(make([]byte, 0, 80), `{"jsonrpc":"2.0","id":`...)
	b = append(strconv.AppendUint(b, number, 10), `,"method":"`...)
	b = append(append(b, k.method.name...), `"}`...)
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("hand a request to the library: %w", err)
	}
	return nil
}

// handle takes one message.
func (c *conn) handle(message []byte) {
	switch {
	case c.in.envelope.IsObject():
		c.handleObject(&c.in.envelope, message, reply{})
	case message[0] == '[':
		c.handleBatch(message)
	default:
		c.refuse(invalidFault(nil, "a message is an object, or an array of objects"), reply{}, &c.set)
	}
}

func (c *conn) handleBatch(message []byte) {
	n := 0
	for elements := jsonscan.NewElements(message); ; n++ {
		if _, ok := elements.Next(); !ok {
			break
		}
	}
	if n == 0 {
		c.refuse(invalidFault(nil, "a batch has at least one request"), reply{}, &c.set)
		return
	}
	if most := c.s.now.Load().MaxBatch; most > 0 && n > most {
		f := invalidFault(nil, fmt.Sprintf("a batch has at most %d requests", most))
		f.err.Data.Limit = int64(most)
		c.refuse(f, reply{}, &c.set)
		return
	}
	var (
		b       = newBatch(c, n)
		scanner jsonscan.Scanner
		object  jsonscan.Object
	)
	for elements, slot := jsonscan.NewElements(message), 0; slot < n; slot++ {
		element, _ := elements.Next()
		to := reply{batch: b, slot: slot}
		if err := object.Scan(&scanner, element, envelopeKeys, protocol.MaxDepth); err != nil || !object.IsObject() {
			c.refuse(invalidFault(nil, "a request is an object"), to, &c.set)
			continue
		}
		c.handleObject(&object, element, to)
	}
	b.done(&c.set)
}

func (c *conn) handleObject(o *jsonscan.Object, message []byte, to reply) {
	r, isRequest, f := parseRequest(o, message)
	switch {
	case f != nil:
		c.refuse(f, to, &c.set)
	case !isRequest:
		if to.batch != nil {
			to.batch.put(to.slot, nil, &c.set)
		}
	default:
		to.id = string(r.id)
		c.request(&r, to)
	}
}

// request begins what a valid request asks for.
func (c *conn) request(r *request, to reply) {
	if r.method == protocol.NotificationCancelRequest {
		found := c.cancelRequest(r.params)
		c.answer(&to, func(b []byte) []byte { return strconv.AppendBool(append(b, `"result":`...), found) }, &c.set)
		return
	}
	if err := c.s.admit(c.peer, r.method); err != nil {
		c.answerError(&to, err, &c.set)
		return
	}
	if r.list {
		c.answerError(&to, protocol.InvalidParams(protocol.Field{Reason: "params are by name: an object, not an array"}), &c.set)
		return
	}
	if r.method == protocol.MethodExecute {
		c.execute(r, to)
		return
	}
	c.control(r, to)
}

// onSend is called by the Conn right before WriteObject, under the same lock.
func (s *stream) onSend(_ *jsonrpc2.Request, response *jsonrpc2.Response) { s.sent = response }

// WriteObject implements jsonrpc2.ObjectStream: it queues the answer to a request of the method table.
func (s *stream) WriteObject(any) error {
	c := (*conn)(s)
	response := c.sent
	c.sent = nil
	if response == nil {
		return errors.New("write: the library sends what is not an answer")
	}
	c.mu.Lock()
	k := c.controls[response.ID.Num]
	delete(c.controls, response.ID.Num)
	c.mu.Unlock()
	if k == nil {
		return fmt.Errorf("write: nothing is in flight as number %d", response.ID.Num)
	}
	c.leave(k.key)
	k.answer(response)
	c.answered()
	return nil
}

// Close implements jsonrpc2.ObjectStream. It ends the reader, which does the rest.
func (s *stream) Close() error {
	if err := s.nc.Close(); err != nil {
		return fmt.Errorf("close connection: %w", err)
	}
	return nil
}

// Handle implements jsonrpc2.Handler.
func (s *stream) Handle(ctx context.Context, rpc *jsonrpc2.Conn, r *jsonrpc2.Request) {
	c := (*conn)(s)
	c.mu.Lock()
	k := c.controls[r.ID.Num]
	c.mu.Unlock()
	k.run(ctx, rpc, r.ID)
}

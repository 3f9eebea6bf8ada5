package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/sourcegraph/jsonrpc2"
	"go.uber.org/zap"

	"supervisord/internal/outq"
	"supervisord/protocol"
)

// control is a request of the method table in flight.
type control struct {
	reply
	c      *conn
	key    string // in conn.calls
	method *method
	params []byte
	// stop ends the wait of a method that waits, with errDetached for its cause; nil before it runs.
	stop context.CancelCauseFunc
	// stopped says that stop was wanted before that: by the next element of the same batch.
	stopped bool
}

// errDetached ends a wait: the request is over, and what it waited for goes on.
var errDetached = errors.New("cancelled by the caller")

// control begins a request of the method table: the Conn will read it.
func (c *conn) control(r *request, to reply) {
	m := methods[r.method]
	k := &control{reply: to, c: c, method: m, params: append([]byte(nil), r.params...)}
	if err := c.enter(&k.key, to.id, k); err != nil {
		c.answerError(&to, err, &c.set)
		return
	}
	c.mu.Lock()
	c.next++
	number := c.next
	c.controls[number] = k
	c.mu.Unlock()
	c.skipped = append(c.skipped, number)
}

// run carries the request out, here or, where it waits, on a goroutine of its own.
func (k *control) run(ctx context.Context, rpc *jsonrpc2.Conn, id jsonrpc2.ID) {
	if !k.method.waits {
		k.respond(ctx, rpc, id)
		return
	}
	ctx, k.stop = context.WithCancelCause(ctx)
	if k.stopped {
		k.stop(errDetached)
	}
	k.c.waits.Go(func() {
		defer k.stop(nil)
		k.respond(ctx, rpc, id)
	})
}

func (k *control) respond(ctx context.Context, rpc *jsonrpc2.Conn, id jsonrpc2.ID) {
	response := &jsonrpc2.Response{ID: id}
	result, err := k.call(ctx)
	if err != nil {
		response.Error = wireError(err)
	} else {
		response.Result = &result
	}
	// The only errors are those of a connection that has ended, whose reader knows.
	_ = rpc.SendResponse(ctx, response)
}

// call runs the method and encodes its result. A panic of one request costs nothing else.
func (k *control) call(ctx context.Context) (result json.RawMessage, err *protocol.Error) {
	defer func() {
		if r := recover(); r != nil {
			incident := strconv.FormatInt(time.Now().UnixNano(), 36)
			k.c.log.Error("method panicked", zap.String("incident", incident), zap.String("method", k.method.name),
				zap.String("panic", fmt.Sprint(r)), zap.ByteString("stack", debug.Stack()))
			err = protocol.NewError(protocol.CodeInternalError, "internal error")
			err.Data.Incident = incident
		}
	}()
	v, err := k.method.run(ctx, k.c, k.params)
	if err != nil {
		return nil, err
	}
	return encodeJSON(v), nil
}

// wireError puts an error into the library's shape.
func wireError(err *protocol.Error) *jsonrpc2.Error {
	data := json.RawMessage(encodeJSON(err.Data))
	return &jsonrpc2.Error{Code: int64(err.Code), Message: err.Message, Data: &data}
}

// answer queues what the library was given as the response.
func (k *control) answer(response *jsonrpc2.Response) {
	var set outq.Set
	k.c.answer(&k.reply, func(b []byte) []byte {
		if response.Error != nil {
			return append(append(b, `"error":`...), encodeJSON(response.Error)...)
		}
		return append(append(b, `"result":`...), *response.Result...)
	}, &set)
	set.Flush()
}

// cancelRequest implements inFlight.
func (k *control) cancelRequest() {
	if k.stop == nil {
		k.stopped = true
		return
	}
	k.stop(errDetached)
}

// abandon implements inFlight. The context of the connection has ended, and the method with it.
func (k *control) abandon(bool, int64) {
	if k.stop != nil {
		k.stop(nil)
	}
}

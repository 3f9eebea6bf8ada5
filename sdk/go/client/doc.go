// Package client calls the plugins of a supervisord daemon over its Unix socket.
//
//	c, err := client.Dial(ctx, "")
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	result, err := c.Execute(ctx, client.Execute{Plugin: "greet", Params: map[string]any{"name": "Ada"}})
//	...
//	stream := c.Stream(ctx, client.Execute{Plugin: "spell", Params: map[string]any{"text": "streamed"}})
//	for chunk, err := range stream.Chunks() {
//		...
//	}
//
// The way of one call:
//
//	Call, Execute, Stream ─▶ queue of requests: whoever finds nobody writing writes all that is queued, in one write
//	reader goroutine      ◀─ one line a message; an answer ends the call with its id, a chunk joins its stream's queue
//	Stream.Chunks         ◀─ takes from that queue
//
// Concurrency: a Client is safe for concurrent use, and its calls run at the same time. One goroutine reads the
// connection; Close waits for it. A Stream belongs to one goroutine.
//
// Ending a call: when its context ends, or the loop over its chunks is left, the daemon is asked to cancel it, and the
// call returns with the one answer that the daemon gives once the work has really stopped. Its error then is the
// daemon's together with the context's cause, and errors.Is and errors.As find both. Only the end of the connection
// makes a call return without an answer.
//
// Slow consumers: a stream holds at most StreamBuffer bytes of chunks that nobody has taken. Beyond that the connection
// is not read any more, for that is how the daemon, and the worker behind it, learn to wait; every other call on the same
// Client waits too. So a loop that is slow, or that itself calls the daemon for each chunk, should have a Client of its
// own. What ends the wait: a chunk taken, the loop left, the context of the stream ended, Close.
//
// Errors: a *protocol.Error is the daemon's answer. ErrLost is the end of the connection, ErrClosed the Client's own.
//
// What it does not do: it does not connect again, for only the caller knows whether a call that got no answer may be made
// twice; and it retries nothing.
package client

// Package rpc is the daemon's front door: it speaks JSON-RPC 2.0 with every client on one Unix socket.
//
// The way of one request:
//
//	reader (reader.go)    finds where a message ends, answers what is none, goes on behind it
//	  envelope            id, method and params as the bytes they are; batches taken apart (request.go, batch.go)
//	    execute           params parsed in place, handed to the Backend at once, by the same goroutine (execute.go, call.go)
//	    $/cancelRequest   effective before anything behind it is looked at
//	    any other         through the unmodified jsonrpc2.Conn to the method table (stream.go, methods.go)
//	queue (outq)          answers and chunks, appended by whoever has them, flushed once for all that one read brought
//
// The jsonrpc2.Conn of a connection reads from our stream and writes to it. It never sees what a client wrote: for a
// request of the method table it gets a skeleton with a running number, and its answer finds the client's own id again
// under that number. What it would do badly (ids, params, batches, malformed input, the speed of calls) is kept from it.
//
// A connection has one reader goroutine, which also runs the quick methods; those that wait (job.cancel, a reload) have
// one of their own, bounded by max_in_flight. Nothing that a client does or fails to do makes another one's goroutine wait: its
// answers are queued, its streams are refused when they are over their share of the queue and fed when there is room, and
// it is read from only while its unsent output is below output_buffer.
//
// What a server goes by can change while it serves (Server.Reconfigure): it is one struct behind an atomic pointer, which a
// request looks at when it needs it. What a connection's buffers follow from is copied when it is opened.
//
// Locks: a connection's lock is a leaf, but for its output queue's; it is taken by calls with their job's lock held.
// Nothing is called with it held.
//
// This package knows neither jobs nor workers beyond the small interfaces that it declares.
package rpc

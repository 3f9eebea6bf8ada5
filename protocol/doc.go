// Package protocol holds what the daemon, its workers and its clients say to each other: message types, the frame
// codec, error codes, and the params, results and records of the client methods. PROTOCOL.md in this directory is the
// normative text; the vectors in testdata/conformance are its test, for any language.
//
// The way of one call:
//
//	client ── {"jsonrpc":"2.0","id":1,"method":"execute","params":{...}} ──▶ daemon     (client.go)
//	  daemon ── frame of an execute message, on the worker's fd 3 ──▶ worker            (messages.go, frame.go)
//	  daemon ◀── frames of stream_chunk, then one of result, on the worker's fd 4 ── worker
//	client ◀── stream.chunk notifications, then the response ── daemon                  (client.go, error.go)
//
// Nothing here starts a goroutine, keeps global state or does I/O beyond the reader or writer it was given. All
// functions are safe for concurrent use; a FrameReader belongs to one goroutine.
//
// What it does not do: it holds no sockets and no processes, it does not know which features a worker has announced
// (it decodes extension messages whoever sent them), and it does not frame JSON-RPC.
package protocol

// Version is the number of the worker protocol and of the client protocol. Both grow by features and members;
// the number changes only when an old peer could no longer take part.
const Version = 1

// File descriptors of a worker process.
const (
	// FDRequests is where a worker reads frames from the daemon. End of file means: exit.
	FDRequests = 3
	// FDResponses is where a worker writes frames to the daemon, and nothing else.
	FDResponses = 4
)

// ExitDoNotRestart is the exit status by which a worker asks not to be started again.
const ExitDoNotRestart = 125

const (
	// FrameOverhead is how many bytes a frame may hold beyond max_message, so that a payload of max_message bytes
	// fits together with the members around it.
	FrameOverhead = 64 << 10
	// EnvelopePrefix is how many bytes of a frame over the limit are looked at. Where they hold type and job_id of a
	// result or a stream_chunk (see PrefixEnvelope) the frame is skipped and only that job fails.
	EnvelopePrefix = 4096
	// MaxDepth is how deep a message may nest, its own object counted. It is far below what common JSON libraries take,
	// so that what the daemon passes on can be read everywhere.
	MaxDepth = 256
)

// Environment variables that the daemon sets in a worker process.
const (
	// EnvProtocol is Version in decimal.
	EnvProtocol = "SUPERVISORD_PROTOCOL"
	// EnvPool is the name of the pool.
	EnvPool = "SUPERVISORD_POOL"
	// EnvWorker is the worker's id, pool/slot.
	EnvWorker = "SUPERVISORD_WORKER"
	// EnvSlot is the worker's slot, counted from 0 and below max_workers.
	EnvSlot = "SUPERVISORD_SLOT"
	// EnvIncarnation counts the processes that the worker has had, from 1.
	EnvIncarnation = "SUPERVISORD_INCARNATION"
)

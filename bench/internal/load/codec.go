package load

// kind is what a message from the system is.
type kind uint8

const (
	_        kind = iota
	aChunk        // one chunk of the stream id asked for
	anAnswer      // the end of a call
)

// message is one message from the system; body is all of it and aliases the read buffer.
type message struct {
	kind kind
	id   uint32
	seq  uint32 // of a chunk
	body []byte
}

// codec speaks one system's language on one connection. It is used by one goroutine.
type codec interface {
	// appendRequest appends the request of the case with this id.
	appendRequest(dst []byte, id uint32) []byte
	// next reads the message at the start of b and returns how many bytes it takes, 0 when b does not hold all of it yet.
	// Anything that isn't an answer or a chunk, an error answer above all, is an error.
	next(b []byte) (message, int, error)
	// verify decodes a message of the case whole and compares it with what was asked for.
	verify(m message) error
	// isEnd reports whether a chunk behind the last one asked for is the empty one that ends a stream.
	isEnd(m message) bool
	// slow returns how many messages next had to decode whole, which costs the generator more than the system.
	slow() uint64
	// chunks returns how many chunks the answer to a stream says it had.
	chunks(m message) (uint32, error)
}

// Protocol names what a system speaks.
type Protocol uint8

// The protocols that the generator knows.
const (
	_       Protocol = iota
	Raw              // frames of package wire, requests of package floor
	JSONRPC          // JSON-RPC 2.0, one message a line, method execute
)

func newCodec(p Protocol, c Case) codec {
	if p == Raw {
		return newRawCodec(c)
	}
	return newJSONCodec(c)
}

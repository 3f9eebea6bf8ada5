package floor

import (
	"encoding/binary"
	"fmt"
)

// The first byte of a request's payload says what the worker does with it. The relay never looks at it.
const (
	opEcho   = 'e' // answer: the same payload
	opStream = 's' // answer: frames with more to follow, then one that counts them
)

// EchoRequest returns a payload of size bytes (at least 1) that the worker sends back.
func EchoRequest(size int) []byte {
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = 'x'
	}
	payload[0] = opEcho
	return payload
}

// StreamRequest returns a payload that the worker answers with chunks payloads of size bytes (at least 4), each beginning with
// its number from 0 as a big-endian word, and a last payload that is their count alike.
func StreamRequest(chunks, size int) []byte {
	payload := []byte{opStream}
	payload = binary.BigEndian.AppendUint32(payload, uint32(chunks))
	return binary.BigEndian.AppendUint32(payload, uint32(size))
}

func parseStream(payload []byte) (chunks, size uint32, err error) {
	if len(payload) != 9 {
		return 0, 0, fmt.Errorf("stream request of %d bytes, want 9", len(payload))
	}
	chunks, size = binary.BigEndian.Uint32(payload[1:]), binary.BigEndian.Uint32(payload[5:])
	if size < 4 {
		return 0, 0, fmt.Errorf("chunks of %d bytes can't hold their number", size)
	}
	return chunks, size, nil
}

package client

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"supervisord/protocol"
	"supervisord/protocol/jsonscan"
)

const (
	readSize = 64 << 10
	// keepLine is the biggest buffer for long lines that is used again.
	keepLine = 1 << 20
)

// request returns a request as one line. params are those of encode.
func request(id uint64, method string, params []byte) []byte {
	b := make([]byte, 0, len(params)+len(method)+64)
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	b = strconv.AppendUint(b, id, 10)
	b = append(append(b, `,"method":`...), quote(method)...)
	if params != nil {
		b = jsonscan.AppendLine(append(b, `,"params":`...), params)
	}
	return append(b, "}\n"...)
}

// encode is json.Marshal that keeps <, > and & and the bytes of a json.RawMessage; nothing becomes nil. What the daemon
// could not read is an error here, since the daemon cannot say in which call it stood.
func encode(v any, maxDepth int) ([]byte, error) {
	raw, isRaw := v.(json.RawMessage)
	switch {
	case v == nil, isRaw && len(raw) == 0:
		return nil, nil
	case !isRaw:
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(v); err != nil {
			return nil, err
		}
		raw = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	}
	var (
		scanner jsonscan.Scanner
		object  jsonscan.Object
	)
	if err := object.Scan(&scanner, raw, noKeys, maxDepth); err != nil {
		return nil, err
	}
	return raw, nil
}

func quote(s string) []byte {
	b, _ := json.Marshal(s) // text always can
	return b
}

// lineReader reads lines of any length.
type lineReader struct {
	r    *bufio.Reader
	long []byte // a line that did not fit the reader's buffer
}

func newLineReader(r io.Reader) *lineReader { return &lineReader{r: bufio.NewReaderSize(r, readSize)} }

// next returns the next line, valid until the next call. The error is io.EOF at an end between lines.
func (l *lineReader) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if err == nil {
		return line, nil
	}
	if cap(l.long) > keepLine {
		l.long = nil
	}
	l.long = append(l.long[:0], line...)
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = l.r.ReadSlice('\n')
		l.long = append(l.long, line...)
	}
	if errors.Is(err, io.EOF) && len(l.long) > 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return l.long, err
}

// kind is what a message from the daemon is.
type kind uint8

const (
	kindAnswer   kind = iota + 1
	kindRefusal       // an error with id null
	kindChunk         // stream.chunk
	kindProgress      // job.progress
	kindOther         // a notification of a later version, to be ignored
)

// message is one line of the daemon, its parts still in the line.
type message struct {
	kind kind
	id   uint64 // of the call
	line []byte
	// With kindAnswer and kindRefusal one of both, with the others params.
	result, failure, params []byte

	scanner jsonscan.Scanner
	object  jsonscan.Object
	inner   jsonscan.Object
}

// The members of a message, by index.
const (
	keyID = iota
	keyMethod
	keyParams
	keyResult
	keyError
)

// The members of stream.chunk, by index.
const (
	chunkJobID = iota
	chunkRequestID
	chunkSeq
	chunkValue
	chunkFinal
	chunkMetadata
)

var (
	noKeys      = jsonscan.NewKeys()
	messageKeys = jsonscan.NewKeys("id", "method", "params", "result", "error")
	chunkKeys   = jsonscan.NewKeys("job_id", "request_id", "seq", "chunk", "is_final", "metadata")
	requestKeys = jsonscan.NewKeys("request_id")
)

// decode takes a line apart. An error says that the peer is no daemon, and nothing it says later can be trusted.
func (m *message) decode(line []byte) error {
	m.line = line
	o := &m.object
	if err := o.Scan(&m.scanner, line, messageKeys, jsonscan.MaxDepth); err != nil {
		return fmt.Errorf("message from the daemon: %w", err)
	}
	if fault, _ := o.Fault(); !o.IsObject() || fault != jsonscan.NoFault {
		return fmt.Errorf("message from the daemon is not of JSON-RPC: %.100q", line)
	}
	m.params, m.result, m.failure = o.Value(keyParams), o.Value(keyResult), o.Value(keyError)
	rawID := o.Value(keyID)
	if method := o.Value(keyMethod); method != nil {
		return m.decodeNotification(string(method), rawID)
	}
	switch {
	case (m.result == nil) == (m.failure == nil):
		return fmt.Errorf("answer of the daemon has neither or both of result and error: %.100q", line)
	case string(rawID) == "null" && m.failure != nil:
		m.kind = kindRefusal
		return nil
	}
	m.kind = kindAnswer
	return m.setID(rawID)
}

func (m *message) decodeNotification(method string, rawID []byte) error {
	switch {
	case rawID != nil:
		m.kind = kindOther // a request: the daemon makes none, and one of a later version needs a client that knows it
		return nil
	case method == `"`+protocol.NotificationStreamChunk+`"`:
		m.kind = kindChunk
		if err := m.inner.Scan(&m.scanner, m.params, chunkKeys, jsonscan.MaxDepth); err != nil {
			return fmt.Errorf("chunk from the daemon: %w", err)
		}
		return m.setID(m.inner.Value(chunkRequestID))
	case method == `"`+protocol.NotificationJobProgress+`"`:
		m.kind = kindProgress
		if err := m.inner.Scan(&m.scanner, m.params, requestKeys, jsonscan.MaxDepth); err != nil {
			return fmt.Errorf("progress from the daemon: %w", err)
		}
		return m.setID(m.inner.Value(0))
	}
	m.kind = kindOther
	return nil
}

func (m *message) setID(raw []byte) error {
	id, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil {
		return fmt.Errorf("message from the daemon for id %.40q, which is none of this client: %.100q", raw, m.line)
	}
	m.id = id
	return nil
}

// outcome returns copies of what the daemon answered.
func (m *message) outcome() ([]byte, error) {
	if m.failure == nil {
		return bytes.Clone(m.result), nil
	}
	var failure protocol.Error
	if err := json.Unmarshal(m.failure, &failure); err != nil {
		return nil, fmt.Errorf("client: error of the daemon: %w: %.200q", err, m.failure)
	}
	return nil, &failure
}

func decodeResult(method string, raw []byte, result any) error {
	switch result := result.(type) {
	case nil:
		return nil
	case *json.RawMessage:
		*result = raw
		return nil
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return fmt.Errorf("client: result of %s: %w", method, err)
	}
	return nil
}

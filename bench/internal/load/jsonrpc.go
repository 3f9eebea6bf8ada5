package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// A chunk of the plugin count is {"i":0,"pad":"xx"}: this many bytes besides the digits of i and the padding.
const countEnvelope = len(`{"i":,"pad":""}`)

type jsonCodec struct {
	before  []byte // a request up to its id
	after   []byte // and from there on
	pad     string // what an echo or each chunk carries
	stream  bool
	scanned int // bytes of an incomplete line known to hold no newline
	decoded uint64
}

// newJSONCodec makes the params of an echo, or the middle chunk of a stream, exactly as long as the case's payload.
func newJSONCodec(c Case) *jsonCodec {
	j := &jsonCodec{stream: c.Chunks > 0, before: []byte(`{"jsonrpc":"2.0","id":`)}
	var params string
	if j.stream {
		pad := max(c.Payload-countEnvelope-len(strconv.Itoa(c.Chunks/2)), 0)
		j.pad = strings.Repeat("x", pad)
		params = fmt.Sprintf(`"plugin_name":"count","params":{"count":%d,"ms":0,"pad":%d},"stream":true`, c.Chunks, pad)
	} else {
		j.pad = strings.Repeat("x", max(c.Payload-len(`{"pad":""}`), 0))
		params = fmt.Sprintf(`"plugin_name":"echo","params":{"pad":"%s"}`, j.pad)
	}
	j.after = []byte(`,"method":"execute","params":{` + params + "}}\n")
	return j
}

func (j *jsonCodec) appendRequest(dst []byte, id uint32) []byte {
	dst = append(dst, j.before...)
	dst = strconv.AppendUint(dst, uint64(id), 10)
	return append(dst, j.after...)
}

func (j *jsonCodec) next(b []byte) (message, int, error) {
	i := bytes.IndexByte(b[j.scanned:], '\n')
	if i < 0 {
		j.scanned = len(b)
		return message{}, 0, nil
	}
	end := j.scanned + i
	j.scanned = 0
	m, ok := glance(b[:end])
	if !ok {
		j.decoded++
		var err error
		if m, err = decode(b[:end]); err != nil {
			return message{}, 0, err
		}
	}
	if m.kind == anAnswer && !j.stream && end < len(j.before)+len(j.pad) {
		return message{}, 0, fmt.Errorf("answer to id %d has %d bytes, fewer than what was sent", m.id, end)
	}
	return m, end + 1, nil
}

var (
	version   = []byte(`"jsonrpc":"2.0",`)
	id        = []byte(`"id":`)
	result    = []byte(`,"result":`)
	chunkHead = []byte(`"method":"stream.chunk","params":{"job_id":"`)
	requestID = []byte(`","request_id":`)
	seq       = []byte(`,"seq":`)
	chunk     = []byte(`,"chunk":`)
)

// glance reads a message whose members come in the usual order. It says no rather than guess, and then decode reads the line:
// right in any case, slow in that one.
func glance(line []byte) (message, bool) {
	m := message{body: line}
	if len(line) == 0 || line[0] != '{' {
		return m, false
	}
	rest, _ := bytes.CutPrefix(line[1:], version)
	var ok bool
	if answer, is := bytes.CutPrefix(rest, id); is {
		m.kind = anAnswer
		if m.id, rest, ok = number(answer); !ok {
			return m, false
		}
		return m, bytes.HasPrefix(rest, result)
	}
	m.kind = aChunk
	if rest, ok = bytes.CutPrefix(rest, chunkHead); !ok {
		return m, false
	}
	quote := bytes.IndexByte(rest, '"')
	if quote < 0 {
		return m, false
	}
	if rest, ok = bytes.CutPrefix(rest[quote:], requestID); !ok {
		return m, false
	}
	if m.id, rest, ok = number(rest); !ok {
		return m, false
	}
	if rest, ok = bytes.CutPrefix(rest, seq); !ok {
		return m, false
	}
	if m.seq, rest, ok = number(rest); !ok {
		return m, false
	}
	return m, bytes.HasPrefix(rest, chunk)
}

// number reads the digits at the start of b.
func number(b []byte) (n uint32, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && i < 9 && b[i]-'0' <= 9; i++ {
		n = 10*n + uint32(b[i]-'0')
	}
	return n, b[i:], i > 0
}

// envelope is every message that a client can get for execute.
type envelope struct {
	ID     *uint32         `json:"id"`
	Method string          `json:"method"`
	Error  json.RawMessage `json:"error"`
	Result *struct {
		Status string `json:"status"`
		Data   struct {
			Pad *string `json:"pad"`
		} `json:"data"`
		Chunks *uint32 `json:"chunks"`
	} `json:"result"`
	Params *struct {
		RequestID *uint32         `json:"request_id"`
		Seq       *uint32         `json:"seq"`
		Chunk     json.RawMessage `json:"chunk"`
		IsFinal   bool            `json:"is_final"`
	} `json:"params"`
}

func unmarshal(line []byte) (envelope, error) {
	var e envelope
	if err := json.Unmarshal(line, &e); err != nil {
		return e, fmt.Errorf("message %.200q: %w", line, err)
	}
	return e, nil
}

func decode(line []byte) (message, error) {
	e, err := unmarshal(line)
	if err != nil {
		return message{}, err
	}
	switch p := e.Params; {
	case e.Error != nil:
		return message{}, fmt.Errorf("error answer: %.500s", line)
	case e.Result != nil && e.ID != nil:
		return message{kind: anAnswer, id: *e.ID, body: line}, nil
	case e.Method == "stream.chunk" && p != nil && p.RequestID != nil && p.Seq != nil && p.Chunk != nil:
		return message{kind: aChunk, id: *p.RequestID, seq: *p.Seq, body: line}, nil
	}
	return message{}, fmt.Errorf("neither an answer nor a chunk: %.500s", line)
}

func (j *jsonCodec) verify(m message) error {
	e, err := unmarshal(m.body)
	if err != nil {
		return err
	}
	if m.kind == anAnswer {
		if e.Result == nil || e.Result.Status != "success" {
			return fmt.Errorf("answer to id %d is no success: %.500s", m.id, m.body)
		}
		if !j.stream && (e.Result.Data.Pad == nil || *e.Result.Data.Pad != j.pad) {
			return fmt.Errorf("echo of id %d differs from what was sent: %.500s", m.id, m.body)
		}
		return nil
	}
	var data struct {
		I   *uint32 `json:"i"`
		Pad *string `json:"pad"`
	}
	if err := json.Unmarshal(e.Params.Chunk, &data); err != nil || data.I == nil || data.Pad == nil || *data.I != m.seq || *data.Pad != j.pad {
		return fmt.Errorf("chunk %d of id %d is not what was asked for: %.500s", m.seq, m.id, m.body)
	}
	return nil
}

func (j *jsonCodec) isEnd(m message) bool {
	e, err := unmarshal(m.body)
	return err == nil && e.Params != nil && e.Params.IsFinal
}

func (j *jsonCodec) slow() uint64 { return j.decoded }

func (j *jsonCodec) chunks(m message) (uint32, error) {
	e, err := unmarshal(m.body)
	if err != nil {
		return 0, err
	}
	if e.Result == nil || e.Result.Chunks == nil {
		return 0, fmt.Errorf("answer to the stream of id %d counts no chunks: %.500s", m.id, m.body)
	}
	return *e.Result.Chunks, nil
}

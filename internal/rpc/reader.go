package rpc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"supervisord/protocol"
	"supervisord/protocol/jsonscan"
)

const (
	leastBuffer = 4 << 10   // of a connection that says little
	keepBuffer  = 256 << 10 // a larger one is given back when its message is done
	// skipFactor is how many times the size limit a message may have before the connection is given up instead of reading
	// to the message's end.
	skipFactor = 16
	// unscanned is how many bytes a Scanner may leave for later.
	unscanned = 5
	// maxFaults is how many messages in a row may be no JSON before the connection is given up.
	maxFaults = 100
)

// Members of a request, and those that tell a response.
var envelopeKeys = jsonscan.NewKeys("jsonrpc", "id", "method", "params", "result", "error")

const (
	keyJSONRPC = iota
	keyID
	keyMethod
	keyParams
	keyResult
	keyError
)

// framing is how the messages of a connection are set apart. It is detected from the first bytes and stays.
type framing uint8

const (
	framingUnknown framing = iota
	framingLines           // JSON texts one after the other; answers end with a newline
	framingHeaders         // Content-Length, as LSP has it
)

// errLost ends a connection in whose bytes no further message can be found. It has been answered already.
var errLost = errors.New("no further message can be found")

// fault is why a message is refused before anybody knows what it asks for. It is answered and reading goes on.
type fault struct {
	err *protocol.Error
	id  []byte // raw, nil for null
	// last says that nothing can follow.
	last bool
}

func (f *fault) Error() string { return f.err.Error() }

func parseFault(offset int64, reason string) *fault {
	err := protocol.NewError(protocol.CodeParseError, "parse error: "+reason)
	err.Data.Reason, err.Data.Offset = reason, &offset
	return &fault{err: err}
}

func invalidFault(id []byte, reason string) *fault {
	err := protocol.NewError(protocol.CodeInvalidRequest, "invalid request: "+reason)
	err.Data.Reason = reason
	return &fault{err: err, id: id}
}

func tooLongFault(id []byte, limit int) *fault {
	f := invalidFault(id, fmt.Sprintf("the message is longer than %d bytes", limit))
	f.err.Data.Limit = int64(limit)
	return f
}

// reader takes messages out of the bytes of a connection. What it holds is bounded by limit. It belongs to one goroutine.
type reader struct {
	r     io.Reader
	limit int

	buf      []byte // buf[from:to] has arrived and was not returned
	from, to int
	scanner  jsonscan.Scanner
	envelope jsonscan.Object // of the message that next has returned
	capture  jsonscan.Capture
	framing  framing
	dropLine bool // the rest of a line that is no message is to be dropped
	faults   int  // in a row
	err      error
}

// next returns the next message, a complete JSON text that is valid until the following call; where it is an object,
// envelope has its members. The error is a *fault, after which next may be called again unless it is the last, io.EOF,
// or another one of the connection.
func (r *reader) next() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	message, err := r.message()
	if err == nil {
		r.faults = 0
		return message, nil
	}
	f, ok := errors.AsType[*fault](err)
	if !ok {
		r.err = err
		return nil, err
	}
	if f.err.Code == protocol.CodeParseError {
		if r.faults++; r.faults >= maxFaults {
			f.last = true
		}
	}
	if f.last {
		r.err = errLost
	}
	return nil, f
}

func (r *reader) message() ([]byte, error) {
	r.shrink()
	if r.dropLine {
		if err := r.passLine(); err != nil {
			return nil, err
		}
	}
	if err := r.skipSpace(); err != nil {
		return nil, err
	}
	if r.framing == framingUnknown {
		if err := r.detect(); err != nil {
			return nil, err
		}
	}
	if r.framing == framingHeaders {
		return r.headed()
	}
	return r.bare()
}

// skipSpace leaves the first byte of the next message at from.
func (r *reader) skipSpace() error {
	for {
		for ; r.from < r.to; r.from++ {
			switch r.buf[r.from] {
			case ' ', '\t', '\r', '\n':
			default:
				return nil
			}
		}
		if err := r.fill(); err != nil {
			return err
		}
	}
}

var (
	headerStart = []byte("content-")
	// httpMethods begin what a client sends that takes the socket for a web server. Nothing it understands can be said.
	httpMethods = [...]string{"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE ", "PRI * "}
)

// detect finds out the framing from the first bytes that are no white space.
func (r *reader) detect() error {
	have := r.buf[r.from:r.to]
	for undecided(have) {
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return err
		}
		have = r.buf[r.from:r.to]
	}
	r.framing = framingLines
	if len(have) >= len(headerStart) && isPrefixFold(have, headerStart) {
		r.framing = framingHeaders
		return nil
	}
	for _, method := range httpMethods {
		if bytes.HasPrefix(have, []byte(method)) {
			f := parseFault(0, "this is HTTP, and the socket speaks JSON-RPC 2.0 without it")
			f.last = true
			return f
		}
	}
	return nil
}

// undecided reports whether what has come may still become headers or HTTP.
func undecided(have []byte) bool {
	for _, method := range httpMethods {
		if len(have) < len(method) && strings.HasPrefix(method, string(have)) {
			return true
		}
	}
	return len(have) < len(headerStart) && isPrefixFold(have, headerStart)
}

// isPrefixFold reports whether one of a and prefix begins with the other but for case.
func isPrefixFold(a, prefix []byte) bool {
	n := min(len(a), len(prefix))
	return bytes.EqualFold(a[:n], prefix[:n])
}

// bare reads a JSON text that begins at from and ends where its syntax says.
func (r *reader) bare() ([]byte, error) {
	r.scanner.Reset(protocol.MaxDepth, envelopeKeys, &r.envelope)
	at := 0
	for {
		var status jsonscan.Status
		at, status = r.scanner.Scan(r.buf[r.from:r.to], at)
		switch status {
		case jsonscan.Done:
			return r.take(at)
		case jsonscan.Invalid:
			if at > r.limit-unscanned {
				return nil, r.resyncLong(at, false)
			}
			return nil, r.resync(at)
		case jsonscan.More:
		}
		if r.to-r.from > r.limit {
			return nil, r.passOver(at)
		}
		if err := r.fill(); err != nil {
			if !errors.Is(err, io.EOF) {
				return nil, err
			}
			if r.scanner.AtEnd() == jsonscan.Done {
				return r.take(r.to - r.from)
			}
			offset := int64(r.to - r.from)
			r.from = r.to
			return nil, parseFault(offset, "unexpected end of input")
		}
	}
}

// take returns the message of n bytes at from.
func (r *reader) take(n int) ([]byte, error) {
	message := r.buf[r.from : r.from+n]
	r.from += n
	if n > r.limit {
		return nil, tooLongFault(soleID(message), r.limit)
	}
	return message, nil
}

// resync finds where to go on behind the byte that is no JSON, which lies n bytes behind from. The line that holds it
// is dropped; where it begins as a message does, and is not the line that the broken message began in, it is tried by
// itself, so that a message that was cut off costs only itself.
func (r *reader) resync(n int) *fault {
	f := syntaxFault(r.scanner.Err())
	bad := r.from + n
	if i := bytes.LastIndexByte(r.buf[r.from:bad], '\n'); i >= 0 {
		line := r.from + i + 1
		for line < bad && (r.buf[line] == ' ' || r.buf[line] == '\t' || r.buf[line] == '\r') {
			line++
		}
		if c := r.buf[line]; c == '{' || c == '[' {
			r.from = line
			return f
		}
	}
	r.from, r.dropLine = bad, true
	return f
}

func syntaxFault(err error) *fault {
	if syntax, ok := errors.AsType[*jsonscan.SyntaxError](err); ok {
		return parseFault(int64(syntax.Offset), syntax.Reason)
	}
	return parseFault(0, err.Error())
}

// passLine drops what is left of a line.
func (r *reader) passLine() error {
	for dropped := 0; ; {
		have := r.buf[r.from:r.to]
		if i := bytes.IndexByte(have, '\n'); i >= 0 {
			r.from += i + 1
			r.dropLine = false
			return nil
		}
		r.from = r.to
		if dropped += len(have); dropped > skipFactor*r.limit {
			return errLost
		}
		if err := r.fill(); err != nil {
			return err
		}
	}
}

// passOver reads to the end of a message that is over the limit without keeping it; at bytes of it have been scanned.
func (r *reader) passOver(at int) error {
	r.capture.Begin(&r.scanner, r.buf[r.from:r.to], at, keyID)
	passed := 0
	blank := false // the line has nothing but white space so far, and is not the message's first
	for {
		blank = isBlankLine(r.buf[r.from:r.from+at], blank)
		r.from += at
		passed += at
		if passed > skipFactor*r.limit {
			f := tooLongFault(validID(r.capture.Value()), r.limit)
			f.last = true
			return f
		}
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				passed += r.to - r.from
				r.from = r.to
				return parseFault(int64(passed), "unexpected end of input")
			}
			return err
		}
		var status jsonscan.Status
		at, status = r.scanner.Scan(r.buf[r.from:r.to], 0)
		switch status {
		case jsonscan.Done:
			r.from += at
			return tooLongFault(validID(r.capture.Value()), r.limit)
		case jsonscan.Invalid:
			return r.resyncLong(at, blank)
		case jsonscan.More:
		}
	}
}

// resyncLong is resync in a message that is over the limit. Its line may be gone, so that it is tried only where the byte
// that is no JSON is its first; blank says that nothing but white space of it had come before.
func (r *reader) resyncLong(n int, blank bool) *fault {
	bad := r.from + n
	blank = isBlankLine(r.buf[r.from:bad], blank)
	r.from, r.dropLine = bad, !blank || (r.buf[bad] != '{' && r.buf[bad] != '[')
	return syntaxFault(r.scanner.Err())
}

// isBlankLine reports whether a line has only white space after b; blank says whether it had before.
func isBlankLine(b []byte, blank bool) bool {
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		b, blank = b[i+1:], true
	}
	return blank && len(bytes.TrimLeft(b, " \t\r")) == 0
}

// fill reads more behind what is there.
func (r *reader) fill() error {
	switch {
	case r.from == r.to:
		r.from, r.to = 0, 0
	case r.to == len(r.buf) && r.from > 0:
		r.from, r.to = 0, copy(r.buf, r.buf[r.from:r.to])
	}
	if r.to == len(r.buf) {
		// At most twice what has arrived, so that announcing much takes nothing.
		grown := make([]byte, min(max(2*len(r.buf), leastBuffer), max(r.limit, maxHeaders)+leastBuffer))
		copy(grown, r.buf[:r.to])
		r.buf = grown
	}
	n, err := r.r.Read(r.buf[r.to:])
	r.to += n
	if n > 0 {
		return nil
	}
	return err
}

// shrink gives a large buffer back once it holds little.
func (r *reader) shrink() {
	if have := r.to - r.from; len(r.buf) > keepBuffer && have <= leastBuffer {
		small := make([]byte, leastBuffer)
		r.from, r.to = 0, copy(small, r.buf[r.from:r.to])
		r.buf = small
	}
}

// idIn is the id of a message whose envelope was scanned, nil where it has none that may be repeated.
func idIn(o *jsonscan.Object, message []byte) []byte {
	if !o.IsObject() {
		return nil
	}
	if f, key := o.Fault(); f != jsonscan.NoFault && key == keyID {
		return nil
	}
	return validID(o.In(message, keyID))
}

// soleID is the id of a message that is over the limit, as a Capture tells it.
func soleID(message []byte) []byte {
	var id []byte
	for walk := jsonscan.NewMembers(message); ; {
		raw, value, ok := walk.Next()
		if !ok {
			return validID(id)
		}
		if name, err := jsonscan.Unquote(raw); err != nil || name != "id" {
			continue
		}
		if id != nil {
			return nil
		}
		id = value
	}
}

// validID is id where it may be that of a request: a string, a number or null, and not long.
func validID(id []byte) []byte {
	if len(id) == 0 || len(id) > maxID {
		return nil
	}
	switch c := id[0]; {
	case c == '"', c == '-', c == 'n', c >= '0' && c <= '9':
		return id
	}
	return nil
}

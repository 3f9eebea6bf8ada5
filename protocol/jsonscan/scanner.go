package jsonscan

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// MaxDepth is the deepest nesting that a Scanner can be asked to accept.
const MaxDepth = 1024

// Status is what Scan knows about a value so far.
type Status uint8

const (
	// More says that the bytes so far are the beginning of a value.
	More Status = iota + 1
	// Done says that the value is complete.
	Done
	// Invalid says that no continuation of the bytes can be JSON; Scanner.Err says why.
	Invalid
)

// SyntaxError says at which byte of a message its text stopped being JSON.
type SyntaxError struct {
	// Offset counts bytes from the start of the value.
	Offset int
	// Reason is a short text in lower case.
	Reason string
}

// Error implements error.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("invalid JSON at byte %d: %s", e.Offset, e.Reason)
}

const (
	reasonSyntax  = "syntax error"
	reasonUTF8    = "invalid UTF-8"
	reasonControl = "control character in string"
	reasonEscape  = "invalid escape in string"
	reasonDepth   = "nested too deep"
	reasonEnd     = "unexpected end"
	reasonAfter   = "bytes after the value"
)

type state uint8

const (
	stValue    state = iota // a value must begin
	stArrFirst              // a value or ]
	stObjFirst              // a name or }
	stName                  // a name
	stColon                 // :
	stAfter                 // , or the closer of the container
	stString                // inside a string value
	stNameStr               // inside a name
	stMinus                 // number: after -
	stZero                  // number: after a leading 0
	stInt                   // number: in the integer
	stDot                   // number: after .
	stFrac                  // number: in the fraction
	stExp                   // number: after e
	stExpSign               // number: after e+ or e-
	stExpDigit              // number: in the exponent
	stDone
)

// Scanner finds the end of one JSON value in bytes that may still be arriving. The zero value is not ready: call Reset.
type Scanner struct {
	st       state
	depth    int
	maxDepth int
	isObject [MaxDepth / 64]uint64
	reason   string
	errAt    int

	// obj, when not nil, gets the members of the outermost object.
	obj      *Object
	keys     *Keys
	nameFrom int
	escaped  bool // the name, or the string after it, has an escape
	newline  bool // see Newline
	member   int  // whose value comes next or has come last, -1 for one that is not recorded
	valueAt  int

	capture *Capture // instead of obj, after Capture.Begin
}

// Reset prepares for a new value nested at most maxDepth deep (at most MaxDepth; 1 is a flat object). Where obj is not
// nil, the spans of the members that keys names are recorded in it, as offsets into the slice given to Scan.
func (s *Scanner) Reset(maxDepth int, keys *Keys, obj *Object) {
	s.st, s.depth, s.maxDepth, s.reason, s.errAt = stValue, 0, min(maxDepth, MaxDepth), "", 0
	s.keys, s.obj, s.member, s.capture, s.newline = keys, obj, -1, nil, false
	if obj != nil {
		n := 0
		if keys != nil {
			n = len(keys.names)
		}
		obj.reset(n)
	}
}

// Err is the fault that made Scan return Invalid, else nil.
func (s *Scanner) Err() error {
	if s.reason == "" {
		return nil
	}
	return &SyntaxError{Offset: s.errAt, Reason: s.reason}
}

// Newline reports whether a newline stands between the tokens of what was scanned, where JSON allows one but a protocol of
// one message a line does not.
func (s *Scanner) Newline() bool { return s.newline }

// Inside reports whether a value has begun and not ended.
func (s *Scanner) Inside() bool { return s.st != stValue || s.depth > 0 }

// AtEnd says what a value is when no more bytes will come: a number at the outermost level ends only there.
func (s *Scanner) AtEnd() Status {
	if s.st == stDone || (s.depth == 0 && (s.st == stZero || s.st == stInt || s.st == stFrac || s.st == stExpDigit)) {
		return Done
	}
	return Invalid
}

func (s *Scanner) fail(at int, reason string) (int, Status) {
	s.reason, s.errAt = reason, at
	return at, Invalid
}

// Scan continues over b[i:], where b begins with the value's first byte (or, when nothing is recorded, wherever the
// caller likes) and i is what the last call returned. With Done it returns the index after the value; with More the
// index from which to go on, at most five bytes before the end of b; with Invalid the index of the offending byte.
// After Capture.Begin only b[i:] need follow on what came before.
func (s *Scanner) Scan(b []byte, i int) (int, Status) {
	if s.capture != nil {
		return s.capture.scan(b, i)
	}
	return s.scan(b, i)
}

func (s *Scanner) scan(b []byte, i int) (int, Status) {
	for {
		// Strings are most of most messages, so they are looked at first and in runs.
		if s.st == stString || s.st == stNameStr {
			var ok bool
			if i, ok = s.scanString(b, i); !ok {
				if s.reason != "" {
					return i, Invalid
				}
				return i, More
			}
			if s.st == stNameStr {
				if s.depth == 1 {
					s.endName(b, i-1)
				}
				s.st = stColon
				if i < len(b) && b[i] == ':' { // nearly always
					s.st = stValue
					i++
				}
			} else if s.endValue(i) {
				return i, Done
			}
			continue
		}
		if s.st >= stMinus && s.st < stDone {
			var st Status
			if i, st = s.scanNumber(b, i); st != Done {
				return i, st
			}
			if s.endValue(i) {
				return i, Done
			}
			continue
		}
		for i < len(b) && b[i] <= ' ' && isSpace(b[i]) {
			s.newline = s.newline || b[i] == '\n' || b[i] == '\r'
			i++
		}
		if i == len(b) {
			return i, More
		}
		c := b[i]
		//nolint:exhaustive // strings and numbers were looked at above, stValue comes below
		switch s.st {
		case stColon:
			if c != ':' {
				return s.fail(i, reasonSyntax)
			}
			s.st = stValue
			i++
			continue
		case stAfter:
			object := s.top()
			switch {
			case c == ',' && object:
				s.st = stName
				if i+1 < len(b) && b[i+1] == '"' { // nearly always
					i++
					s.beginName(i + 1)
				}
			case c == ',':
				s.st = stValue
			case c == '}' && object, c == ']' && !object:
				s.depth--
				if s.endValue(i + 1) {
					return i + 1, Done
				}
			default:
				return s.fail(i, reasonSyntax)
			}
			i++
			continue
		case stObjFirst, stName:
			if c == '}' && s.st == stObjFirst {
				s.depth--
				i++
				if s.endValue(i) {
					return i, Done
				}
				continue
			}
			if c != '"' {
				return s.fail(i, reasonSyntax)
			}
			i++
			s.beginName(i)
			continue
		case stArrFirst:
			if c == ']' {
				s.depth--
				i++
				if s.endValue(i) {
					return i, Done
				}
				continue
			}
		}
		// A value begins.
		if s.depth == 1 {
			s.valueAt = i
		}
		switch {
		case c == '"':
			s.st = stString
			i++
		case c == '{' || c == '[':
			if s.depth >= s.maxDepth {
				return s.fail(i, reasonDepth)
			}
			word, bit := s.depth/64, uint64(1)<<(s.depth%64)
			if c == '{' {
				s.isObject[word] |= bit
				s.st = stObjFirst
			} else {
				s.isObject[word] &^= bit
				s.st = stArrFirst
			}
			if s.depth == 0 && s.obj != nil {
				s.obj.isObject = c == '{'
			}
			s.depth++
			i++
		case c == '-':
			s.st = stMinus
			i++
		case c == '0':
			s.st = stZero
			i++
		case c >= '1' && c <= '9':
			s.st = stInt
			i++
		default:
			n, st := literal(b[i:])
			if st == More {
				return i, More
			}
			if st == Invalid {
				return s.fail(i, reasonSyntax)
			}
			i += n
			if s.endValue(i) {
				return i, Done
			}
		}
	}
}

func (s *Scanner) top() bool {
	d := s.depth - 1
	return s.isObject[d/64]&(1<<(d%64)) != 0
}

// endValue notes that a value ended before index end and reports whether it was the outermost one.
func (s *Scanner) endValue(end int) bool {
	if s.depth == 0 {
		s.st = stDone
		return true
	}
	s.st = stAfter
	if s.depth > 1 {
		return false
	}
	switch {
	case s.obj != nil:
		s.obj.value(s.member, s.valueAt, end)
	case s.capture != nil:
		s.capture.end(end)
	}
	return false
}

// beginName notes that a name begins at index at, behind its quote.
func (s *Scanner) beginName(at int) { s.st, s.nameFrom, s.escaped = stNameStr, at, false }

// endName takes the name of a member of the outermost object, which ends before index end.
func (s *Scanner) endName(b []byte, end int) {
	switch {
	case s.obj != nil:
		s.member = s.obj.name(s.keys, b[s.nameFrom:end], s.escaped)
	case s.capture != nil:
		s.capture.name(end)
	}
}

// inValue reports whether the value of a member of the outermost object has begun and not ended.
func (s *Scanner) inValue() bool {
	return s.depth > 1 || s.depth == 1 && (s.st == stString || s.st >= stMinus && s.st < stDone)
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// stops sets, for each of eight bytes, the high bit unless the byte is ASCII that needs no look: neither control, quote
// nor backslash. Exact up to and including the first hit, which is all that is used (a borrow can only spoil later ones).
func stops(w uint64) uint64 {
	quote := w ^ (ones * '"')
	slash := w ^ (ones * '\\')
	return (((quote - ones) &^ quote) | ((slash - ones) &^ slash) | ((w - ones*0x20) &^ w) | w) & highs
}

// scanString goes on inside a string. It returns the index after the closing quote and true, or false with either the
// index from which more bytes are needed or, with s.reason set, that of the fault.
func (s *Scanner) scanString(b []byte, i int) (int, bool) {
	for {
		for i+8 <= len(b) {
			if m := stops(binary.LittleEndian.Uint64(b[i:])); m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		if i >= len(b) {
			return i, false
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, true
		case c == '\\':
			n, st := escape(b[i:])
			s.escaped = true
			if st == Invalid {
				s.reason, s.errAt = reasonEscape, i
			}
			if st != Done {
				return i, false
			}
			i += n
		case c < 0x20:
			s.reason, s.errAt = reasonControl, i
			return i, false
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				if utf8.FullRune(b[i:]) {
					s.reason, s.errAt = reasonUTF8, i
				}
				return i, false
			}
			i += n
		}
	}
}

// escape says how long the escape at the start of b is.
func escape(b []byte) (int, Status) {
	if len(b) < 2 {
		return 0, More
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, Done
	case 'u':
		for _, c := range b[2:min(len(b), 6)] {
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return 0, Invalid
			}
		}
		if len(b) < 6 {
			return 0, More
		}
		return 6, Done
	}
	return 0, Invalid
}

// literal says how long the true, false or null at the start of b is.
func literal(b []byte) (int, Status) {
	var want string
	switch b[0] {
	case 't':
		want = "true"
	case 'f':
		want = "false"
	case 'n':
		want = "null"
	default:
		return 0, Invalid
	}
	n := min(len(b), len(want))
	if string(b[:n]) != want[:n] {
		return 0, Invalid
	}
	if n < len(want) {
		return 0, More
	}
	return n, Done
}

// scanNumber goes on inside a number: Done with the index of the first byte that is not part of it.
func (s *Scanner) scanNumber(b []byte, i int) (int, Status) {
	for ; i < len(b); i++ {
		c := b[i]
		digit := c >= '0' && c <= '9'
		//nolint:exhaustive // in the states after a digit the number may also end, below
		switch s.st {
		case stMinus:
			switch {
			case c == '0':
				s.st = stZero
			case digit:
				s.st = stInt
			default:
				return s.fail(i, reasonSyntax)
			}
			continue
		case stDot, stExpSign:
			if !digit {
				return s.fail(i, reasonSyntax)
			}
			s.st++ // stFrac, stExpDigit
			continue
		case stExp:
			switch {
			case digit:
				s.st = stExpDigit
			case c == '+' || c == '-':
				s.st = stExpSign
			default:
				return s.fail(i, reasonSyntax)
			}
			continue
		}
		switch {
		case digit && s.st != stZero:
		case c == '.' && (s.st == stZero || s.st == stInt):
			s.st = stDot
		case (c == 'e' || c == 'E') && s.st != stExpDigit:
			s.st = stExp
		default:
			return i, Done
		}
	}
	return i, More
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

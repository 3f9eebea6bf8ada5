package jsonscan

import (
	"bytes"
	"encoding/json"
	"math/bits"
	"unicode/utf8"
)

// MaxKeys is how many names one Keys may hold.
const MaxKeys = 16

// Keys is the set of member names that an Object records. It is immutable and may be shared.
type Keys struct {
	names   []string
	longest int
	// byLength has, for each length, a bit for each name that has it.
	byLength [maxKeyLength + 1]uint16
	// lower says that no name has an upper-case letter or a character outside of ASCII, so that a text which has none
	// either differs from all of them by more than case.
	lower bool
}

// maxKeyLength is the longest name in bytes.
const maxKeyLength = 31

// NewKeys makes a set of at most MaxKeys names of at most 31 bytes; the index of a name is its place in the call. It
// panics on more, since the names are constants of the program.
func NewKeys(names ...string) *Keys {
	if len(names) > MaxKeys {
		panic("jsonscan: too many keys")
	}
	k := &Keys{names: names, lower: true}
	for i, n := range names {
		if len(n) > maxKeyLength {
			panic("jsonscan: key too long")
		}
		k.longest = max(k.longest, len(n))
		k.byLength[len(n)] |= 1 << i
		k.lower = k.lower && isLower([]byte(n))
	}
	return k
}

// Name is the name with index i.
func (k *Keys) Name(i int) string { return k.names[i] }

type match uint8

const (
	noMatch match = iota
	exact
	folded
)

// find says which key a raw name (the bytes between its quotes) is, once unescaped, or which one it differs from by
// case alone.
func (k *Keys) find(raw []byte) (int, match) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return k.findPlain(raw)
	}
	if len(raw) > 6*k.longest { // \uXXXX is the longest way to write one character of a name
		return -1, noMatch
	}
	plain, err := Unquote(raw)
	if err != nil {
		return -1, noMatch
	}
	return k.findPlain([]byte(plain))
}

func (k *Keys) findPlain(name []byte) (int, match) {
	if len(name) <= maxKeyLength {
		for set := k.byLength[len(name)]; set != 0; set &= set - 1 {
			if i := bits.TrailingZeros16(set); string(name) == k.names[i] {
				return i, exact
			}
		}
	}
	if k.lower && isLower(name) {
		return -1, noMatch
	}
	for i, n := range k.names {
		// Only the long s and the Kelvin sign fold to ASCII letters of another length: two and three bytes for one.
		if len(name) >= len(n) && len(name) <= 3*len(n) && bytes.EqualFold(name, []byte(n)) {
			return i, folded
		}
	}
	return -1, noMatch
}

// isLower reports whether a name has neither upper-case letters nor characters outside of ASCII.
func isLower(name []byte) bool {
	for _, c := range name {
		if c-'A' <= 'Z'-'A' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Unquote decodes the bytes between the quotes of a string that a Scanner has accepted. Lone surrogates become U+FFFD.
func Unquote(raw []byte) (string, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw), nil
	}
	quoted := make([]byte, 0, len(raw)+2)
	quoted = append(append(append(quoted, '"'), raw...), '"')
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return "", err
	}
	return s, nil
}

// Fault is what is wrong with the names of an object although its syntax is right.
type Fault uint8

const (
	// NoFault says that every known name stands at most once, in its own case.
	NoFault Fault = iota
	// Duplicate says that a known name stands twice.
	Duplicate
	// CaseVariant says that a name differs from a known one by case alone.
	CaseVariant
)

// Object holds where the known members of one object lie. It is filled by a Scanner or by Scan, and reused.
type Object struct {
	isObject bool
	spans    [MaxKeys]span
	twice    uint16 // a bit for each key whose name has stood again
	fault    Fault
	faultKey int
	unknown  int
	src      []byte
}

type span struct{ from, to int }

// reset forgets all but the spans that no key of the next value, which has n of them, will ask for.
func (o *Object) reset(n int) {
	o.isObject, o.twice, o.fault, o.faultKey, o.unknown, o.src = false, 0, NoFault, -1, 0, nil
	clear(o.spans[:n])
}

// name takes the raw name of a member and returns where its value is to be recorded, -1 for nowhere.
func (o *Object) name(keys *Keys, raw []byte, escaped bool) int {
	var (
		i int
		m match
	)
	if escaped {
		i, m = keys.find(raw)
	} else {
		i, m = keys.findPlain(raw)
	}
	switch {
	case m == noMatch:
		o.unknown++
		return -1
	case m == folded:
		o.setFault(CaseVariant, i)
		return -1
	case o.spans[i].to > 0:
		o.twice |= 1 << i
		o.setFault(Duplicate, i)
		return -1
	}
	return i
}

func (o *Object) setFault(f Fault, key int) {
	if o.fault == NoFault {
		o.fault, o.faultKey = f, key
	}
}

func (o *Object) value(key, from, to int) {
	if key >= 0 {
		o.spans[key] = span{from, to}
	}
}

// IsObject reports whether the value was an object at all.
func (o *Object) IsObject() bool { return o.isObject }

// Fault says what is wrong with the names, and the index of the key concerned (-1 without a fault).
func (o *Object) Fault() (Fault, int) { return o.fault, o.faultKey }

// Unknown is how many members had names outside the set.
func (o *Object) Unknown() int { return o.unknown }

// In is the raw value of key i inside b, the slice that was given to Scanner.Scan; nil when absent.
func (o *Object) In(b []byte, i int) []byte {
	s := o.spans[i]
	if s.to == 0 {
		return nil
	}
	return b[s.from:s.to:s.to]
}

// Value is the raw value of key i after Scan, nil when absent. It is a part of the slice given to Scan.
func (o *Object) Value(i int) []byte { return o.In(o.src, i) }

// Scan validates b, which must be exactly one value (white space around it allowed) nested at most maxDepth deep, and
// records the members that keys names. A value that is not an object is valid; IsObject tells. The error is a
// *SyntaxError. s is scratch space, so that a caller that scans often need not allocate it.
func (o *Object) Scan(s *Scanner, b []byte, keys *Keys, maxDepth int) error {
	s.Reset(maxDepth, keys, o)
	end, st := s.Scan(b, 0)
	if st == More {
		if st = s.AtEnd(); st == Invalid {
			return &SyntaxError{Offset: end, Reason: reasonEnd}
		}
		end = len(b)
	}
	if st == Invalid {
		return s.Err()
	}
	for end < len(b) && isSpace(b[end]) {
		end++
	}
	if end < len(b) {
		return &SyntaxError{Offset: end, Reason: reasonAfter}
	}
	o.src = b
	return nil
}

package protocol

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"supervisord/protocol/jsonscan"
)

// fields are the known members of one object, still raw, and the first thing that was wrong with them. The need
// methods are for required members and set err; the others return the zero value for what is absent or ill-typed.
type fields struct {
	typ   string
	names []string
	raw   [8][]byte // by index in names
	// others gathers the members that names does not list, as the inside of an object, where it is not nil.
	others []byte
	err    error
}

func (f *fields) fail(member string, fault MemberFault) {
	if f.err == nil {
		f.err = &MessageError{Type: f.typ, Member: member, Fault: fault}
	}
}

// collect takes the members of object, which a Scanner has accepted.
func (f *fields) collect(object []byte) {
	walk := jsonscan.NewMembers(object)
	for {
		rawName, value, ok := walk.Next()
		if !ok {
			return
		}
		name := unescape(rawName)
		switch i := f.index(name); {
		case i >= 0 && f.raw[i] != nil:
			f.fail(f.names[i], MemberDuplicate)
		case i >= 0:
			f.raw[i] = value
		case f.others != nil && string(name) != "type" && !bytes.HasPrefix(name, []byte("$")):
			if len(f.others) > 1 {
				f.others = append(f.others, ',')
			}
			f.others = append(append(append(f.others, '"'), rawName...), '"', ':')
			f.others = append(f.others, value...)
		}
	}
}

// index returns the place of name in names, -1 for none. A name that differs by case alone is a fault.
func (f *fields) index(name []byte) int {
	for i, n := range f.names {
		if n == string(name) {
			return i
		}
	}
	for _, n := range f.names {
		if strings.EqualFold(n, string(name)) {
			f.fail(n, MemberCase)
		}
	}
	return -1
}

func (f *fields) get(name string) []byte { return f.raw[slices.Index(f.names, name)] }

func (f *fields) need(name string) []byte {
	raw := f.get(name)
	if raw == nil {
		f.fail(name, MemberMissing)
	}
	return raw
}

func (f *fields) needText(name string) string {
	raw := f.need(name)
	s, ok := parseString(raw)
	if raw != nil && !ok {
		f.fail(name, MemberIllTyped)
	}
	return s
}

func (f *fields) needOneOf(name string, values ...string) string {
	s := f.needText(name)
	if !slices.Contains(values, s) {
		f.fail(name, MemberValue) // without effect where it is missing or no string
	}
	return s
}

func (f *fields) needTexts(name string) []string {
	raw := f.need(name)
	list, ok := parseStrings(raw)
	if raw != nil && !ok {
		f.fail(name, MemberIllTyped)
	}
	return list
}

// needObject returns the members of an object by name.
func (f *fields) needObject(name string) map[string]json.RawMessage {
	raw := f.need(name)
	if raw != nil && !isObject(raw) {
		f.fail(name, MemberIllTyped)
	}
	members := make(map[string]json.RawMessage)
	walk := jsonscan.NewMembers(raw)
	for {
		rawName, value, ok := walk.Next()
		if !ok {
			return members
		}
		key := string(unescape(rawName))
		if _, twice := members[key]; twice {
			f.fail(name+"."+cut(key), MemberDuplicate)
		}
		members[key] = bytes.Clone(value)
	}
}

func (f *fields) text(name string) string {
	s, _ := parseString(f.get(name))
	return s
}

func (f *fields) texts(name string) []string {
	list, _ := parseStrings(f.get(name))
	return list
}

func (f *fields) boolean(name string) bool { return firstByte(f.get(name)) == 't' }

func (f *fields) integer(name string) int64 {
	var n int64
	if json.Unmarshal(f.get(name), &n) != nil {
		return 0
	}
	return n
}

func (f *fields) number(name string) *float64 {
	var n *float64
	if json.Unmarshal(f.get(name), &n) != nil {
		return nil
	}
	return n
}

// share is a number from 0 to 1.
func (f *fields) share(name string) *float64 {
	if n := f.number(name); n != nil && *n >= 0 && *n <= 1 {
		return n
	}
	return nil
}

// value is any JSON value but null.
func (f *fields) value(name string) json.RawMessage {
	raw := f.get(name)
	if firstByte(raw) == 'n' {
		return nil
	}
	return bytes.Clone(raw)
}

func (f *fields) object(name string) json.RawMessage {
	raw := f.get(name)
	if !isObject(raw) {
		return nil
	}
	return bytes.Clone(raw)
}

func parseString(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	s, err := jsonscan.Unquote(raw[1 : len(raw)-1])
	return s, err == nil
}

// parseStrings reads a list of strings: all of them, or none and false.
func parseStrings(raw []byte) ([]string, bool) {
	if firstByte(raw) != '[' {
		return nil, false
	}
	list := []string{}
	elements := jsonscan.NewElements(raw)
	for {
		value, ok := elements.Next()
		if !ok {
			return list, true
		}
		s, ok := parseString(value)
		if !ok {
			return nil, false
		}
		list = append(list, s)
	}
}

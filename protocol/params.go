package protocol

import (
	"bytes"
	"fmt"

	"supervisord/protocol/jsonscan"
)

// MemberFault is what is wrong with one member of a message or of params.
type MemberFault string

// The values of MemberFault, as they stand in the conformance vectors.
const (
	MemberSyntax    MemberFault = "syntax"    // the message is not JSON, not UTF-8, or nested too deeply
	MemberMissing   MemberFault = "missing"   // it is required
	MemberIllTyped  MemberFault = "type"      // it has another JSON type; with no member named, the whole is not an object
	MemberValue     MemberFault = "value"     // it is not one of the values there are
	MemberDuplicate MemberFault = "duplicate" // its name stands twice
	MemberCase      MemberFault = "case"      // its name differs from a known one by case alone
	MemberReserved  MemberFault = "reserved"  // params: its name is one of the message's own, or begins with '$'
)

// ParamsError says why params cannot be sent to a worker. It is the caller's fault.
type ParamsError struct {
	Name  string // of the member, as it stands in params and cut to 100 bytes; empty with MemberIllTyped
	Fault MemberFault
}

// Error implements error.
func (e *ParamsError) Error() string {
	if e.Fault == MemberIllTyped {
		return "params is not an object"
	}
	return fmt.Sprintf("params: member %q %s", e.Name, e.reason())
}

// Field returns the error as an element of ErrorData.Fields.
func (e *ParamsError) Field() Field {
	if e.Fault == MemberIllTyped {
		return Field{Path: "params", Reason: "is not an object"}
	}
	return Field{Path: "params." + e.Name, Reason: e.reason()}
}

func (e *ParamsError) reason() string {
	if e.Fault == MemberDuplicate {
		return "stands twice"
	}
	return "has a reserved name"
}

// reservedParams are the members of Execute that a param would collide with. A worker's JSON library may fold case, so
// variants are reserved too.
var reservedParams = [...][]byte{[]byte("type"), []byte("job_id"), []byte("plugin_name"), []byte("stream")}

// CheckParams reports whether params, which a jsonscan.Scanner must have accepted, can stand at the top level of an
// execute message: an object, or nothing at all, in which no name, once unescaped, is type, job_id, plugin_name or
// stream in any case, begins with '$', or stands twice. The error is a *ParamsError for the first such member. Values
// are not looked at. It does not allocate for up to 16 members with unescaped names.
func CheckParams(params []byte) error {
	if len(params) == 0 {
		return nil
	}
	if !isObject(params) {
		return &ParamsError{Fault: MemberIllTyped}
	}
	var (
		few   [16][]byte
		many  map[string]struct{} // instead of few, once that is full
		count int
		walk  = jsonscan.NewMembers(params)
	)
	for {
		raw, _, ok := walk.Next()
		if !ok {
			return nil
		}
		name := unescape(raw)
		if isReserved(name) {
			return newParamsError(name, MemberReserved)
		}
		if count == len(few) {
			many = make(map[string]struct{}, 2*len(few))
			for _, n := range few {
				many[string(n)] = struct{}{}
			}
		}
		if many != nil {
			if _, twice := many[string(name)]; twice {
				return newParamsError(name, MemberDuplicate)
			}
			many[string(name)] = struct{}{}
		} else {
			for _, n := range few[:count] {
				if bytes.Equal(n, name) {
					return newParamsError(name, MemberDuplicate)
				}
			}
			few[count] = name
		}
		count++
	}
}

func isReserved(name []byte) bool {
	if len(name) > 0 && name[0] == '$' {
		return true
	}
	for _, r := range reservedParams {
		// EqualFold is Unicode's simple folding, so that "ſtream" counts as stream.
		if bytes.EqualFold(name, r) {
			return true
		}
	}
	return false
}

func newParamsError(name []byte, fault MemberFault) error {
	return &ParamsError{Name: cut(string(name)), Fault: fault}
}

// unescape returns the name whose bytes between the quotes are raw.
func unescape(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	plain, err := jsonscan.Unquote(raw)
	if err != nil { // not reached after a Scanner; the raw name is then as good as any
		return raw
	}
	return []byte(plain)
}

// isObject reports whether a value that a Scanner has accepted is an object.
func isObject(value []byte) bool { return firstByte(value) == '{' }

func firstByte(value []byte) byte {
	for _, c := range value {
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c
		}
	}
	return 0
}

// cut shortens what a peer chose to call something, so that an error never repeats megabytes.
func cut(name string) string {
	const longest = 100
	if len(name) <= longest {
		return name
	}
	return string(bytes.ToValidUTF8([]byte(name[:longest]), nil)) + "..."
}

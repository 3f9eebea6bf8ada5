package rpc

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"time"

	"supervisord/protocol"
	"supervisord/protocol/jsonscan"
)

// executeMember is a member of protocol.ExecuteParams, as a bit of those that have been seen.
type executeMember uint16

const (
	memberPluginName executeMember = 1 << iota
	memberParams
	memberStream
	memberPool
	memberJobID
	memberTimeout
	memberMaxWait
	memberPriority
	memberAffinityKey
	memberSupersedeKey
	memberKeepAlive
	memberOnDisconnect
	memberToken
	memberMetadata
)

const badJobID = "is not 1 to 128 of A-Z a-z 0-9 . _ : -"

// executeMemberOf is the member of a name, 0 for one that is ignored.
func executeMemberOf(name []byte) executeMember {
	switch string(name) {
	case "plugin_name":
		return memberPluginName
	case "params":
		return memberParams
	case "stream":
		return memberStream
	case "pool":
		return memberPool
	case "job_id":
		return memberJobID
	case "timeout_ms":
		return memberTimeout
	case "max_wait_ms":
		return memberMaxWait
	case "priority":
		return memberPriority
	case "affinity_key":
		return memberAffinityKey
	case "supersede_key":
		return memberSupersedeKey
	case "keep_alive_ms":
		return memberKeepAlive
	case "on_disconnect":
		return memberOnDisconnect
	case "partialResultToken":
		return memberToken
	case "metadata":
		return memberMetadata
	}
	return 0
}

// takeMember reads the value of a member into x and k. The text is what is wrong with it.
func takeMember(m executeMember, v []byte, x *Execution, k *call) string {
	switch m {
	case memberPluginName:
		return takeName(&x.Plugin, v)
	case memberParams:
		x.Params = v // CheckParams comes last
	case memberStream:
		k.stream = k.stream || v[0] == 't'
		return unless(v[0] == 't' || v[0] == 'f', "is not a boolean")
	case memberPool:
		return takeName(&x.Pool, v)
	case memberJobID:
		x.JobID, _ = text(v)
		return unless(protocol.ValidJobID(x.JobID), badJobID)
	case memberTimeout:
		ok := takeMilliseconds(&x.Timeout, v)
		return unless(ok && x.Timeout > 0, "is not an integer above 0")
	case memberMaxWait:
		x.HasMaxWait = true
		return unless(takeMilliseconds(&x.MaxWait, v), "is not an integer from 0 on")
	case memberPriority:
		n, err := strconv.Atoi(string(v))
		x.Priority = n
		return unless(err == nil && n >= -protocol.MaxPriority && n <= protocol.MaxPriority, "is not an integer from -100 to 100")
	case memberAffinityKey:
		_, ok := text(v)
		return unless(ok, "is not a string")
	case memberSupersedeKey:
		// Ignoring it would leave two jobs where the caller counts on one.
		return "is not served by this version"
	case memberKeepAlive:
		var d time.Duration
		return unless(takeMilliseconds(&d, v), "is not an integer from 0 on")
	case memberOnDisconnect:
		s, _ := text(v)
		x.Continue = s == protocol.OnDisconnectContinue
		return unless(x.Continue || s == protocol.OnDisconnectCancel, `is neither "cancel" nor "continue"`)
	case memberToken:
		k.token, k.stream = string(v), true
		// It is repeated with each chunk.
		return unless((v[0] == '"' || isInteger(v)) && len(v) <= maxID, "is neither a string nor an integer of at most "+strconv.Itoa(maxID)+" bytes")
	case memberMetadata:
		x.Metadata = v
		return unless(v[0] == '{', "is not an object")
	}
	return ""
}

// parseExecute reads the params of execute into x and k. x gets a copy of the payloads, which the job keeps.
func parseExecute(params []byte, x *Execution, k *call) *protocol.Error {
	var (
		fields []protocol.Field
		seen   executeMember
		walk   = jsonscan.NewMembers(params)
	)
	for {
		name, value, ok := walk.Next()
		if !ok {
			break
		}
		if bytes.IndexByte(name, '\\') >= 0 {
			if plain, err := jsonscan.Unquote(name); err == nil {
				name = []byte(plain)
			}
		}
		m := executeMemberOf(name)
		switch {
		case m == 0:
			continue
		case seen&m != 0:
			fields = append(fields, protocol.Field{Path: string(name), Reason: "stands twice"})
			continue
		}
		seen |= m
		if value[0] == 'n' { // null is as good as absent
			continue
		}
		if reason := takeMember(m, value, x, k); reason != "" {
			fields = append(fields, protocol.Field{Path: string(name), Reason: reason})
		}
	}
	if x.Plugin == "" && (seen&memberPluginName == 0 || fields == nil) {
		fields = append(fields, protocol.Field{Path: "plugin_name", Reason: "is missing"})
	}
	if params := x.Params; params != nil {
		if e, ok := errors.AsType[*protocol.ParamsError](protocol.CheckParams(params)); ok {
			fields = append(fields, e.Field())
		}
	}
	if fields != nil {
		return protocol.InvalidParams(fields...)
	}
	x.Stream = k.stream
	kept := make([]byte, 0, len(x.Params)+len(x.Metadata))
	if x.Params != nil {
		kept = appendPayload(kept, x.Params)
		x.Params = kept
	}
	if x.Metadata != nil {
		from := len(kept)
		kept = appendPayload(kept, x.Metadata)
		x.Metadata = kept[from:]
		if x.Params != nil {
			x.Params = kept[:from:from]
		}
	}
	return nil
}

// appendPayload appends a JSON value, without the newlines between its tokens.
func appendPayload(b, value []byte) []byte {
	if bytes.IndexByte(value, '\n') < 0 && bytes.IndexByte(value, '\r') < 0 {
		return append(b, value...)
	}
	return jsonscan.AppendLine(b, value)
}

// unless returns the reason unless ok.
func unless(ok bool, reason string) string {
	if ok {
		return ""
	}
	return reason
}

// takeName reads the name of a plugin or a pool.
func takeName(to *string, value []byte) string {
	s, ok := text(value)
	*to = s
	return unless(ok && s != "", "is not a name")
}

// text reads a JSON string.
func text(value []byte) (string, bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	s, err := jsonscan.Unquote(value[1 : len(value)-1])
	return s, err == nil
}

func takeMilliseconds(to *time.Duration, value []byte) bool {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(time.Millisecond) {
		return false
	}
	*to = time.Duration(n) * time.Millisecond
	return true
}

// isInteger reports whether a JSON number is written without fraction and exponent.
func isInteger(value []byte) bool {
	return (value[0] == '-' || (value[0] >= '0' && value[0] <= '9')) && !bytes.ContainsAny(value, ".eE")
}

package worker

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"supervisord/protocol/jsonscan"
)

// The members of an execute frame that are not the caller's, by index. The other messages have their type there too.
const (
	keyType = iota
	keyJobID
	keyPlugin
	keyStream
	keyMeta
)

// The members of $meta, by index.
const (
	metaDeadline = iota
	metaTraceparent
	metaMetadata
)

// What the scanner records; never changed.
var (
	envelopeNames = []string{"type", "job_id", "plugin_name", "stream", "$meta"}
	envelopeKeys  = jsonscan.NewKeys(envelopeNames...)
	metaKeys      = jsonscan.NewKeys("deadline_ms", "traceparent", "metadata")
)

// paramsOf returns the params in an execute frame that o has scanned: every member outside the envelope, as one object.
// The daemon writes its own members first and no white space between them, so the rest of the frame becomes that object
// by turning the comma before it into a brace, in place; a frame written otherwise is copied.
func paramsOf(body []byte, o *jsonscan.Object) json.RawMessage {
	if o.Unknown() == 0 {
		return json.RawMessage(`{}`)
	}
	walk, at := jsonscan.NewMembers(body), 1
	for key := range envelopeNames {
		if o.In(body, key) == nil {
			continue
		}
		name, value, ok := walk.Next()
		if !ok || !slices.Contains(envelopeNames, string(name)) || len(name) == 0 || &body[at+1] != &name[0] {
			return copyParams(body)
		}
		at += len(name) + len(`"":`)
		if &body[at] != &value[0] {
			return copyParams(body)
		}
		at += len(value) + len(`,`)
	}
	if body[at-1] != ',' {
		return copyParams(body)
	}
	if mayHaveDollarName(body[at:]) {
		return copyParams(body)
	}
	body[at-1] = '{'
	return json.RawMessage(body[at-1:])
}

// What the name of a member that is no param begins with: those of a later version do.
var dollar, escapedDollar = []byte(`"$`), []byte(`"\u0024`)

// mayHaveDollarName reports false where no name begins with '$'. The single bytes are looked for first, since nearly no
// params have them.
func mayHaveDollarName(params []byte) bool {
	return bytes.IndexByte(params, '$') >= 0 && bytes.Contains(params, dollar) ||
		bytes.IndexByte(params, '\\') >= 0 && bytes.Contains(params, escapedDollar)
}

// copyParams is paramsOf for any frame.
func copyParams(body []byte) json.RawMessage {
	params := []byte{'{'}
	for walk := jsonscan.NewMembers(body); ; {
		name, value, ok := walk.Next()
		if !ok {
			return append(params, '}')
		}
		if plain, err := jsonscan.Unquote(name); err != nil || slices.Contains(envelopeNames, plain) || strings.HasPrefix(plain, "$") {
			continue
		}
		if len(params) > 1 {
			params = append(params, ',')
		}
		params = append(append(append(params, '"'), name...), `":`...)
		params = append(params, value...)
	}
}

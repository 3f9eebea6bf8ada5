package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"supervisord/protocol/jsonscan"
)

// Encode writes a message as one line of JSON without the newline, type first and job_id second, so that a frame that
// turns out too long still names its job. Payloads go out as they are, but for newlines between tokens, which become
// spaces. The error names the member: a payload that is no JSON text (NaN, invalid UTF-8, nested too deeply) or no object
// where one must be, a number that JSON does not have, or a *ParamsError.
//
// A stream_chunk always carries is_final and metadata, a result leaves out data or error when absent.
func Encode(m Message) ([]byte, error) {
	e := encoder{b: append(make([]byte, 0, 256), `{"type":"`+m.MessageType()+`"`...)}
	switch m := m.(type) {
	case *Init:
		e.object("plugin_configs", m.PluginConfigs)
		e.integer("protocol", int64(m.Protocol))
		e.text("pool", m.Pool)
		e.text("worker", m.Worker)
		e.integer("incarnation", m.Incarnation)
		e.integer("max_message", m.MaxMessage)
	case *Execute:
		e.needText("job_id", m.JobID)
		e.needText("plugin_name", m.PluginName)
		if m.Stream {
			e.boolean("stream", true)
		}
		e.objectPayload("$meta", m.Meta)
		e.params(m.Params)
	case *Reload:
		e.needText("plugin_name", m.PluginName)
		e.payload("config", m.Config)
		e.text("request_id", m.RequestID)
	case *Unload:
		e.needText("plugin_name", m.PluginName)
		e.text("request_id", m.RequestID)
	case *GetState:
		e.text("request_id", m.RequestID)
	case *Stop:
	case *Cancel:
		e.needText("job_id", m.JobID)
	case *Ready:
		e.ready(m)
	case *StreamChunk:
		e.needText("job_id", m.JobID)
		e.needPayload("chunk", m.Chunk)
		e.boolean("is_final", m.IsFinal)
		if m.Metadata == nil {
			e.raw("metadata", "{}")
		}
		e.objectPayload("metadata", m.Metadata)
	case *Result:
		e.result(m)
	case *Response:
		e.needText("request_type", m.RequestType)
		e.status(m.Status, StatusSuccess, StatusError)
		e.text("plugin_name", m.PluginName)
		e.text("error", m.Error)
		e.text("request_id", m.RequestID)
	case *State:
		e.state(m)
	case *ErrorMessage:
		e.needText("error", m.Error)
	case *Progress:
		e.needText("job_id", m.JobID)
		e.share(m.Progress)
		e.text("message", m.Message)
	case *Log:
		e.text("level", m.Level)
		e.needText("message", m.Message)
		e.text("job_id", m.JobID)
		e.objectPayload("fields", m.Fields)
	case *Metric:
		e.needText("name", m.Name)
		e.marshal("value", m.Value)
		e.text("job_id", m.JobID)
	case *LoadProgress:
		e.needText("plugin_name", m.PluginName)
		e.share(m.Progress)
		e.text("message", m.Message)
	default:
		e.err = fmt.Errorf("type %T is not a message of this protocol", m)
	}
	if e.err != nil {
		return nil, fmt.Errorf("encode %s message: %w", m.MessageType(), e.err)
	}
	return append(e.b, '}'), nil
}

// encoder appends members to an object that is open and not empty. After the first error it does nothing of use.
type encoder struct {
	b     []byte
	depth int // of the objects and arrays that are open inside the message's own
	err   error
}

func (e *encoder) ready(m *Ready) {
	e.texts("loaded_plugins", m.LoadedPlugins)
	e.integer("protocol", int64(m.Protocol))
	if m.Features != nil {
		e.texts("features", m.Features)
	}
	if m.Plugins == nil {
		return
	}
	e.name("plugins")
	e.b = append(e.b, '[')
	e.depth = 2
	for i, p := range m.Plugins {
		if i > 0 {
			e.b = append(e.b, ',')
		}
		e.b = append(e.b, '{')
		e.needText("name", p.Name)
		e.boolean("streaming", p.Streaming)
		e.payload("schema", p.Schema)
		e.text("description", p.Description)
		e.b = append(e.b, '}')
	}
	e.b = append(e.b, ']')
	e.depth = 0
}

func (e *encoder) result(m *Result) {
	e.needText("job_id", m.JobID)
	e.status(m.Status, StatusSuccess, StatusError, StatusCancelled)
	e.payload("data", m.Data)
	if m.Status == StatusError {
		e.needText("error", m.Error)
	} else {
		e.text("error", m.Error)
	}
	info := m.ErrorInfo
	if info == nil {
		return
	}
	e.name("error_info")
	e.b = append(e.b, '{')
	e.depth = 1
	e.text("category", info.Category)
	if info.Retriable != nil {
		e.boolean("retriable", *info.Retriable)
	}
	if info.RetryAfterSeconds != nil {
		e.marshal("retry_after_seconds", *info.RetryAfterSeconds)
	}
	e.text("traceback", info.Traceback)
	e.payload("fields_invalid", info.FieldsInvalid)
	e.b = append(e.b, '}')
	e.depth = 0
}

func (e *encoder) state(m *State) {
	if m.CurrentPlugin == "" {
		e.raw("current_plugin", "null")
	} else {
		e.text("current_plugin", m.CurrentPlugin)
	}
	if m.CurrentConfig == nil {
		e.raw("current_config", "null")
	} else {
		e.payload("current_config", m.CurrentConfig)
	}
	e.texts("loaded_plugins", m.LoadedPlugins)
	e.text("request_id", m.RequestID)
}

// params appends the members of an object.
func (e *encoder) params(params json.RawMessage) {
	if params == nil {
		return
	}
	if !e.check("params", params, MaxDepth) { // its members stand at the top level
		return
	}
	if err := CheckParams(params); err != nil {
		e.err = err
		return
	}
	inside := bytes.TrimSpace(params)
	inside = bytes.TrimSpace(inside[1 : len(inside)-1])
	if len(inside) > 0 {
		e.b = jsonscan.AppendLine(append(e.b, ','), inside)
	}
}

// name begins a member.
func (e *encoder) name(name string) {
	if last := e.b[len(e.b)-1]; last != '{' {
		e.b = append(e.b, ',')
	}
	e.b = append(append(append(e.b, '"'), name...), '"', ':')
}

func (e *encoder) raw(name, value string) {
	e.name(name)
	e.b = append(e.b, value...)
}

func (e *encoder) boolean(name string, v bool) { e.raw(name, strconv.FormatBool(v)) }

func (e *encoder) integer(name string, v int64) {
	if v != 0 {
		e.raw(name, strconv.FormatInt(v, 10))
	}
}

func (e *encoder) text(name, v string) {
	if v != "" {
		e.needText(name, v)
	}
}

func (e *encoder) needText(name, v string) {
	e.name(name)
	e.b = appendString(e.b, v)
}

func (e *encoder) status(v string, known ...string) {
	if !slices.Contains(known, v) {
		e.fail("status", fmt.Errorf("unknown value %q", v))
	}
	e.needText("status", v)
}

func (e *encoder) texts(name string, list []string) {
	e.name(name)
	e.b = append(e.b, '[')
	for i, s := range list {
		if i > 0 {
			e.b = append(e.b, ',')
		}
		e.b = appendString(e.b, s)
	}
	e.b = append(e.b, ']')
}

// share appends progress, which is null where it is not known.
func (e *encoder) share(v *float64) {
	if v != nil && !(*v >= 0 && *v <= 1) {
		e.fail("progress", errors.New("not within 0 and 1"))
		return
	}
	e.marshal("progress", v)
}

func (e *encoder) marshal(name string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		e.fail(name, err)
		return
	}
	e.raw(name, string(b))
}

func (e *encoder) object(name string, members map[string]json.RawMessage) {
	e.name(name)
	e.b = append(e.b, '{')
	for i, key := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			e.b = append(e.b, ',')
		}
		e.b = append(appendString(e.b, key), ':')
		if e.check(name+"."+key, members[key], MaxDepth-2) {
			e.b = jsonscan.AppendLine(e.b, members[key])
		}
	}
	e.b = append(e.b, '}')
}

func (e *encoder) needPayload(name string, v json.RawMessage) {
	if v == nil {
		e.fail(name, errors.New("missing"))
	}
	e.payload(name, v)
}

func (e *encoder) objectPayload(name string, v json.RawMessage) {
	if v != nil && !isObject(v) {
		e.fail(name, errors.New("not an object"))
	}
	e.payload(name, v)
}

func (e *encoder) payload(name string, v json.RawMessage) {
	if v != nil && e.check(name, v, MaxDepth-1-e.depth) {
		e.name(name)
		e.b = jsonscan.AppendLine(e.b, v)
	}
}

// check reports whether v is one JSON value.
func (e *encoder) check(name string, v []byte, depth int) bool {
	var (
		scanner jsonscan.Scanner
		object  jsonscan.Object
	)
	if err := object.Scan(&scanner, v, typeKey, depth); err != nil {
		e.fail(name, err)
		return false
	}
	return true
}

func (e *encoder) fail(name string, err error) {
	if e.err == nil {
		e.err = fmt.Errorf("%s: %w", name, err)
	}
}

// appendString appends s as a JSON string with the least escaping there is; bytes that are not UTF-8 become U+FFFD.
// json.Marshal would also escape <, > and &, which is of no use outside of HTML.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = append(dst, string(r)...)
		}
	}
	return append(dst, '"')
}

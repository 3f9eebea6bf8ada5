package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"supervisord/protocol/jsonscan"
)

// MessageError says why bytes are not a message: it is a protocol error of the peer that wrote them.
type MessageError struct {
	Type   string // of the message, empty where it was not known yet
	Member string // the member concerned, empty for the message as a whole
	Fault  MemberFault
	Err    error // a *jsonscan.SyntaxError with MemberSyntax, else nil
}

// Error names the message, the member and the fault.
func (e *MessageError) Error() string {
	what := "message"
	if e.Type != "" {
		what = e.Type + " message"
	}
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", what, e.Err)
	}
	if e.Member == "" {
		return what + " is not an object"
	}
	var fault string
	switch e.Fault {
	case MemberMissing:
		fault = "is missing"
	case MemberIllTyped:
		fault = "has the wrong type"
	case MemberValue:
		fault = "has an unknown value"
	case MemberDuplicate:
		fault = "stands twice"
	case MemberCase:
		fault = "stands in another case"
	case MemberSyntax, MemberReserved:
		fault = "is wrong: " + string(e.Fault)
	}
	return fmt.Sprintf("%s: member %q %s", what, e.Member, fault)
}

// Unwrap returns Err.
func (e *MessageError) Unwrap() error { return e.Err }

// UnknownTypeError says that a message is well-formed and its type is not one of this version. It is to be ignored.
type UnknownTypeError struct {
	Type string // cut to 100 bytes
}

// Error implements error.
func (e *UnknownTypeError) Error() string { return fmt.Sprintf("unknown message type %q", e.Type) }

// decoder is how the messages of one type are read.
type decoder struct {
	members []string // all but type
	decode  func(*fields) Message
}

var decoders = map[string]decoder{
	TypeInit:         {[]string{"plugin_configs", "protocol", "pool", "worker", "incarnation", "max_message"}, decodeInit},
	TypeExecute:      {[]string{"job_id", "plugin_name", "stream", "$meta"}, decodeExecute},
	TypeReload:       {[]string{"plugin_name", "config", "request_id"}, decodeReload},
	TypeUnload:       {[]string{"plugin_name", "request_id"}, decodeUnload},
	TypeGetState:     {[]string{"request_id"}, func(f *fields) Message { return &GetState{RequestID: f.text("request_id")} }},
	TypeStop:         {nil, func(*fields) Message { return &Stop{} }},
	TypeCancel:       {[]string{"job_id"}, func(f *fields) Message { return &Cancel{JobID: f.needText("job_id")} }},
	TypeReady:        {[]string{"loaded_plugins", "protocol", "features", "plugins"}, decodeReady},
	TypeStreamChunk:  {[]string{"job_id", "chunk", "is_final", "metadata"}, decodeStreamChunk},
	TypeResult:       {[]string{"job_id", "status", "data", "error", "error_info"}, decodeResult},
	TypeResponse:     {[]string{"request_type", "status", "plugin_name", "error", "request_id"}, decodeResponse},
	TypeState:        {[]string{"current_plugin", "current_config", "loaded_plugins", "request_id"}, decodeState},
	TypeError:        {[]string{"error"}, func(f *fields) Message { return &ErrorMessage{Error: f.text("error")} }},
	TypeProgress:     {[]string{"job_id", "progress", "message"}, decodeProgress},
	TypeLog:          {[]string{"level", "message", "job_id", "fields"}, decodeLog},
	TypeMetric:       {[]string{"name", "value", "job_id"}, decodeMetric},
	TypeLoadProgress: {[]string{"plugin_name", "progress", "message"}, decodeLoadProgress},
}

var typeKey = jsonscan.NewKeys("type")

// Decode reads one message of either direction. It makes one validating pass over b, keeps nothing of it, and decodes
// no payload. The error is a *MessageError where b is no message, or an *UnknownTypeError.
//
// A known member whose name stands twice (escapes undone) or in another case is refused, since the two sides might
// disagree about which counts. A required member that is missing or has the wrong JSON type is refused. An optional
// member with the wrong type, or null, counts as absent. Unknown members are ignored, but for Execute, where they are
// the params; a param twice is refused there, and unknown names that begin with '$' are ignored.
func Decode(b []byte) (Message, error) {
	var (
		scanner jsonscan.Scanner
		object  jsonscan.Object
	)
	if err := object.Scan(&scanner, b, typeKey, MaxDepth); err != nil {
		return nil, &MessageError{Fault: MemberSyntax, Err: err}
	}
	if !object.IsObject() {
		return nil, &MessageError{Fault: MemberIllTyped}
	}
	switch fault, _ := object.Fault(); fault {
	case jsonscan.NoFault:
	case jsonscan.Duplicate:
		return nil, &MessageError{Member: "type", Fault: MemberDuplicate}
	case jsonscan.CaseVariant:
		return nil, &MessageError{Member: "type", Fault: MemberCase}
	}
	raw := object.Value(0)
	if raw == nil {
		return nil, &MessageError{Member: "type", Fault: MemberMissing}
	}
	typ, ok := parseString(raw)
	if !ok {
		return nil, &MessageError{Member: "type", Fault: MemberIllTyped}
	}
	d, ok := decoders[typ]
	if !ok {
		return nil, &UnknownTypeError{Type: cut(typ)}
	}
	f := fields{typ: typ, names: d.members}
	if typ == TypeExecute {
		f.others = append(make([]byte, 0, len(b)), '{')
	}
	f.collect(b)
	if f.err == nil {
		if m := d.decode(&f); f.err == nil {
			return m, nil
		}
	}
	return nil, f.err
}

func decodeInit(f *fields) Message {
	return &Init{
		PluginConfigs: f.needObject("plugin_configs"),
		Protocol:      int(f.integer("protocol")),
		Pool:          f.text("pool"),
		Worker:        f.text("worker"),
		Incarnation:   f.integer("incarnation"),
		MaxMessage:    f.integer("max_message"),
	}
}

func decodeExecute(f *fields) Message {
	m := &Execute{
		JobID:      f.needText("job_id"),
		PluginName: f.needText("plugin_name"),
		Stream:     f.boolean("stream"),
		Params:     append(f.others, '}'),
		Meta:       f.object("$meta"),
	}
	if e, ok := errors.AsType[*ParamsError](CheckParams(m.Params)); ok {
		f.fail(e.Name, e.Fault)
	}
	return m
}

func decodeReload(f *fields) Message {
	return &Reload{PluginName: f.needText("plugin_name"), Config: f.value("config"), RequestID: f.text("request_id")}
}

func decodeUnload(f *fields) Message {
	return &Unload{PluginName: f.needText("plugin_name"), RequestID: f.text("request_id")}
}

func decodeReady(f *fields) Message {
	m := &Ready{
		LoadedPlugins: f.needTexts("loaded_plugins"),
		Protocol:      int(f.integer("protocol")),
		Features:      f.texts("features"),
	}
	elements := jsonscan.NewElements(f.get("plugins"))
	for {
		raw, ok := elements.Next()
		if !ok {
			return m
		}
		if p, ok := parsePluginInfo(raw); ok {
			m.Plugins = append(m.Plugins, p)
		}
	}
}

// parsePluginInfo reads one element of plugins. One that is not an object with a name is as good as absent.
func parsePluginInfo(raw []byte) (PluginInfo, bool) {
	f := fields{typ: TypeReady, names: []string{"name", "streaming", "schema", "description"}}
	f.collect(raw)
	p := PluginInfo{
		Name:        f.needText("name"),
		Streaming:   f.boolean("streaming"),
		Schema:      f.value("schema"),
		Description: f.text("description"),
	}
	return p, f.err == nil
}

func decodeStreamChunk(f *fields) Message {
	m := &StreamChunk{
		JobID:    f.needText("job_id"),
		Chunk:    bytes.Clone(f.need("chunk")),
		IsFinal:  f.boolean("is_final"),
		Metadata: f.object("metadata"),
	}
	if m.Metadata == nil {
		m.Metadata = json.RawMessage("{}")
	}
	return m
}

func decodeResult(f *fields) Message {
	m := &Result{
		JobID:     f.needText("job_id"),
		Status:    f.needOneOf("status", StatusSuccess, StatusError, StatusCancelled),
		Data:      bytes.Clone(f.get("data")),
		Error:     f.text("error"),
		ErrorInfo: parseErrorInfo(f.get("error_info")),
	}
	return m
}

// parseErrorInfo reads what it can: members with the wrong type count as absent, and so does what is no object or has a
// member twice.
func parseErrorInfo(raw []byte) *ErrorInfo {
	if !isObject(raw) {
		return nil
	}
	f := fields{typ: TypeResult, names: []string{"category", "retriable", "retry_after_seconds", "traceback", "fields_invalid"}}
	f.collect(raw)
	if f.err != nil {
		return nil
	}
	info := &ErrorInfo{
		Category:          f.text("category"),
		RetryAfterSeconds: f.number("retry_after_seconds"),
		Traceback:         f.text("traceback"),
		FieldsInvalid:     f.value("fields_invalid"),
	}
	if v := f.get("retriable"); firstByte(v) == 't' || firstByte(v) == 'f' {
		info.Retriable = new(f.boolean("retriable"))
	}
	return info
}

func decodeResponse(f *fields) Message {
	return &Response{
		RequestType: f.needText("request_type"), // another than reload and unload answers nothing that was asked
		Status:      f.needOneOf("status", StatusSuccess, StatusError),
		PluginName:  f.text("plugin_name"),
		Error:       f.text("error"),
		RequestID:   f.text("request_id"),
	}
}

func decodeState(f *fields) Message {
	return &State{
		CurrentPlugin: f.text("current_plugin"),
		CurrentConfig: f.value("current_config"),
		LoadedPlugins: f.texts("loaded_plugins"),
		RequestID:     f.text("request_id"),
	}
}

func decodeProgress(f *fields) Message {
	return &Progress{JobID: f.needText("job_id"), Progress: f.share("progress"), Message: f.text("message")}
}

func decodeLog(f *fields) Message {
	return &Log{
		Level: f.text("level"), Message: f.needText("message"), JobID: f.text("job_id"), Fields: f.object("fields"),
	}
}

func decodeMetric(f *fields) Message {
	m := &Metric{Name: f.needText("name"), JobID: f.text("job_id")}
	if f.need("value") != nil {
		if v := f.number("value"); v != nil {
			m.Value = *v
		} else {
			f.fail("value", MemberIllTyped)
		}
	}
	return m
}

func decodeLoadProgress(f *fields) Message {
	return &LoadProgress{
		PluginName: f.needText("plugin_name"), Progress: f.share("progress"), Message: f.text("message"),
	}
}

// PrefixEnvelope looks at the first bytes of a message that is too long to be read whole. It returns type and job_id where
// they hold both, type being result or stream_chunk, and neither of them twice or in another case.
func PrefixEnvelope(prefix []byte) (typ, jobID string, ok bool) {
	var (
		scanner jsonscan.Scanner
		object  jsonscan.Object
	)
	scanner.Reset(MaxDepth, prefixKeys, &object)
	_, status := scanner.Scan(prefix, 0)
	if fault, _ := object.Fault(); status == jsonscan.Invalid || fault != jsonscan.NoFault {
		return "", "", false
	}
	typ, ok = parseString(object.In(prefix, 0))
	if !ok || (typ != TypeResult && typ != TypeStreamChunk) {
		return "", "", false
	}
	if jobID, ok = parseString(object.In(prefix, 1)); !ok {
		return "", "", false
	}
	return typ, jobID, true
}

var prefixKeys = jsonscan.NewKeys("type", "job_id")

package protocol_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"supervisord/protocol"
)

// TestEncodeKeepsToTheDepth: what Encode writes is never deeper than what Decode takes, wherever a payload stands, and may
// be as deep.
func TestEncodeKeepsToTheDepth(t *testing.T) {
	for _, c := range []struct {
		name   string
		around int // objects and lists that the payload stands in
		make   func(payload []byte) protocol.Message
	}{
		{"data", 1, func(p []byte) protocol.Message {
			return &protocol.Result{JobID: "j", Status: protocol.StatusSuccess, Data: p}
		}},
		{"fields_invalid", 2, func(p []byte) protocol.Message {
			return &protocol.Result{
				JobID: "j", Status: protocol.StatusError, ErrorInfo: &protocol.ErrorInfo{FieldsInvalid: p},
			}
		}},
		{"config", 2, func(p []byte) protocol.Message {
			return &protocol.Init{PluginConfigs: map[string]json.RawMessage{"a": p}}
		}},
		{"schema", 3, func(p []byte) protocol.Message {
			return &protocol.Ready{Plugins: []protocol.PluginInfo{{Name: "a", Schema: p}}}
		}},
		{"params", 1, func(p []byte) protocol.Message {
			return &protocol.Execute{JobID: "j", PluginName: "p", Params: append(append([]byte(`{"x":`), p...), '}')}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			deepest := protocol.MaxDepth - c.around
			payload := func(depth int) []byte { return []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth)) }
			encoded, err := protocol.Encode(c.make(payload(deepest)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := protocol.Decode(encoded); err != nil {
				t.Errorf("the deepest message that Encode writes: %v", err)
			}
			if encoded, err := protocol.Encode(c.make(payload(deepest + 1))); err == nil {
				_, err := protocol.Decode(encoded)
				t.Errorf("Encode wrote a payload of %d levels; Decode says %v", deepest+1, err)
			}
		})
	}
}

// TestEncodeRefuses: what would not be a message is an error that names the member.
func TestEncodeRefuses(t *testing.T) {
	for _, c := range []struct {
		m    protocol.Message
		want string
	}{
		{&protocol.StreamChunk{JobID: "j"}, "encode stream_chunk message: chunk: missing"},
		{&protocol.StreamChunk{JobID: "j", Chunk: json.RawMessage("1"), Metadata: json.RawMessage("[]")}, "metadata: not an object"},
		{&protocol.Result{JobID: "j", Status: "ok"}, `status: unknown value "ok"`},
		{&protocol.Result{JobID: "j", Status: protocol.StatusSuccess, Data: json.RawMessage("NaN")}, "data: invalid JSON at byte 0: syntax error"},
		{&protocol.Result{JobID: "j", Status: protocol.StatusSuccess, Data: json.RawMessage("\"\xff\"")}, "data: invalid JSON at byte 1: invalid UTF-8"},
		{&protocol.Result{JobID: "j", Status: protocol.StatusSuccess, Data: json.RawMessage("1 2")}, "data: invalid JSON at byte 2: bytes after the value"},
		{&protocol.Response{RequestType: protocol.TypeReload, Status: protocol.StatusCancelled}, `status: unknown value "cancelled"`},
		{&protocol.Metric{Name: "x", Value: math.NaN()}, "value: json: unsupported value: NaN"},
		{&protocol.Progress{JobID: "j", Progress: new(1.5)}, "progress: not within 0 and 1"},
		{&protocol.Execute{JobID: "j", PluginName: "p", Params: json.RawMessage(`{"$x":1}`)}, `params: member "$x" has a reserved name`},
		{&protocol.Execute{JobID: "j", PluginName: "p", Meta: json.RawMessage(`1`)}, "$meta: not an object"},
		{&protocol.Init{PluginConfigs: map[string]json.RawMessage{"a": json.RawMessage("{")}}, "plugin_configs.a: invalid JSON at byte 1: unexpected end"},
	} {
		encoded, err := protocol.Encode(c.m)
		if err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("Encode(%+v) = %q, %v, want %s", c.m, encoded, err, c.want)
		}
	}
}

// TestEncodeIsOneLine: newlines between tokens become spaces, those in strings are escapes.
func TestEncodeIsOneLine(t *testing.T) {
	encoded, err := protocol.Encode(&protocol.Result{
		JobID: "a\nb\t\"\\", Status: protocol.StatusSuccess, Data: json.RawMessage("{\r\n\t\"x\\ny\": 1\n}"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"result","job_id":"a\nb\u0009\"\\","status":"success","data":{  	"x\ny": 1 }}`
	if string(encoded) != want {
		t.Errorf("Encode = %s\nwant     %s", encoded, want)
	}
}

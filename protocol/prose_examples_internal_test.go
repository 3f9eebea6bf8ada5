package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestProseExamples: every example is a message that decodes, and of every type there is one. The golden ones come back
// member for member.
func TestProseExamples(t *testing.T) {
	missing := make(map[string]bool)
	for typ := range decoders {
		missing[typ] = true
	}
	for _, b := range readProse(t).blocks {
		language, kind, _ := strings.Cut(b.info, " ")
		text := regexp.MustCompile(`(?m)^[→←] `).ReplaceAllString(b.text, "")
		t.Run(fmt.Sprintf("line %d", b.line), func(t *testing.T) {
			switch kind {
			case "worker", "worker golden":
				if language == "python" {
					return // TestProseWorker runs it
				}
				for _, raw := range values(t, text) {
					m, err := Decode(raw)
					if err != nil {
						t.Errorf("%s: %v", raw, err)
						continue
					}
					delete(missing, m.MessageType())
					if kind == "worker golden" {
						testGolden(t, m, raw)
					}
				}
			case "rpc":
				checkRPC(t, values(t, text))
			case "record":
				strict(t, []byte(text), reflect.TypeFor[JobRecord]())
			default:
				if language == "json" {
					t.Errorf("JSON of an unknown kind %q", kind)
				}
			}
		})
	}
	if len(missing) > 0 {
		t.Errorf("no example of %v", missing)
	}
}

func testGolden(t *testing.T, m Message, raw []byte) {
	t.Helper()
	got, err := ToDict(m)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var want map[string]any
	if err := decoder.Decode(&want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("ToDict = %v\nwant     %v", got, want)
	}
}

func values(t *testing.T, text string) (list []json.RawMessage) {
	t.Helper()
	for decoder := json.NewDecoder(strings.NewReader(text)); ; {
		var v json.RawMessage
		err := decoder.Decode(&v)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
}

// rpcTypes are the params and the result of each method, and the params of each notification, that has a type.
var rpcTypes = map[string][2]reflect.Type{
	MethodExecute:             {reflect.TypeFor[ExecuteParams](), reflect.TypeFor[ExecuteResult]()},
	MethodJobCancel:           {reflect.TypeFor[JobCancelParams](), reflect.TypeFor[JobCancelResult]()},
	MethodPluginList:          {nil, reflect.TypeFor[PluginListResult]()},
	MethodPluginReload:        {reflect.TypeFor[PluginReloadParams](), reflect.TypeFor[PluginWorkersResult]()},
	MethodPluginUnload:        {reflect.TypeFor[PluginUnloadParams](), reflect.TypeFor[PluginWorkersResult]()},
	MethodPoolList:            {nil, reflect.TypeFor[PoolListResult]()},
	MethodPoolGet:             {reflect.TypeFor[PoolParams](), reflect.TypeFor[Pool]()},
	MethodPoolScale:           {reflect.TypeFor[PoolScaleParams](), reflect.TypeFor[Pool]()},
	MethodPoolRestart:         {reflect.TypeFor[PoolParams](), reflect.TypeFor[Pool]()},
	MethodPoolPause:           {reflect.TypeFor[PoolParams](), reflect.TypeFor[Pool]()},
	MethodPoolResume:          {reflect.TypeFor[PoolParams](), reflect.TypeFor[Pool]()},
	MethodWorkerList:          {nil, reflect.TypeFor[WorkerListResult]()},
	MethodWorkerGetState:      {reflect.TypeFor[WorkerParams](), reflect.TypeFor[WorkerGetStateResult]()},
	MethodWorkerStop:          {reflect.TypeFor[WorkerStopParams](), reflect.TypeFor[Worker]()},
	MethodDaemonInfo:          {nil, reflect.TypeFor[DaemonInfo]()},
	MethodDaemonStatus:        {nil, reflect.TypeFor[DaemonStatus]()},
	MethodDaemonReload:        {nil, reflect.TypeFor[DaemonReloadResult]()},
	NotificationCancelRequest: {reflect.TypeFor[CancelRequestParams](), nil},
	NotificationStreamChunk:   {reflect.TypeFor[StreamChunkParams](), nil},
	NotificationJobProgress:   {reflect.TypeFor[JobProgressParams](), nil},
	NotificationProgress:      {reflect.TypeFor[ProgressParams](), nil},
}

type rpcMessage struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
	Result  json.RawMessage `json:"result"`
	Error   json.RawMessage `json:"error"`
}

// checkRPC checks messages of JSON-RPC in the order in which they pass, batches flattened: known methods, and params,
// results and errors that have the members of their types and no others.
func checkRPC(t *testing.T, messages []json.RawMessage) {
	t.Helper()
	asked := make(map[string]string)
	for len(messages) > 0 {
		raw := messages[0]
		messages = messages[1:]
		if raw[0] == '[' {
			var batch []json.RawMessage
			if err := json.Unmarshal(raw, &batch); err != nil {
				t.Fatal(err)
			}
			messages = append(batch, messages...)
			continue
		}
		var m rpcMessage
		strictInto(t, raw, &m)
		switch {
		case m.JSONRPC != "2.0":
			t.Errorf("%s: not JSON-RPC 2.0", raw)
		case m.Method != "":
			types, typed := rpcTypes[m.Method]
			if !typed && !slices.Contains(Methods(), m.Method) {
				t.Errorf("%s: unknown method", raw)
			}
			asked[string(m.ID)] = m.Method
			if m.Params != nil && types[0] != nil {
				strict(t, m.Params, types[0])
			}
			if m.Method == NotificationProgress {
				checkProgress(t, m.Params)
			}
		case m.Error != nil:
			var e Error
			strictInto(t, m.Error, &e)
			if e.Message == "" || e.Data.Kind != e.Code.Kind() || !slices.Contains(Codes(), e.Code) {
				t.Errorf("%s: code and kind", raw)
			}
		case m.Result == nil:
			t.Errorf("%s: neither request nor response", raw)
		default:
			method, known := asked[string(m.ID)]
			if !known {
				t.Errorf("%s: answers nothing", raw)
			}
			if result := rpcTypes[method][1]; result != nil {
				strict(t, m.Result, result)
			}
		}
	}
}

func checkProgress(t *testing.T, params []byte) {
	t.Helper()
	var p ProgressParams
	strictInto(t, params, &p)
	var value map[string]json.RawMessage
	if err := json.Unmarshal(p.Value, &value); err != nil {
		t.Fatal(err)
	}
	kind := string(value["kind"])
	delete(value, "kind")
	rest, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	switch kind {
	case `"` + ProgressKindChunk + `"`:
		strict(t, rest, reflect.TypeFor[StreamChunkParams]())
	case `"` + ProgressKindProgress + `"`:
		strict(t, rest, reflect.TypeFor[JobProgressParams]())
	default:
		t.Errorf("%s: kind %s", params, kind)
	}
}

// strict checks that raw has all the members of typ that are always there, and none that typ has not.
func strict(t *testing.T, raw []byte, typ reflect.Type) {
	t.Helper()
	v := reflect.New(typ)
	strictInto(t, raw, v.Interface())
	again, err := json.Marshal(v.Interface())
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := errors.Join(json.Unmarshal(raw, &got), json.Unmarshal(again, &want)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s\nis as a %s %s", raw, typ.Name(), again)
	}
}

func strictInto(t *testing.T, raw []byte, v any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
}

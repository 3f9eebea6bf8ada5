package protocol_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/tools/txtar"

	"supervisord/protocol"
	"supervisord/protocol/jsonscan"
)

const vectors = "testdata/conformance"

type vector struct {
	name  string
	input []byte
	want  []byte
}

// want is what a vector of messages or params says.
type want struct {
	Accept json.RawMessage `json:"accept"`
	Ignore *string         `json:"ignore"`
	Refuse *refusal        `json:"refuse"`
}

type refusal struct {
	Member string               `json:"member"`
	Fault  protocol.MemberFault `json:"fault"`
}

func readVectors(t testing.TB, glob string) map[string][]vector {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(vectors, glob))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no vectors %s: %v", glob, err)
	}
	all := make(map[string][]vector)
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		inputs := make(map[string][]byte)
		for _, file := range archive.Files {
			stem, ext, _ := strings.Cut(file.Name, ".")
			switch ext {
			case "json":
				inputs[stem] = bytes.TrimSuffix(file.Data, []byte("\n"))
			case "hex":
				if inputs[stem], err = hex.DecodeString(string(bytes.Join(bytes.Fields(file.Data), nil))); err != nil {
					t.Fatalf("%s: %s: %v", path, file.Name, err)
				}
			case "want":
				input, ok := inputs[stem]
				if !ok {
					t.Fatalf("%s: %s has no input before it", path, file.Name)
				}
				base := filepath.Base(path)
				all[base] = append(all[base], vector{stem, input, file.Data})
			default:
				t.Fatalf("%s: unknown kind of file %s", path, file.Name)
			}
		}
		if got := len(all[filepath.Base(path)]); got != len(inputs) {
			t.Fatalf("%s: %d inputs, %d of them with a want", path, len(inputs), got)
		}
	}
	return all
}

func parseWant(t *testing.T, v vector) want {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(v.want))
	decoder.DisallowUnknownFields()
	var w want
	if err := decoder.Decode(&w); err != nil {
		t.Fatal(err)
	}
	return w
}

// dict decodes with numbers as text.
func dict(t *testing.T, b []byte) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber()
	var d map[string]any
	if err := decoder.Decode(&d); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return d
}

func TestMessageVectors(t *testing.T) {
	for file, cases := range readVectors(t, "messages-*.txtar") {
		for _, v := range cases {
			t.Run(file+"/"+v.name, func(t *testing.T) {
				w := parseWant(t, v)
				m, err := protocol.Decode(v.input)
				switch {
				case w.Refuse != nil:
					e, ok := errors.AsType[*protocol.MessageError](err)
					if !ok || (refusal{e.Member, e.Fault}) != *w.Refuse {
						t.Fatalf("Decode = %#v, %v (%#v), want refusal %+v", m, err, e, *w.Refuse)
					}
				case w.Ignore != nil:
					e, ok := errors.AsType[*protocol.UnknownTypeError](err)
					if !ok || e.Type != *w.Ignore {
						t.Fatalf("Decode = %#v, %v, want unknown type %q", m, err, *w.Ignore)
					}
				default:
					if err != nil {
						t.Fatal(err)
					}
					testAccepted(t, m, dict(t, w.Accept))
					if file == "messages-golden.txtar" && !reflect.DeepEqual(dict(t, v.input), dict(t, w.Accept)) {
						t.Fatal("a golden vector must be reproduced member for member")
					}
				}
			})
		}
	}
}

// testAccepted checks that m and the dictionary want are the same message, both ways.
func testAccepted(t *testing.T, m protocol.Message, want map[string]any) {
	t.Helper()
	got, err := protocol.ToDict(m)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("ToDict = %v\nwant     %v", got, want)
	}
	back, err := protocol.FromDict(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err = protocol.ToDict(back); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("ToDict(FromDict) = %v, %v\nwant              %v", got, err, want)
	}
}

// TestEveryTypeHasVectors keeps a message type from being added without a vector that is accepted.
func TestEveryTypeHasVectors(t *testing.T) {
	missing := map[string]bool{
		protocol.TypeInit: true, protocol.TypeExecute: true, protocol.TypeReload: true, protocol.TypeUnload: true,
		protocol.TypeGetState: true, protocol.TypeStop: true, protocol.TypeCancel: true, protocol.TypeReady: true,
		protocol.TypeStreamChunk: true, protocol.TypeResult: true, protocol.TypeResponse: true, protocol.TypeState: true,
		protocol.TypeError: true, protocol.TypeProgress: true, protocol.TypeLog: true, protocol.TypeMetric: true,
		protocol.TypeLoadProgress: true,
	}
	for _, cases := range readVectors(t, "messages-*.txtar") {
		for _, v := range cases {
			if m, err := protocol.Decode(v.input); err == nil {
				delete(missing, m.MessageType())
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("no vector for %v", missing)
	}
}

func TestParamsVectors(t *testing.T) {
	for _, v := range readVectors(t, "params.txtar")["params.txtar"] {
		t.Run(v.name, func(t *testing.T) {
			w := parseWant(t, v)
			var object jsonscan.Object
			if err := object.Scan(new(jsonscan.Scanner), v.input, jsonscan.NewKeys(), protocol.MaxDepth); err != nil {
				t.Fatal(err)
			}
			err := protocol.CheckParams(v.input)
			encoded, encodeErr := protocol.Encode(&protocol.Execute{JobID: "j", PluginName: "p", Params: v.input})
			if w.Refuse == nil {
				if err != nil || encodeErr != nil {
					t.Fatalf("CheckParams = %v, Encode = %v", err, encodeErr)
				}
				m, err := protocol.Decode(encoded)
				if err != nil {
					t.Fatal(err)
				}
				if got := m.(*protocol.Execute).Params; !reflect.DeepEqual(dict(t, got), dict(t, w.Accept)) {
					t.Fatalf("params = %s, want %s", got, w.Accept)
				}
				return
			}
			for _, err := range []error{err, encodeErr} {
				e, ok := errors.AsType[*protocol.ParamsError](err)
				if !ok || (refusal{e.Name, e.Fault}) != *w.Refuse {
					t.Fatalf("error = %#v, want refusal %+v", err, *w.Refuse)
				}
			}
		})
	}
}

// frameEvent is one element of events in a vector of frames.
type frameEvent struct {
	Frame   string  `json:"frame,omitempty"`
	Skipped *string `json:"skipped,omitempty"` // the job_id, which may be empty
	End     string  `json:"end,omitempty"`
}

// readEvents reads r to its end as the daemon does.
func readEvents(t testing.TB, r io.Reader, maxFrame int) []frameEvent {
	t.Helper()
	frames := protocol.NewFrameReader(r, maxFrame)
	var events []frameEvent
	for {
		payload, err := frames.Next()
		if err == nil {
			events = append(events, frameEvent{Frame: string(payload)})
			continue
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return append(events, frameEvent{End: "eof"})
		}
		e, ok := errors.AsType[*protocol.FrameError](err)
		if !ok {
			t.Fatalf("Next: %v", err)
		}
		if _, id, ok := protocol.PrefixEnvelope(e.Prefix); e.Fault == protocol.FrameTooLong && ok {
			frames.Skip()
			events = append(events, frameEvent{Skipped: &id})
			continue
		}
		if _, again := frames.Next(); again != err { //nolint:errorlint // the very same error
			t.Fatalf("Next after %v: %v", err, again)
		}
		return append(events, frameEvent{End: e.Fault.String()})
	}
}

func TestFrameVectors(t *testing.T) {
	for _, v := range readVectors(t, "frames.txtar")["frames.txtar"] {
		t.Run(v.name, func(t *testing.T) {
			var w struct {
				MaxFrame int          `json:"max_frame"`
				Events   []frameEvent `json:"events"`
			}
			if err := json.Unmarshal(v.want, &w); err != nil {
				t.Fatal(err)
			}
			for name, wrap := range map[string]func(io.Reader) io.Reader{
				"whole":    func(r io.Reader) io.Reader { return r },
				"bytes":    iotest.OneByteReader,
				"halves":   iotest.HalfReader,
				"data+err": iotest.DataErrReader,
			} {
				if got := readEvents(t, wrap(bytes.NewReader(v.input)), w.MaxFrame); !reflect.DeepEqual(got, w.Events) {
					t.Errorf("%s: %+v\nwant %+v", name, got, w.Events)
				}
			}
		})
	}
}

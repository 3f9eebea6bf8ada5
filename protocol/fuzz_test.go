package protocol_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"
	"testing/iotest"

	"supervisord/protocol"
)

// FuzzDecode: no bytes make Decode panic, and what it accepts, Encode writes again as a message that Decode accepts and
// Encode writes the same.
func FuzzDecode(f *testing.F) {
	for _, cases := range readVectors(f, "messages-*.txtar") {
		for _, v := range cases {
			f.Add(v.input)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		protocol.PrefixEnvelope(in)
		m, err := protocol.Decode(in)
		if err != nil {
			_, wrong := errors.AsType[*protocol.MessageError](err)
			_, unknown := errors.AsType[*protocol.UnknownTypeError](err)
			if m != nil || wrong == unknown {
				t.Fatalf("Decode(%q) = %#v, %#v", in, m, err)
			}
			return
		}
		first, err := protocol.Encode(m)
		if err != nil {
			t.Fatalf("Decode(%q) = %#v, which Encode refuses: %v", in, m, err)
		}
		if bytes.ContainsAny(first, "\r\n") || !json.Valid(first) {
			t.Fatalf("Encode(%#v) = %q", m, first)
		}
		again, err := protocol.Decode(first)
		if err != nil {
			t.Fatalf("Decode(%q), from %q: %v", first, in, err)
		}
		second, err := protocol.Encode(again)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%q was written again as %q, %v", first, second, err)
		}
		if !reflect.DeepEqual(flat(t, m), flat(t, again)) {
			t.Fatalf("%#v\nbecame %#v", m, again)
		}
		if _, id, ok := protocol.PrefixEnvelope(first); ok {
			if _, carries := flat(t, m)["job_id"]; !carries || flat(t, m)["job_id"] != id {
				t.Fatalf("PrefixEnvelope(%q) = %q", first, id)
			}
		}
	})
}

func flat(t *testing.T, m protocol.Message) map[string]any {
	t.Helper()
	d, err := protocol.ToDict(m)
	if err != nil {
		t.Fatalf("ToDict(%#v): %v", m, err)
	}
	return d
}

// FuzzCheckParams: params that pass are the same params behind the worker's frame.
func FuzzCheckParams(f *testing.F) {
	for _, v := range readVectors(f, "params.txtar")["params.txtar"] {
		f.Add(v.input)
	}
	f.Fuzz(func(t *testing.T, params []byte) {
		encoded, err := protocol.Encode(&protocol.Execute{JobID: "j", PluginName: "p", Params: params})
		if err != nil {
			return
		}
		if err := protocol.CheckParams(params); err != nil {
			t.Fatalf("Encode takes %q, CheckParams says %v", params, err)
		}
		m, err := protocol.Decode(encoded)
		if err != nil {
			t.Fatalf("params %q became %q: %v", params, encoded, err)
		}
		got := m.(*protocol.Execute)
		if got.JobID != "j" || got.PluginName != "p" || got.Stream || got.Meta != nil {
			t.Fatalf("params %q changed the message: %#v", params, got)
		}
		if params != nil && !reflect.DeepEqual(dict(t, got.Params), dict(t, params)) {
			t.Fatalf("params %q came back as %q", params, got.Params)
		}
	})
}

// FuzzFrameReader: any bytes give the same events however they are split, never a frame over the limit or one that was
// not sent.
func FuzzFrameReader(f *testing.F) {
	for _, v := range readVectors(f, "frames.txtar")["frames.txtar"] {
		f.Add(v.input, uint16(64), uint8(3))
	}
	f.Add(protocol.AppendFrame(nil, testPayload(0, 70<<10)), uint16(65535), uint8(255))
	f.Fuzz(func(t *testing.T, input []byte, limit uint16, split uint8) {
		maxFrame := int(limit)
		whole := readEvents(t, bytes.NewReader(input), maxFrame)
		random := rand.New(rand.NewPCG(uint64(split), 0))
		rest := bytes.NewReader(input)
		pieces := readerFunc(func(b []byte) (int, error) { return rest.Read(b[:1+random.IntN(min(len(b), 1+int(split)))]) })
		for name, r := range map[string]io.Reader{"pieces": pieces, "halves": iotest.HalfReader(bytes.NewReader(input))} {
			if got := readEvents(t, r, maxFrame); !reflect.DeepEqual(got, whole) {
				t.Fatalf("%s: %+v\nwhole: %+v", name, got, whole)
			}
		}
		// Frames are what an independent reading of the bytes gives.
		for _, event := range whole {
			if event.Frame != "" {
				n := int(binary.BigEndian.Uint32(input))
				if n > maxFrame || event.Frame != string(input[4:4+n]) {
					t.Fatalf("frame %q is not what was sent", event.Frame)
				}
				input = input[4+n:]
			} else if event.Skipped != nil {
				input = input[min(len(input), 4+int(binary.BigEndian.Uint32(input))):]
			}
		}
	})
}

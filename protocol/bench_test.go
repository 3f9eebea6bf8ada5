package protocol_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"supervisord/protocol"
)

// BenchmarkFrameReader reads frames that come as the pipe gives them, 64 KiB at a time; the bytes of a frame include its
// header.
func BenchmarkFrameReader(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
	}{{"100B", 100}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}} {
		b.Run(c.name, func(b *testing.B) {
			frame := protocol.AppendFrame(nil, testPayload(0, c.size))
			frames := protocol.NewFrameReader(&loop{b: bytes.Repeat(frame, 1+(1<<20)/len(frame))}, 16<<20)
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := frames.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// loop gives the same bytes for ever.
type loop struct {
	b  []byte
	at int
}

var _ io.Reader = (*loop)(nil)

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.b[l.at:])
	l.at = (l.at + n) % len(l.b)
	return n, nil
}

func BenchmarkCheckParams(b *testing.B) {
	for _, c := range []struct{ name, params string }{
		{"one", `{"text":"` + strings.Repeat("hello ", 15) + `"}`},
		{"eight", `{"model":"m","prompt":"p","temperature":0.5,"top_p":1,"max_tokens":100,"seed":7,"stop":["a","b"],"user":"u"}`},
		{"1MiB", `{"audio":"` + strings.Repeat("UklGRiQA", 128<<10) + `","language":"en"}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			params := []byte(c.params)
			b.SetBytes(int64(len(params)))
			b.ReportAllocs()
			for b.Loop() {
				if err := protocol.CheckParams(params); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct{ name, message string }{
		{"stream_chunk", `{"type":"stream_chunk","job_id":"0f6c-1","chunk":"hello, world","is_final":false,"metadata":{}}`},
		{"result-1MiB", `{"type":"result","job_id":"0f6c-1","status":"success","data":{"text":"` + strings.Repeat("hello ", 175<<10) + `"}}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			message := []byte(c.message)
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := protocol.Decode(message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	m := &protocol.Execute{JobID: "0f6c-1", PluginName: "echo", Stream: true, Params: []byte(`{"text":"hello, world","n":1}`)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := protocol.Encode(m); err != nil {
			b.Fatal(err)
		}
	}
}

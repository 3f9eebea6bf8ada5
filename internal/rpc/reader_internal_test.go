package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"supervisord/protocol"
)

// pieces gives its bytes in reads of the given sizes, over and over.
type pieces struct {
	in    []byte
	sizes []byte
	next  int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		return 0, io.EOF
	}
	n := len(b)
	if len(p.sizes) > 0 {
		n = min(n, 1+int(p.sizes[p.next%len(p.sizes)]))
		p.next++
	}
	n = copy(b[:n], p.in)
	p.in = p.in[n:]
	return n, nil
}

// readAll is what a reader makes of bytes: its messages and faults, and the error at the end.
func readAll(t testing.TB, in, sizes []byte, limit int) []string {
	t.Helper()
	r := reader{r: &pieces{in: in, sizes: sizes}, limit: limit}
	var events []string
	for {
		message, err := r.next()
		if most := max(limit, maxHeaders) + leastBuffer; len(r.buf) > most {
			t.Fatalf("holds %d bytes, more than %d", len(r.buf), most)
		}
		f, isFault := errors.AsType[*fault](err)
		switch {
		case isFault:
			offset := int64(-1)
			if f.err.Data.Offset != nil {
				offset = *f.err.Data.Offset
			}
			events = append(events, fmt.Sprintf("fault %d id %s at %d: %s", f.err.Code, f.id, offset, f.err.Data.Reason))
		case err != nil:
			if again, second := r.next(); again != nil || !errors.Is(second, err) {
				t.Fatalf("after %v comes %q, %v", err, again, second)
			}
			return append(events, "end "+err.Error())
		default:
			if !json.Valid(message) || !utf8.Valid(message) || len(message) > limit {
				t.Fatalf("not a message: %q", message)
			}
			events = append(events, "message "+string(message))
		}
		if len(events) > len(in)+1 {
			t.Fatalf("%d events of %d bytes", len(events), len(in))
		}
	}
}

// fuzzLimit is small, so that messages over the limit are found.
const fuzzLimit = 300

// FuzzReader: any bytes give the same messages and faults however they are split into reads, and never make the reader
// hold more than its limit allows.
func FuzzReader(f *testing.F) {
	ping := `{"jsonrpc":"2.0","id":1,"method":"daemon.ping"}`
	long := strings.Repeat("x", fuzzLimit)
	for _, in := range []string{
		ping, ping + ping + "\n", "[" + ping + "]", "\ufeff" + ping, ping[:20] + "\n" + ping, "garbage\n" + ping,
		"12 tru", "-", `"a`, "{\"a\":1,\n\n  {", "[[[[", "\x00\x00\n", "G", "GET / HTTP/1.1\r\n\r\n", "  POST / ", "PO\n", "c", "content-",
		"Content-Length: 2\r\n\r\n{}", "content-type: x\ncontent-length:2\n\n[]Content-Length: 9\r\n\r\n{}", "Content-Length: x\r\n\r\n",
		"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "Content-Type: a\r\n\r\n{}", "Content-Length: 400\r\n\r\n{\"id\":1}" + strings.Repeat(" ", 392),
		"Content-Length: 9999999\r\n\r\n{", "Content-Length: 99999999999999999999\r\n\r\n", "Content-Length: 0\r\n\r\nContent-Length: 2\r\n\r\n{}",
		framedText(`{"id":7,"a":"` + long + `"}`), framedText(`{"a":"` + long + `","id":"b"}`), framedText("[1,2," + long),
		`{"id":1,"a":"` + long + `"}` + ping, `{"a":"` + long + `","id":"b"}` + ping, `{"a":"` + long + `\u00`, `{"id":1,"ID":2,"a":"` + long + `"}`,
		`{"a":"` + long + "\",\n" + ping, `{"a":"` + long + "\",\n x" + ping + "\n" + ping, "{\"a\":\"" + long + "\",\n {\"b\":} " + ping,
		`{"a":"` + long[:fuzzLimit-8] + `\u12`, `{"a":"` + long[:fuzzLimit-7] + "\",\n{\"b\"", `{"id":1,"id":2,"a":"` + long + `"}`, "x" + long + long,
		"Content-Length: " + strings.Repeat("1", 4500), strings.Repeat("x\n", 120), long + long, "{\"a\":\"" + long[:fuzzLimit-9] + "\xe2\x82\x28",
	} {
		f.Add([]byte(in), []byte{0})
		f.Add([]byte(in), []byte{2, 0, 30})
	}
	f.Fuzz(func(t *testing.T, in, sizes []byte) {
		if len(in) > skipFactor*fuzzLimit {
			return // how much more is read than the reader has patience for is chance
		}
		whole := readAll(t, in, nil, fuzzLimit)
		if split := readAll(t, in, sizes, fuzzLimit); !slices.Equal(whole, split) {
			t.Fatalf("%q\nat once: %q\nin pieces: %q", in, whole, split)
		}
	})
}

func framedText(s string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(s), s) }

// FuzzMembers: what members and parseExecute make of any params agrees with encoding/json.
func FuzzMembers(f *testing.F) {
	for _, in := range []string{
		`{}`, `{"job_id":"a","force":true}`, `{"job_id":null}`, `{"job_id":"a","job\u005fid":"b"}`, `{"plugin_name":"echo","params":{"a":1},"stream":true}`,
		`{"plugin_name":"x","params":null,"metadata":{"a":[1,2]},"priority":-100,"timeout_ms":1,"max_wait_ms":0}`, `{"plugin_name":""}`,
		`{"plugin_name":"x","partialResultToken":"a","job_id":"..","pool":"p","affinity_key":"k","keep_alive_ms":5,"on_disconnect":"continue"}`,
		"{\"plugin_name\":\"x\",\"params\":{\n\"a\":\r\n1}}",
	} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := reader{r: bytes.NewReader(in), limit: 1 << 20}
		message, err := r.next()
		if err != nil || len(message) != len(in) || message[0] != '{' {
			return
		}
		var (
			x     Execution
			k     call
			plain protocol.ExecuteParams
		)
		if parseExecute(message, &x, &k) != nil {
			return
		}
		if err := json.Unmarshal(in, &plain); err != nil {
			// encoding/json folds case: a variant of a name may be of another type.
			return
		}
		if bytes.ContainsAny(x.Params, "\r\n") || (x.Params != nil && !json.Valid(x.Params)) || (x.Metadata != nil && !json.Valid(x.Metadata)) {
			t.Fatalf("%q: params %q, metadata %q", in, x.Params, x.Metadata)
		}
		if x.Plugin == "" || x.Priority < -100 || x.Priority > 100 || x.Timeout < 0 || x.MaxWait < 0 || (x.JobID != "" && !protocol.ValidJobID(x.JobID)) {
			t.Fatalf("%q is accepted as %+v", in, x)
		}
	})
}

package load

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"supervisord/bench/internal/floor"
	"supervisord/bench/internal/wire"
)

var (
	unary  = Case{Name: "unary", Conns: 3, InFlight: 5, Payload: 100}
	big    = Case{Name: "big", Conns: 2, InFlight: 8, Payload: 256 << 10}
	stream = Case{Name: "stream", Conns: 2, InFlight: 3, Payload: 64, Chunks: 500}
)

func brief(socket string, p Protocol) Options {
	return Options{Socket: socket, Protocol: p, Warm: 5 * time.Millisecond, Length: 50 * time.Millisecond, Patience: 20 * time.Second}
}

// listen serves every connection with serve until the test ends.
func listen(t *testing.T, serve func(net.Conn)) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "load")
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		all.Wait()
		_ = os.RemoveAll(dir)
	})
	return socket
}

// rawWorker answers one connection with the floor's own worker.
func rawWorker(conn net.Conn) {
	file, err := conn.(*net.UnixConn).File()
	if err != nil {
		return
	}
	defer file.Close()
	_ = floor.Serve(int(file.Fd()), int(file.Fd())) // ends with the connection
}

// fault changes what a JSON server is about to write; each message is one line without its end. nil: no fault.
type fault func(lines []string) []string

// jsonServer answers execute as the daemon does: id after jsonrpc, chunks numbered, an empty last one, then the result.
func jsonServer(f fault) func(net.Conn) {
	return func(conn net.Conn) {
		in := bufio.NewReaderSize(conn, 1<<20)
		job := 0
		for {
			line, err := in.ReadBytes('\n')
			if err != nil {
				return
			}
			var request struct {
				ID     json.Number
				Method string
				Params struct {
					Plugin string `json:"plugin_name"`
					Stream bool
					Params json.RawMessage
				}
			}
			if err := json.Unmarshal(line, &request); err != nil || request.Method != "execute" {
				fmt.Fprintf(conn, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no execute: %v"}}`+"\n", err)
				return
			}
			job++
			lines := answer(request.ID.String(), job, request.Params.Plugin, request.Params.Params)
			if f != nil && job > 1 {
				lines = f(lines)
			}
			out := strings.Join(lines, "\n")
			if len(lines) > 0 {
				out += "\n"
			}
			if _, err := conn.Write([]byte(out)); err != nil {
				return
			}
		}
	}
}

func answer(id string, job int, plugin string, params json.RawMessage) (lines []string) {
	if plugin == "echo" {
		return []string{fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"job_id":"j-%d","status":"success","data":%s,"chunks":0}}`, id, job, params)}
	}
	var count struct{ Count, Pad int }
	_ = json.Unmarshal(params, &count) // zero values show in the answer
	for i := range count.Count {
		chunk := fmt.Sprintf(`{"i":%d,"pad":"%s"}`, i, strings.Repeat("x", count.Pad))
		lines = append(lines, notification(id, job, i, chunk, false))
	}
	lines = append(lines, notification(id, job, count.Count, `""`, true))
	return append(lines, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"job_id":"j-%d","status":"success","data":{"streamed":true},"chunks":%d}}`,
		id, job, count.Count+1))
}

func notification(id string, job, seq int, chunk string, final bool) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":"stream.chunk","params":{"job_id":"j-%d","request_id":%s,"seq":%d,"chunk":%s,"is_final":%v,"metadata":{}}}`,
		job, id, seq, chunk, final)
}

func TestRunCountsWhatASoundSystemAnswers(t *testing.T) {
	for name, system := range map[string]struct {
		protocol Protocol
		serve    func(net.Conn)
	}{"raw": {Raw, rawWorker}, "json": {JSONRPC, jsonServer(nil)}} {
		for _, c := range []Case{unary, big, stream} {
			t.Run(name+"/"+c.Name, func(t *testing.T) {
				socket := listen(t, system.serve)
				marks := 0
				o := brief(socket, system.protocol)
				o.Mark = func() error { marks++; return nil }
				result, err := Run(c, o)
				if err != nil {
					t.Fatal(err)
				}
				if result.Units == 0 || result.Elapsed < o.Length || marks != 2 || result.P50 > result.P99 || result.Slow != 0 {
					t.Errorf("%+v with %d marks", result, marks)
				}
			})
		}
	}
}

// A system whose members come in another order is slow to read, not wrong.
func TestRunReadsMembersInAnyOrder(t *testing.T) {
	reorder := func(lines []string) []string {
		for i, line := range lines {
			var members map[string]any
			if err := json.Unmarshal([]byte(line), &members); err != nil {
				return []string{err.Error()}
			}
			sorted, err := json.Marshal(members)
			if err != nil {
				return []string{err.Error()}
			}
			lines[i] = string(sorted)
		}
		return lines
	}
	for _, c := range []Case{unary, stream} {
		if result, err := Run(c, brief(listen(t, jsonServer(reorder)), JSONRPC)); err != nil || result.Slow < result.Units/2 {
			t.Errorf("%+v, %v", result, err)
		}
	}
}

func TestRunNoticesWhatIsWrong(t *testing.T) {
	cases := map[string]struct {
		kase  Case
		fault fault
		want  string
	}{
		"answer lost":       {unary, func([]string) []string { return nil }, "never answered"},
		"answer twice":      {unary, func(l []string) []string { return append(l, l...) }, "not in flight"},
		"error answer":      {unary, replace(`"result":`, `"error":{"code":1000,"message":"overloaded"},"x":`), "overloaded"},
		"someone else's id": {unary, replace(`"id":`, `"id":7`), "not in flight"},
		"garbage":           {unary, func([]string) []string { return []string{"hello"} }, "hello"},
		"shorter echo":      {unary, replace(`xxxxxxxxxx`, ``), "fewer than what was sent"},
		"chunk lost":        {stream, func(l []string) []string { return slices.Delete(l, 100, 101) }, "chunk 101 of id"},
		"chunk twice":       {stream, func(l []string) []string { return slices.Insert(l, 100, l[99]) }, "chunk 99 of id"},
		"chunks swapped":    {stream, func(l []string) []string { l[5], l[6] = l[6], l[5]; return l }, "chunk 6 of id"},
		"chunk after end":   {stream, func(l []string) []string { l[500], l[501] = l[501], l[500]; return l }, "counts 501 chunks, 500 came"},
		"no result":         {stream, func(l []string) []string { return l[:501] }, "never answered"},
		"chunk too many":    {stream, func(l []string) []string { l[500] = strings.Replace(l[500], "true", "false", 1); return l }, "beyond the 500"},
		"wrong count":       {stream, replace(`"chunks":501`, `"chunks":500`), "counts 500 chunks, 501 came"},
		"stream cut": {stream, func(l []string) []string {
			return append(l[:9], strings.Replace(l[501], `"chunks":501`, `"chunks":9`, 1))
		}, "after 9 of 500"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := brief(listen(t, jsonServer(test.fault)), JSONRPC)
			if test.want == "never answered" {
				o.Patience = 300 * time.Millisecond // however slow the machine, they never are
			}
			_, err := Run(test.kase, o)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "case "+test.kase.Name) {
				t.Fatalf("got %v, want an error with %q and the case", err, test.want)
			}
		})
	}
}

func replace(old, new string) fault {
	return func(lines []string) []string {
		for i := range lines {
			lines[i] = strings.ReplaceAll(lines[i], old, new)
		}
		return lines
	}
}

func TestSamplesAreComparedWhole(t *testing.T) {
	for name, test := range map[string]struct {
		kase  Case
		fault fault
	}{
		"echo":  {unary, replace(`"pad":"x`, `"pad":"y`)},
		"chunk": {stream, replace(`{"i":0,"pad":"x`, `{"i":0,"pad":"y`)},
		"state": {unary, replace(`"success"`, `"error"`)},
	} {
		t.Run(name, func(t *testing.T) {
			lines := test.fault(answer("1", 1, map[bool]string{true: "count", false: "echo"}[test.kase.Chunks > 0], params(t, test.kase)))
			codec := newJSONCodec(test.kase)
			m, n, err := codec.next([]byte(lines[0] + "\n"))
			if err != nil || n == 0 {
				t.Fatalf("next: %d, %v", n, err)
			}
			if codec.verify(m) == nil {
				t.Error("an altered message passes")
			}
			if sound := answer("1", 1, "echo", params(t, unary)); newJSONCodec(unary).verify(message{kind: anAnswer, body: []byte(sound[0])}) != nil {
				t.Error("a sound one doesn't")
			}
		})
	}
}

func params(t *testing.T, c Case) json.RawMessage {
	t.Helper()
	var request struct {
		Params struct{ Params json.RawMessage }
	}
	if err := json.Unmarshal(newJSONCodec(c).appendRequest(nil, 1), &request); err != nil {
		t.Fatal(err)
	}
	return request.Params.Params
}

func TestPayloadsHaveTheSizeOfTheirCase(t *testing.T) {
	if got := len(params(t, unary)); got != 100 {
		t.Errorf("params of an echo: %d bytes", got)
	}
	lines := answer("1", 1, "count", params(t, stream))
	_, chunk, _ := strings.Cut(lines[250], `"chunk":`)
	chunk, _, _ = strings.Cut(chunk, `,"is_final"`)
	if len(chunk) != 64 {
		t.Errorf("chunk %s has %d bytes", chunk, len(chunk))
	}
}

func TestRawFaultsAreNoticed(t *testing.T) {
	chunk := func(id, seq uint32) []byte {
		return wire.AppendFrame(nil, id, true, binary.BigEndian.AppendUint32(nil, seq))
	}
	c := Case{Name: "raw", Conns: 1, InFlight: 1, Payload: 4, Chunks: 2}
	for name, test := range map[string]struct {
		frames []byte
		want   string
	}{
		"gap":        {slices.Concat(chunk(1, 0), chunk(1, 2)), "chunk 2 of id 1, want 1"},
		"beyond":     {slices.Concat(chunk(1, 0), chunk(1, 1), chunk(1, 2)), "beyond the 2"},
		"count":      {slices.Concat(chunk(1, 0), wire.AppendFrame(nil, 1, false, []byte{0, 0, 0, 2})), "counts 2 chunks, 1 came"},
		"wrong id":   {chunk(9, 0), "not in flight"},
		"wrong size": {wire.AppendFrame(nil, 1, true, []byte("12345")), "5 bytes, want 4"},
		"cut":        {chunk(1, 0)[:5], "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := listen(t, func(conn net.Conn) {
				request := make([]byte, wire.HeaderSize+len(floor.StreamRequest(0, 0)))
				if _, err := conn.Read(request); err == nil {
					_, _ = conn.Write(test.frames)
				}
			})
			if _, err := Run(c, brief(socket, Raw)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestHistogramIsFineEnough(t *testing.T) {
	var h, half histogram
	random := rand.New(rand.NewPCG(1, 2))
	var values []time.Duration
	for i := range 20_000 {
		v := time.Duration(math.Exp(random.Float64() * 25)) // 1 ns to 72 s
		values = append(values, v)
		if i%2 == 0 {
			h.add(v)
		} else {
			half.add(v)
		}
	}
	h.merge(&half)
	slices.Sort(values)
	for _, q := range []float64{0, 0.01, 0.5, 0.99, 1} {
		want := values[min(int(q*float64(len(values))), len(values)-1)]
		if got := h.quantile(q); got > want || float64(got) < 0.984*float64(want) {
			t.Errorf("quantile %v: got %v, want %v", q, got, want)
		}
	}
	if (&histogram{}).quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
}

// What reading one message costs the generator bounds what it can tell about a system.
func BenchmarkNext(b *testing.B) {
	tokens := Case{Payload: 64, Chunks: 10_000}
	pad := fmt.Sprintf(`{"i":5000,"pad":"%s"}`, strings.Repeat("x", 64-19))
	for _, bench := range []struct {
		name  string
		codec codec
		b     []byte
	}{
		{"raw chunk", newRawCodec(tokens), wire.AppendFrame(nil, 5, true, make([]byte, 64))},
		{"json chunk", newJSONCodec(tokens), []byte(notification("123456", 1, 5000, pad, false) + "\n")},
		{"json answer", newJSONCodec(unary), []byte(answer("123456", 1, "echo", json.RawMessage(`{"pad":"`+strings.Repeat("x", 90)+`"}`))[0] + "\n")},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(bench.b)))
			b.ReportAllocs()
			for b.Loop() {
				if _, n, err := bench.codec.next(bench.b); n == 0 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

package rpc_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"supervisord/internal/rpc"
)

// FuzzConnection: any bytes on a connection, in two writes, are answered by whole answers of the protocol, at most one
// for each request that could be among them, then the connection ends, and the daemon goes on.
func FuzzConnection(f *testing.F) {
	for _, h := range hostileInputs(1 << 10) {
		if len(h.in) < 4<<10 {
			f.Add([]byte(h.in), uint16(len(h.in)/2))
		}
	}
	for _, in := range []string{
		run("1", "echo", `"params":{"a":1}`) + run("2", "spell", `"stream":true`) + run(`"3"`, "spell", `"partialResultToken":"t"`),
		"[" + run("1", "echo", "") + "," + run("1", "echo", "") + "," + call("", "daemon.ping", "") + "," + call("2", "worker.list", "") + "]",
		call("1", "job.cancel", `{"job_id":"job-1"}`) + cancel("1") + call("2", "$/cancelRequest", `{"id":1}`),
		run("1", "fail", "") + run("2", "nobody", "") + run("null", "echo", "") + run("", "echo", "") + call("5", "daemon.info", "[]"),
		framed(strings.TrimSpace(run("1", "spell", `"stream":true`))) + framed("[]") + framed("x"),
		call("1", "plugin.reload", `{"plugin_name":"spell","config":{"a":[1]}}`) + call("2", "pool.scale", `{"pool":"text","min_workers":1}`) +
			"[" + call("3", "daemon.reload", "") + "," + call("4", "worker.stop", `{"worker":"text/0","force":true}`) + "]" + cancel("1"),
	} {
		f.Add([]byte(in), uint16(10))
	}
	d := start(f, func(o *rpc.Options) { o.MaxMessage, o.OutputBuffer = 4<<10, 4<<10 })
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case j := <-d.held: // nobody else drives them
				j.end("1", nil)
			case <-d.events:
			case <-stop:
				return
			}
		}
	}()
	f.Fuzz(func(t *testing.T, in []byte, at uint16) {
		nc, err := net.Dial("unix", d.path)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		cut := min(int(at), len(in))
		written := make(chan struct{})
		go func() {
			defer close(written)
			if _, err := nc.Write(in[:cut]); err != nil {
				return // the daemon had enough, and said why
			}
			if _, err := nc.Write(in[cut:]); err != nil {
				return
			}
			_ = nc.(*net.UnixConn).CloseWrite()
		}()
		answers := readAnswers(t, nc)
		<-written
		seen := map[string]int{}
		for _, a := range answers {
			if a.Method != "" {
				continue // a chunk
			}
			if a.JSONRPC != "2.0" || (a.Result == nil) == (a.Error == nil) || a.ID == nil {
				t.Fatalf("%q is answered %+v", in, a)
			}
			seen[string(a.ID)]++
		}
		for id, n := range seen {
			if id == "null" {
				continue
			}
			// An id can be answered as often as it can have been sent; a shorter one may stand in a longer one, never the reverse.
			if most := strings.Count(string(in), id); n > most {
				t.Fatalf("%q: %d answers for id %s, which stands there %d times", in, n, id, most)
			}
		}
	})
}

type answer struct {
	JSONRPC string
	ID      json.RawMessage
	Method  string
	Result  json.RawMessage
	Error   json.RawMessage
}

// readAnswers reads all answers, batches taken apart, in whatever framing.
func readAnswers(t *testing.T, nc io.Reader) (answers []answer) {
	t.Helper()
	r := bufio.NewReader(nc)
	for {
		line, err := r.ReadBytes('\n')
		if len(line) == 0 {
			return answers // the end, or a reset where the daemon closed on unread bytes
		}
		if err != nil {
			t.Fatalf("half a line %q: %v", line, err)
		}
		text := strings.TrimSpace(string(line))
		if strings.HasPrefix(text, "Content-Length: ") || text == "" {
			if text != "" {
				continue
			}
			// The body has no newline behind it.
			decoder := json.NewDecoder(r)
			var body json.RawMessage
			if err := decoder.Decode(&body); err != nil {
				t.Fatal(err)
			}
			answers = append(answers, apart(t, body)...)
			r = bufio.NewReader(io.MultiReader(decoder.Buffered(), r))
			continue
		}
		answers = append(answers, apart(t, []byte(text))...)
	}
}

func apart(t *testing.T, body []byte) []answer {
	t.Helper()
	list := []json.RawMessage{body}
	if body[0] == '[' {
		if err := json.Unmarshal(body, &list); err != nil {
			t.Fatalf("%v in %q", err, body)
		}
	}
	answers := make([]answer, len(list))
	for i, raw := range list {
		if err := json.Unmarshal(raw, &answers[i]); err != nil {
			t.Fatalf("%v in %q", err, raw)
		}
		// null is a value for these, and RawMessage cannot tell.
		if string(answers[i].Error) == "null" || string(answers[i].Result) == "null" {
			t.Fatalf("null in %q", raw)
		}
	}
	return answers
}

package rpc_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"supervisord/internal/rpc"
)

// hostile is bytes that nobody should send, and how they are answered.
type hostile struct {
	name string
	in   string
	// want is the answers as code and id, "-32700 null", or "ok" for a result.
	want []string
	// ends says that the daemon closes after them; else a ping on a line of its own is answered.
	ends bool
}

// times is n times the same answer.
func times(n int, answer string) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = answer
	}
	return list
}

const (
	parseError = "-32700 null"
	invalid    = "-32600 null"
)

// hostileInputs are tried with a limit of limit bytes.
func hostileInputs(limit int) []hostile {
	const ping = `{"jsonrpc":"2.0","id":1,"method":"daemon.ping"}`
	pad := strings.Repeat("x", limit)
	deep := func(n int) string {
		return `{"jsonrpc":"2.0","id":1,"method":"daemon.ping","params":{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}}"
	}
	list := []hostile{
		// No JSON at all.
		{"words", "hello\n", []string{parseError}, false},
		{"three bad lines", "a\nb\nc\n", times(3, parseError), false},
		{"closing brace", "}\n", []string{parseError}, false},
		{"closing bracket", "]]]]\n", []string{parseError}, false},
		{"comma", ",\n", []string{parseError}, false},
		{"colon", ":" + ping + "\n", []string{parseError}, false},
		{"single quotes", "{'jsonrpc':'2.0','id':1,'method':'daemon.ping'}\n", []string{parseError}, false},
		{"unquoted names", "{jsonrpc:\"2.0\"}\n", []string{parseError}, false},
		{"comment", "// comment\n" + ping + "\n", []string{parseError, "ok"}, false},
		{"comment inside", "{/* */}\n", []string{parseError}, false},
		{"trailing comma", `{"jsonrpc":"2.0","id":1,"method":"daemon.ping",}` + "\n", []string{parseError}, false},
		{"trailing comma in a batch", "[" + ping + ",]\n", []string{parseError}, false},
		{"double comma", `{"jsonrpc":"2.0",,"id":1}` + "\n", []string{parseError}, false},
		{"NaN", `{"jsonrpc":"2.0","id":NaN,"method":"daemon.ping"}` + "\n", []string{parseError}, false},
		{"Infinity", `{"id":Infinity}` + "\n", []string{parseError}, false},
		{"undefined", "undefined\n", []string{parseError}, false},
		{"True", `{"a":True}` + "\n", []string{parseError}, false},
		{"tru", "tru \n", []string{parseError}, false},
		{"literal that goes on", "nullx\n", []string{invalid, parseError}, false},
		{"XML", "<?xml version=\"1.0\"?>\n<methodCall/>\n", times(2, parseError), false},
		{"YAML", "---\njsonrpc: \"2.0\"\n", []string{parseError, parseError}, false},
		{"shell", "#!/bin/sh\necho $HOME\n", times(2, parseError), false},
		{"msgpack", "\x83\xa7jsonrpc\xa32.0\n", []string{parseError}, false},
		{"length prefix", "\x00\x00\x00\x2f" + ping + "\n", []string{parseError}, false},
		{"netstring", "47:" + ping + ",\n", []string{invalid, parseError}, false},
		{"record separator", "\x1e" + ping + "\n", []string{parseError}, false},
		{"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00\x7f", 30) + "\n", []string{parseError}, false},
		{"SSH", "SSH-2.0-OpenSSH_9.9\r\n", []string{parseError}, false},
		{"NUL bytes", strings.Repeat("\x00", 1000) + "\n", []string{parseError}, false},
		{"0xff bytes", strings.Repeat("\xff", 1000) + "\n", []string{parseError}, false},
		{"DEL", "\x7f\n", []string{parseError}, false},
		{"vertical tab between", ping + "\v\n", []string{"ok", parseError}, false},
		{"form feed between", "\f" + ping + "\n", []string{parseError}, false},
		{"no-break space", "\u00a0" + ping + "\n", []string{parseError}, false},
		{"escape sequences", "\x1b[31m\n", []string{parseError}, false},
		{"backspaces", "\b\b\b\n", []string{parseError}, false},
		{"99 bad lines", strings.Repeat("x\n", 99), times(99, parseError), false},
		{"100 bad lines", strings.Repeat("x\n", 100), times(100, parseError), true},
		{
			"bad lines with good ones between", strings.Repeat(strings.Repeat("x\n", 60)+ping+"\n", 3),
			append(append(append(append(append(times(60, parseError), "ok"), times(60, parseError)...), "ok"), times(60, parseError)...), "ok"), false,
		},

		// Encodings.
		{"byte order mark", "\xef\xbb\xbf" + ping + "\n", []string{parseError}, false},
		{"UTF-16", "\xff\xfe{\x00}\x00\n\x00\n", []string{parseError, parseError}, false},
		{"UTF-16 big end", "\x00{\x00}\n", []string{parseError}, false},
		{"invalid UTF-8 in the method", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}\n", []string{parseError}, false},
		{"invalid UTF-8 in params", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"daemon.ping\",\"params\":{\"a\":\"\xc3\x28\"}}\n", []string{parseError}, false},
		{"overlong", "{\"a\":\"\xc0\xaf\"}\n", []string{parseError}, false},
		{"overlong NUL", "{\"a\":\"\xc0\x80\"}\n", []string{parseError}, false},
		{"encoded surrogate", "{\"a\":\"\xed\xa0\x80\"}\n", []string{parseError}, false},
		{"beyond U+10FFFF", "{\"a\":\"\xf4\x90\x80\x80\"}\n", []string{parseError}, false},
		{"cut UTF-8 before the quote", "{\"a\":\"\xe2\x82\"}\n", []string{parseError}, false},
		{"lone continuation", "{\"a\":\"\x80\"}\n", []string{parseError}, false},
		{"invalid UTF-8 in a name", "{\"\xfe\":1}\n", []string{parseError}, false},
		{"lone surrogate in the id", `{"jsonrpc":"2.0","id":"\ud800","method":"daemon.ping"}` + "\n", []string{"ok"}, false},
		{"lone surrogate in the method", `{"jsonrpc":"2.0","id":1,"method":"\udfff\ud800"}` + "\n", []string{"-32601 1"}, false},
		{"lone surrogate in a name", `{"jsonrpc":"2.0","id":1,"method":"daemon.ping","\udc00":1}` + "\n", []string{"ok"}, false},
		{"NUL in the method", `{"jsonrpc":"2.0","id":1,"method":"daemon.ping\u0000"}` + "\n", []string{"-32601 1"}, false},
		{"raw newline in a string", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"daemon\n.ping\"}\n", times(2, parseError), false},
		{"raw tab in a string", "{\"a\":\"\t\"}\n", []string{parseError}, false},
		{"raw NUL in a string", "{\"a\":\"\x00\"}\n", []string{parseError}, false},
		{"bad escape", `{"a":"\x41"}` + "\n", []string{parseError}, false},
		{"short escape", `{"a":"\u12"}` + "\n", []string{parseError}, false},
		{"escape of no hex", `{"a":"\u12g4"}` + "\n", []string{parseError}, false},
		{"escaped newline", "{\"a\":\"\\\n\"}\n", []string{parseError, parseError}, false},

		// Numbers.
		{"leading zero", `{"jsonrpc":"2.0","id":01,"method":"daemon.ping"}` + "\n", []string{parseError}, false},
		{"plus", `{"id":+1}` + "\n", []string{parseError}, false},
		{"point first", `{"id":.5}` + "\n", []string{parseError}, false},
		{"point last", `{"id":5.}` + "\n", []string{parseError}, false},
		{"no exponent", `{"id":1e}` + "\n", []string{parseError}, false},
		{"minus alone", `{"id":-}` + "\n", []string{parseError}, false},
		{"hexadecimal", `{"id":0x10}` + "\n", []string{parseError}, false},
		{"underscores", `{"id":1_000}` + "\n", []string{parseError}, false},
		{"huge number as id", `{"jsonrpc":"2.0","id":1` + strings.Repeat("0", 1000) + `,"method":"daemon.ping"}` + "\n", []string{"ok"}, false},
		{"huge exponent as id", `{"jsonrpc":"2.0","id":1e999999999,"method":"daemon.ping"}` + "\n", []string{"ok"}, false},
		{"longest id", `{"jsonrpc":"2.0","id":"` + strings.Repeat("a", 1022) + `","method":"daemon.ping"}` + "\n", []string{"ok"}, false},
		{"too long an id", `{"jsonrpc":"2.0","id":"` + strings.Repeat("a", 1023) + `","method":"daemon.ping"}` + "\n", []string{invalid}, false},
		{"much too long an id", `{"jsonrpc":"2.0","id":"` + pad[:limit/2] + `","method":"daemon.ping"}` + "\n", []string{invalid}, false},
		{"number for params", `{"jsonrpc":"2.0","id":1,"method":"daemon.ping","params":` + strings.Repeat("9", 5000) + "}\n", []string{"-32600 1"}, false},

		// Depth.
		{"deepest", deep(254) + "\n", []string{"ok"}, false},
		{"too deep", deep(255) + "\n", []string{parseError}, false},
		{"depth bomb of arrays", strings.Repeat("[", 100000) + "\n", []string{parseError}, false},
		{"depth bomb of objects", strings.Repeat(`{"a":`, 20000) + "\n", []string{parseError}, false},
		{"depth bomb in a batch", "[" + deep(300) + "]\n", []string{parseError}, false},
		{"wide array", "[" + strings.Repeat("[],", 999) + "[]]\n", []string{"batch 1000"}, false},
		{"batch too long", "[" + strings.Repeat("0,", 1000) + "0]\n", []string{invalid}, false},
		{"batch far too long", "[" + strings.Repeat("0,", 100000) + "0]\n", []string{invalid}, false},
		{"many members", `{"jsonrpc":"2.0","id":1,"method":"daemon.ping","params":{` + strings.Repeat(`"a":1,`, 10000) + `"a":1}}` + "\n", []string{"ok"}, false},
		{"many members of the request", `{"jsonrpc":"2.0","id":1,` + strings.Repeat(`"a":1,`, 10000) + `"method":"daemon.ping"}` + "\n", []string{"ok"}, false},

		// Whole and broken messages side by side.
		{"nothing", "", nil, false},
		{"white space", " \t\r\n\n\n   \r\n", nil, false},
		{"much white space", strings.Repeat(" ", 3*limit) + ping + "\n", []string{"ok"}, false},
		{"CRLF", ping + "\r\n" + ping + "\r\n", []string{"ok", "ok"}, false},
		{"CR", ping + "\r" + ping + "\r", []string{"ok", "ok"}, false},
		{"no newline", ping + ping + ping, times(3, "ok"), false},
		{"pretty-printed", "{\n  \"jsonrpc\": \"2.0\",\n  \"id\": 1,\n  \"method\": \"daemon.ping\",\n  \"params\": {\n  }\n}\n", []string{"ok"}, false},
		{"pretty-printed with CRLF", "{\r\n  \"jsonrpc\": \"2.0\",\r\n  \"id\": 1,\r\n  \"method\": \"daemon.ping\"\r\n}\r\n", []string{"ok"}, false},
		{"behind another on its line", "x " + ping + "\n", []string{parseError}, false},
		{"comma between", ping + "," + ping + "\n", []string{"ok", parseError}, false},
		{"truncated, then whole", ping[:20] + "\n" + ping + "\n", []string{parseError, "ok"}, false},
		{"truncated before a comma, then whole", ping[:15] + "\n" + ping + "\n", []string{parseError, "ok"}, false},
		{"truncated twice, then whole", ping[:20] + "\n" + ping[:25] + "\n" + ping + "\n", []string{parseError, parseError, "ok"}, false},
		{"truncated in params, then whole", `{"jsonrpc":"2.0","id":1,"method":"daemon.ping","params":{"a":1` + "\n" + ping + "\n", []string{parseError, "ok"}, false},
		{"truncated, then indented", ping[:20] + "\n  \t" + ping + "\n", []string{parseError, "ok"}, false},
		{"truncated, then a batch", ping[:23] + "\n[" + ping + "]\n", []string{parseError, "batch 1"}, false},
		{"truncated, then words", ping[:23] + "\nwords\n", []string{parseError}, false},
		{"broken in its third line", "{\"jsonrpc\":\"2.0\",\n\"id\":1,\n\"method\":}\n", []string{parseError}, false},

		// Too long.
		{"limit reached", `{"jsonrpc":"2.0","id":1,"method":"daemon.ping","params":{"a":"` + pad[:limit-65] + `"}}` + "\n", []string{"ok"}, false},
		{"one byte over", `{"jsonrpc":"2.0","id":1,"method":"daemon.ping","params":{"a":"` + pad[:limit-64] + `"}}` + "\n", []string{"-32600 1"}, false},
		{"too long, id first", `{"jsonrpc":"2.0","id":"first","method":"daemon.ping","params":{"a":"` + pad + pad + `"}}` + "\n", []string{`-32600 "first"`}, false},
		{"too long, id last", `{"jsonrpc":"2.0","method":"daemon.ping","params":{"id":1,"a":"` + pad + pad + `"},"id":"last"}` + "\n", []string{`-32600 "last"`}, false},
		{"too long, no id", `{"jsonrpc":"2.0","method":"daemon.ping","params":{"a":"` + pad + pad + `"}}` + "\n", []string{invalid}, false},
		{"too long, id twice", `{"id":1,"params":{"a":"` + pad + `"},"id":2}` + "\n", []string{invalid}, false},
		{"too long, id no id", `{"id":[],"params":{"a":"` + pad + `"}}` + "\n", []string{invalid}, false},
		{"too long an id and message", `{"id":"` + pad + pad + `"}` + "\n", []string{invalid}, false},
		{"too long a batch", "[" + ping + `,"` + pad + `"]` + "\n", []string{invalid}, false},
		{"too long a string", `"` + pad + pad + `"` + "\n", []string{invalid}, false},
		{"too long a number", strings.Repeat("1", 2*limit) + "\n", []string{invalid}, false},
		{"too long a method", `{"jsonrpc":"2.0","id":1,"method":"` + pad[:limit-100] + `"}` + "\n", []string{"-32601 1"}, false},
		{"too long, with bad UTF-8", `{"id":1,"a":"` + pad + "\xff" + `"}` + "\n", []string{parseError}, false},
		{"too long, then truncated", `{"id":1,"a":"` + pad + `",` + "\n" + ping + "\n", []string{parseError, "ok"}, false},
		{"too long, broken in a later line", `{"id":1,"a":"` + pad + `",` + "\n" + `  x` + "\n" + ping + "\n", []string{parseError, "ok"}, false},
		{"too long a line of garbage", "x" + pad + pad + "\n", []string{parseError}, false},
		{"two too long", strings.Repeat(`{"id":1,"a":"`+pad+`"}`, 2) + "\n", times(2, "-32600 1"), false},
		{"sixteen times too long", `{"id":1,"a":"` + strings.Repeat(pad, 17), []string{"-32600 1"}, true},
		{"string without end", `"` + strings.Repeat(pad, 17), []string{invalid}, true},
		{"line without end", "x" + strings.Repeat(pad, 17), []string{parseError}, true},
		{"array without end", "[" + strings.Repeat("1,", 9*limit), []string{invalid}, true},

		// HTTP.
		{"HTTP GET", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", []string{parseError}, true},
		{"HTTP POST", "POST /rpc HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 47\r\n\r\n" + ping, []string{parseError}, true},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []string{parseError}, true},
		{"HTTP PUT", "PUT / HTTP/1.0\r\n\r\n", []string{parseError}, true},
		{"HTTP OPTIONS after white space", "\r\n OPTIONS * HTTP/1.1\r\n\r\n", []string{parseError}, true},
		{"nearly HTTP", "GETTING\n" + ping + "\n", []string{parseError, "ok"}, false},
		{"HTTP later", ping + "\nGET / HTTP/1.1\r\n\r\n", []string{"ok", parseError}, false},
		{"headers later", ping + "\nContent-Length: 2\r\n\r\n{}", []string{"ok", parseError, invalid}, false},
	}
	return list
}

// TestHostileInputs: every input is answered as it deserves, the connection lives where the next message can be found,
// and other connections notice nothing.
func TestHostileInputs(t *testing.T) {
	const limit = 64 << 10
	inputs := hostileInputs(limit)
	if len(inputs) < 100 {
		t.Fatalf("only %d inputs", len(inputs))
	}
	d := start(t, func(o *rpc.Options) { o.MaxMessage = limit })
	bystander := d.dial(t)
	for _, h := range inputs {
		t.Run(h.name, func(t *testing.T) {
			c := d.dial(t)
			sent := make(chan error, 1)
			go func() {
				_, err := io.WriteString(c.nc, h.in)
				sent <- err
			}()
			for i, want := range h.want {
				if got := digest(t, c.line()); got != want {
					t.Errorf("answer %d is %s, want %s", i, got, want)
				}
			}
			if h.ends {
				c.wantClosed()
			}
			if err := receive(t, sent, "end of sending"); err != nil && !h.ends {
				t.Fatal(err)
			}
			if !h.ends {
				c.send("\n")
				c.ping()
			}
			d.dial(t).ping()
		})
	}
	bystander.t = t
	bystander.ping()
}

// digest is what an answer says, in the notation of hostile.
func digest(t *testing.T, line string) string {
	t.Helper()
	if len(line) > 1<<10 && line[0] != '[' && !strings.Contains(line, `"result":{}`) {
		t.Errorf("an answer of %d bytes repeats what was sent: %.100s", len(line), line)
	}
	switch v := parse(t, line).(type) {
	case []any:
		return fmt.Sprintf("batch %d", len(v))
	case map[string]any:
		e, ok := v["error"].(map[string]any)
		if !ok {
			return "ok"
		}
		data, ok := e["data"].(map[string]any)
		if !ok || data["kind"] == nil || data["retryable"] == nil || e["message"] == "" || len(e) != 3 || v["jsonrpc"] != "2.0" {
			t.Errorf("not an error of the protocol: %s", line)
		}
		switch id := v["id"].(type) {
		case nil:
			return fmt.Sprintf("%v null", e["code"])
		case string:
			return fmt.Sprintf("%v %q", e["code"], id)
		default:
			return fmt.Sprintf("%v %v", e["code"], id)
		}
	}
	t.Fatalf("not an answer: %s", line)
	return ""
}

// TestMessagesOverTheDefaultLimit: 17 MiB, with the limit that daemons have.
func TestMessagesOverTheDefaultLimit(t *testing.T) {
	d := start(t, func(o *rpc.Options) { o.MaxMessage = 16 << 20 })
	big := strings.Repeat("x", 17<<20)
	for _, c := range []struct{ name, in, want string }{
		{"id first", `{"jsonrpc":"2.0","id":"a","method":"execute","params":{"plugin_name":"echo","params":{"x":"` + big + `"}}}`, `"a"`},
		{"id last", `{"jsonrpc":"2.0","method":"execute","params":{"plugin_name":"echo","params":{"x":"` + big + `"}},"id":7}`, "7"},
		{"no id", `{"jsonrpc":"2.0","method":"execute","params":{"plugin_name":"echo","params":{"x":"` + big + `"}}}`, "null"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := `{"jsonrpc":"2.0","id":` + c.want + `,"error":{"code":-32600,"message":"invalid request: the message is longer than 16777216 bytes",` +
				`"data":{"kind":"invalid_request","retryable":false,"reason":"the message is longer than 16777216 bytes","limit":16777216}}}`
			bare := d.dial(t)
			bare.send(c.in)
			bare.want(want)
			bare.ping()
			headed := d.dial(t)
			headed.send(framed(c.in))
			if got := headed.readFramed(); got != want {
				t.Errorf("got %s", got)
			}
			headed.send(framed(`{"jsonrpc":"2.0","id":1,"method":"daemon.ping"}`))
			if got := headed.readFramed(); got != `{"jsonrpc":"2.0","id":1,"result":{}}` {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestEverySplit: however the bytes are split into writes, the answers are the same.
func TestEverySplit(t *testing.T) {
	d := start(t)
	ping := `{"jsonrpc":"2.0","id":"é","method":"daemon.ping"}`
	in := ping + "\r\n[" + ping + "," + run("2", "echo", `"params":{"a":"\ud83d\ude00\n"}`) + "] oops\n" + ping[:30] + "\n" + ping
	want := []string{
		`{"jsonrpc":"2.0","id":"é","result":{}}`,
		`[{"jsonrpc":"2.0","id":"é","result":{}},{"jsonrpc":"2.0","id":2,"result":{"status":"success","data":{"a":"😀\n"}}}]`,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"data":{"offset":0}}}`,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32700}}`,
		`{"jsonrpc":"2.0","id":"é","result":{}}`,
	}
	for _, framing := range []struct {
		name, in string
		read     func(*client) string
	}{
		{"lines", in, (*client).line},
		{"headers", "content-LENGTH: 2\r\n\r\n[]Content-Type: x\r\n" + framed(ping) + framed("{oops") + framed("  "+ping), (*client).readFramed},
	} {
		t.Run(framing.name, func(t *testing.T) {
			want := want
			if framing.name == "headers" {
				want = []string{`{"id":null,"error":{"code":-32600}}`, want[0], want[3], want[0]}
			}
			for at := range len(framing.in) {
				c := d.dial(t)
				c.send(framing.in[:at])
				c.send(framing.in[at:])
				for _, w := range want {
					if got := framing.read(c); !like(parse(t, got), parse(t, w)) {
						t.Fatalf("split at %d: %s, want %s", at, got, w)
					}
				}
				c.close()
			}
			c := d.dial(t)
			for i := range len(framing.in) {
				c.send(framing.in[i : i+1])
			}
			for _, w := range want {
				if got := framing.read(c); !like(parse(t, got), parse(t, w)) {
					t.Fatalf("byte by byte: %s, want %s", got, w)
				}
			}
		})
	}
}

// TestTruncatedAtEveryByte: a client that stops in the middle and closes its side is told, whatever it was about to say.
func TestTruncatedAtEveryByte(t *testing.T) {
	d := start(t)
	for _, in := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"daemon.ping","params":{"a":[1.5e3,true,"\u00e9é"]}}`,
		"Content-Length: 47\r\n\r\n" + `{"jsonrpc":"2.0","id":1,"method":"daemon.ping"}`,
	} {
		for at := 1; at < len(in); at++ {
			c := d.dial(t)
			c.send(in[:at])
			c.closeWrite()
			got := c.rest()
			if strings.Count(got, `"code":-32700`) != 1 || strings.Count(got, "jsonrpc") != 1 {
				t.Errorf("%q is answered %q", in[:at], got)
			}
			c.close()
		}
	}
}

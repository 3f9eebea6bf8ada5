package rpc_test

import (
	"fmt"
	"strings"
	"testing"
)

const (
	framedPing = `{"jsonrpc":"2.0","id":1,"method":"daemon.ping"}`
	framedPong = `{"jsonrpc":"2.0","id":1,"result":{}}`
)

// TestHeadersAreUnderstood: what may stand before a body. The answer begins with Content-Length and has no other header.
func TestHeadersAreUnderstood(t *testing.T) {
	d := start(t)
	n := len(framedPing)
	for name, headers := range map[string]string{
		"as LSP has it":           fmt.Sprintf("Content-Length: %d\r\n\r\n", n),
		"lower case":              fmt.Sprintf("content-length: %d\r\n\r\n", n),
		"upper case":              fmt.Sprintf("CONTENT-LENGTH: %d\r\n\r\n", n),
		"mixed case":              fmt.Sprintf("cOnTeNt-LeNgTh: %d\r\n\r\n", n),
		"type before":             fmt.Sprintf("Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: %d\r\n\r\n", n),
		"type after":              fmt.Sprintf("Content-Length: %d\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n", n),
		"no space":                fmt.Sprintf("Content-Length:%d\r\n\r\n", n),
		"many spaces":             fmt.Sprintf("Content-Length:  \t %d  \r\n\r\n", n),
		"space before the colon":  fmt.Sprintf("Content-Length : %d\r\n\r\n", n),
		"newlines alone":          fmt.Sprintf("Content-Length: %d\n\n", n),
		"leading zeros":           fmt.Sprintf("Content-Length: 00%d\r\n\r\n", n),
		"twice the same":          fmt.Sprintf("Content-Length: %d\r\nContent-Length: %d\r\n\r\n", n, n),
		"unknown headers":         fmt.Sprintf("Content-Length: %d\r\nX-Y: z\r\nContent-Encoding:\r\n\r\n", n),
		"blank lines before":      fmt.Sprintf("\r\n\r\nContent-Length: %d\r\n\r\n", n),
		"as many as there may be": fmt.Sprintf("Content-Length: %d\r\n%s\r\n", n, strings.Repeat("X: y\r\n", 2000)),
	} {
		t.Run(name, func(t *testing.T) {
			c := d.dial(t)
			for range 2 {
				c.send(headers, framedPing)
				if got := c.readFramed(); got != framedPong {
					t.Errorf("got %s", got)
				}
			}
		})
	}
}

// TestBodies: a body costs itself alone, whatever is in it, since its length is known.
func TestBodies(t *testing.T) {
	d := start(t)
	for _, b := range []struct{ name, body, want string }{
		{"white space around", "\r\n\t " + framedPing + " \r\n", framedPong},
		{"batch behind white space", "\n[" + framedPing + "]", "[" + framedPong + "]"},
		{"newlines inside", "{\n\"jsonrpc\":\"2.0\",\r\n\"id\":1,\n\"method\":\"daemon.ping\"}", framedPong},
		{"empty", "", `{"id":null,"error":{"code":-32700}}`},
		{"white space alone", "   ", `{"id":null,"error":{"code":-32700}}`},
		{"garbage", "Content-Length: 3\r\n\r\n", `{"id":null,"error":{"code":-32700}}`},
		{"two messages", framedPing + framedPing, `{"id":null,"error":{"code":-32700}}`},
		{"cut off", framedPing[:20], `{"id":null,"error":{"code":-32700}}`},
		{"scalar", "1", `{"id":null,"error":{"code":-32600}}`},
		{"invalid UTF-8", "\"\xff\"", `{"id":null,"error":{"code":-32700}}`},
		{"no request", `{"id":7}`, `{"id":7,"error":{"code":-32600}}`},
		{"too long", `{"id":7,"a":"` + strings.Repeat("x", 2<<20) + `"}`, `{"id":7,"error":{"code":-32600}}`},
		{"too long by white space", `{"id":7}` + strings.Repeat(" ", 2<<20), `{"id":7,"error":{"code":-32600}}`},
		{"too long and no JSON", `{"id":7,` + strings.Repeat("x", 2<<20), `{"id":null,"error":{"code":-32600}}`},
	} {
		t.Run(b.name, func(t *testing.T) {
			c := d.dial(t)
			c.send(framed(framedPing))
			c.readFramed()
			c.send(framed(b.body))
			if got := c.readFramed(); !like(parse(t, got), parse(t, b.want)) {
				t.Errorf("got %s, want %s", got, b.want)
			}
			c.send(framed(framedPing))
			if got := c.readFramed(); got != framedPong {
				t.Errorf("then %s", got)
			}
		})
	}
}

// TestHeaderFaults: without a length nothing behind the headers can be found. One answer says so, then the daemon closes.
func TestHeaderFaults(t *testing.T) {
	d := start(t)
	for name, in := range map[string]string{
		"none":            "Content-Type: x\r\n\r\n" + framedPing,
		"negative":        "Content-Length: -1\r\n\r\n",
		"signed":          "Content-Length: +47\r\n\r\n" + framedPing,
		"no number":       "Content-Length: many\r\n\r\n",
		"empty":           "Content-Length:\r\n\r\n",
		"fraction":        "Content-Length: 4.7\r\n\r\n",
		"hexadecimal":     "Content-Length: 0x2f\r\n\r\n",
		"beyond 64 bits":  "Content-Length: 99999999999999999999\r\n\r\n",
		"two lengths":     "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"list":            "Content-Length: 2, 3\r\n\r\n{}",
		"no colon":        "Content-Length 47\r\n\r\n" + framedPing,
		"far too long":    "Content-Length: 1000000000\r\n\r\n",
		"endless line":    "Content-Length: " + strings.Repeat("1", 17<<10),
		"endless headers": "Content-Length: 47\r\n" + strings.Repeat("X: y\r\n", 4<<10),
		"HTTP response":   "Content-Type: text/html\r\n<html>\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := d.dial(t)
			c.send(in)
			got := c.readFramed()
			want := `{"id":null,"error":{"code":-32700}}`
			if name == "far too long" {
				want = `{"id":null,"error":{"code":-32600,"data":{"limit":1048576}}}`
			}
			if !like(parse(t, got), parse(t, want)) {
				t.Errorf("got %s, want %s", got, want)
			}
			c.wantClosed()
		})
	}
	d.dial(t).ping()
}

// TestLengthsThatLie: too small a length makes the rest of the body the next headers, too large a one takes the next
// message's bytes.
func TestLengthsThatLie(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	c.send("Content-Length: 40\r\n\r\n" + framedPing)
	if got := c.readFramed(); !strings.Contains(got, `"code":-32700`) {
		t.Errorf("too small: %s", got)
	}
	c.send("\r\n\r\n")
	if got := c.readFramed(); !strings.Contains(got, "no header") {
		t.Errorf("too small: then %s", got)
	}
	c.wantClosed()

	c = d.dial(t)
	c.send("Content-Length: 50\r\n\r\n" + framedPing)
	c.closeWrite()
	if got := c.readFramed(); !strings.Contains(got, "unexpected end of input") {
		t.Errorf("too large: %s", got)
	}
	c.wantClosed()
}

// TestStreamWithHeaders: chunks come behind headers, too.
func TestStreamWithHeaders(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	c.send(framed(`{"jsonrpc":"2.0","id":1,"method":"execute","params":{"plugin_name":"spell","stream":true}}`))
	for _, want := range []string{
		`{"jsonrpc":"2.0","method":"stream.chunk","params":{"job_id":"job-1","request_id":1,"seq":0,"chunk":"h","is_final":false,"metadata":{}}}`,
		`{"jsonrpc":"2.0","method":"stream.chunk","params":{"job_id":"job-1","request_id":1,"seq":1,"chunk":"i","is_final":false,"metadata":{}}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"job_id":"job-1","status":"success","data":{},"chunks":2}}`,
	} {
		if got := c.readFramed(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

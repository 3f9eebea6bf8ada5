package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"supervisord/protocol/jsonscan"
)

// idKeys has other names around the wanted one, as the keys of a request have.
var idKeys = jsonscan.NewKeys("jsonrpc", "id", "method")

const idKey = 1

// readID scans in as a reader does that stops storing: all of in[:stored] first, then windows of at most size new
// bytes.
func readID(t testing.TB, in []byte, stored, size int) (id []byte, st jsonscan.Status, err error) {
	t.Helper()
	var (
		s jsonscan.Scanner
		o jsonscan.Object
		c jsonscan.Capture
	)
	s.Reset(jsonscan.MaxDepth, idKeys, &o)
	buf := bytes.Clone(in[:stored])
	at, st := s.Scan(buf, 0)
	if st != jsonscan.More {
		return o.In(buf, idKey), st, s.Err()
	}
	c.Begin(&s, buf, at, idKey)
	rest := in[stored:]
	for st == jsonscan.More && len(rest) > 0 {
		kept := copy(buf, buf[at:])
		if kept > 5 {
			t.Fatalf("%q: %d bytes asked for again", in, kept)
		}
		n := min(size, len(rest))
		buf = append(buf[:kept], rest[:n]...)
		rest = rest[n:]
		at, st = s.Scan(buf, 0)
		// What has been scanned is gone: nothing may rest on it.
		for i := range at {
			buf[i] = '#'
		}
	}
	if st == jsonscan.More {
		st = s.AtEnd()
	}
	return c.Value(), st, s.Err()
}

// plainID is the id as encoding/json finds it: that of the one member whose name is id.
func plainID(in []byte) []byte {
	decoder := json.NewDecoder(bytes.NewReader(in))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil
	}
	var id json.RawMessage
	seen := 0
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		if decoder.Decode(&value) != nil {
			return nil
		}
		if name == "id" {
			id = value
			seen++
		}
	}
	if seen != 1 || len(id) > jsonscan.CaptureLimit {
		return nil
	}
	return id
}

var captureSamples = []string{
	`{"id":7,"params":{"id":1,"a":[{"id":2}]}}`,
	`{"jsonrpc":"2.0","method":"execute","params":{"id":1,"x":"\"id\":3"},"id":"a\"b"}`,
	`{"params":[[1,{"id":9}],"id"] , "id" : -1.5e+3 }`,
	`{"id":true,"id":null}`,
	`{"x":1,"id":1,"y":2,"\u0069d":2}`,
	`{"ID":1,"iD":2,"id":3}`,
	`{"i\u0064" : "é😀\u00e9"}`,
	`{"id":{"a":[1,"]}"],"id":5},"z":null}`,
	`{"id":[]}`, `{"id":""}`, `{"id":0}`, `{"id":null}`, `{}`, `{"":"id"}`, `{"idx":1,"xid":2}`,
	`["id",1,{"id":2}]`, `"id"`, `12`, `[{"id":1}]`, `  {"id" :1}`,
	`{"id":1`, `{"id":tru`, `{"id":1,}`, `{"id":1}}`, "{\"id\":\"\xff\"}", `{"a":1,"id":02}`, `{"a":"\x","id":1}`,
}

func TestCaptureAtEverySplit(t *testing.T) {
	for _, in := range captureSamples {
		_, whole := scan([]byte(in))
		for stored := range len(in) {
			for size := 1; size <= 9; size++ {
				id, st, err := readID(t, []byte(in), stored, size)
				// What follows a whole value is the next message here, and a fault to a scan of the whole.
				done := whole == nil || strings.Contains(whole.Error(), "bytes after the value")
				if done != (st == jsonscan.Done) || err != nil && err.Error() != whole.Error() {
					t.Fatalf("%s stored to %d, windows of %d: status %d, %v, whole: %v", in, stored, size, st, err, whole)
				}
				if want := plainID([]byte(in)); st == jsonscan.Done && string(id) != string(want) {
					t.Fatalf("%s stored to %d, windows of %d: id %q, want %q", in, stored, size, id, want)
				}
			}
		}
	}
}

// A value of CaptureLimit bytes is kept, a longer one is absent, and so is a name that only begins like the wanted one.
func TestCaptureIsBounded(t *testing.T) {
	long := strings.Repeat("x", jsonscan.CaptureLimit-2)
	huge := strings.Repeat("x", 100*jsonscan.CaptureLimit)
	for _, c := range []struct{ name, in, want string }{
		{"at the limit", `{"p":"` + huge + `","id":"` + long + `"}`, `"` + long + `"`},
		{"over the limit", `{"p":"` + huge + `","id":"` + long + `x"}`, ""},
		{"far over the limit", `{"id":"` + huge + `"}`, ""},
		{"after a huge name", `{"` + huge + `":1,"id":2}`, "2"},
		{"after a huge name that begins right", `{"id` + huge + `":1,"id":2}`, "2"},
		{"huge, then again", `{"id":"` + huge + `","id":2}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, stored := range []int{0, 1, 4, 5, 10, 1100, len(c.in) - 1} {
				for _, size := range []int{1, 1000, len(c.in)} {
					id, st, err := readID(t, []byte(c.in), min(stored, len(c.in)-1), size)
					if st != jsonscan.Done || string(id) != c.want {
						t.Errorf("stored to %d, windows of %d: status %d, %v, id %.40q, want %.40q", stored, size, st, err, id, c.want)
					}
				}
			}
		})
	}
}

// A Scanner that captured must be as good as new after Reset, and a Capture may Begin again.
func TestCaptureIsReused(t *testing.T) {
	var (
		s jsonscan.Scanner
		o jsonscan.Object
		c jsonscan.Capture
	)
	for _, in := range []string{`{"id":1,"a":[[2]]}`, `{"a":[[2]]}`, `{"a":3,"id":"x"}`} {
		s.Reset(8, idKeys, &o)
		at, _ := s.Scan([]byte(in)[:6], 0)
		c.Begin(&s, []byte(in)[:6], at, idKey)
		if _, st := s.Scan([]byte(in)[at:], 0); st != jsonscan.Done {
			t.Fatalf("%s: status %d, %v", in, st, s.Err())
		}
		if want := plainID([]byte(in)); string(c.Value()) != string(want) {
			t.Errorf("%s: id %q, want %q", in, c.Value(), want)
		}
		s.Reset(8, idKeys, &o)
		if _, st := s.Scan([]byte(in), 0); st != jsonscan.Done || string(o.In([]byte(in), idKey)) != string(plainID([]byte(in))) {
			t.Errorf("%s: after Reset: status %d, id %q", in, st, o.In([]byte(in), idKey))
		}
	}
}

func FuzzCapture(f *testing.F) {
	for _, in := range captureSamples {
		f.Add([]byte(in), uint16(3), uint8(2))
	}
	f.Add([]byte(`{"p":"`+strings.Repeat("x", 3000)+`","id":"`+strings.Repeat("y", 1100)+`"}`), uint16(1000), uint8(200))
	f.Fuzz(func(t *testing.T, in []byte, stored uint16, size uint8) {
		if len(in) == 0 || maxNesting(in) > jsonscan.MaxDepth {
			return
		}
		id, st, err := readID(t, in, int(stored)%len(in), 1+int(size))
		if !json.Valid(in) || !utf8.Valid(in) {
			return // it may still be a whole value and then something else
		}
		if st != jsonscan.Done || !bytes.Equal(id, plainID(in)) {
			t.Fatalf("%q stored to %d, windows of %d: status %d, %v, id %q, want %q", in, stored, size, st, err, id, plainID(in))
		}
	})
}

package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"

	"supervisord/protocol/jsonscan"
)

// FuzzScan: any bytes are valid for a Scanner exactly when they are for encoding/json and UTF-8, whether they are
// scanned whole or arrive in pieces.
func FuzzScan(f *testing.F) {
	for _, in := range append(samples, captureSamples...) {
		f.Add([]byte(in), uint16(3), uint8(2))
	}
	f.Fuzz(func(t *testing.T, in []byte, first uint16, step uint8) {
		if maxNesting(in) > jsonscan.MaxDepth {
			return
		}
		_, err := scan(in)
		if (err == nil) != (json.Valid(in) && utf8.Valid(in)) {
			t.Fatalf("scan(%q) = %v, encoding/json says %v", in, err, json.Valid(in))
		}
		var (
			s  jsonscan.Scanner
			o  jsonscan.Object
			at int
			st = jsonscan.More
		)
		s.Reset(jsonscan.MaxDepth, keys, &o)
		for have := min(int(first), len(in)); st == jsonscan.More; have = min(have+1+int(step), len(in)) {
			at, st = s.Scan(in[:have], at)
			if st == jsonscan.More && (at > have || have-at > 5) {
				t.Fatalf("%q: %d of %d bytes taken", in, at, have)
			}
			if st == jsonscan.More && have == len(in) {
				st, at = s.AtEnd(), have
			}
		}
		if valid := st == jsonscan.Done && len(bytes.Trim(in[at:], " \t\r\n")) == 0; valid != (err == nil) {
			t.Fatalf("%q in pieces: valid %v, whole: %v", in, valid, err)
		}
	})
}

// FuzzWalks: over what a Scanner has accepted, Members and Elements give what encoding/json gives, in order.
func FuzzWalks(f *testing.F) {
	for _, in := range append(samples, captureSamples...) {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := scan(in); err != nil {
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(in))
		decoder.UseNumber() // not every number fits a float64
		open, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for open == json.Delim('{') && decoder.More() {
			name, err := decoder.Token()
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, name.(string), next(t, decoder))
		}
		for open == json.Delim('[') && decoder.More() {
			want = append(want, next(t, decoder))
		}
		for m := jsonscan.NewMembers(in); ; {
			raw, value, ok := m.Next()
			if !ok {
				break
			}
			name, err := jsonscan.Unquote(raw)
			if err != nil {
				t.Fatalf("Unquote(%q) = %v", raw, err)
			}
			got = append(got, name, string(value))
		}
		for e := jsonscan.NewElements(in); ; {
			value, ok := e.Next()
			if !ok {
				break
			}
			got = append(got, string(value))
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("walks over %q give %q, want %q", in, got, want)
		}
		line := jsonscan.AppendLine(nil, in)
		if bytes.ContainsAny(line, "\r\n") || len(line) != len(in) {
			t.Fatalf("AppendLine(%q) = %q", in, line)
		}
	})
}

func next(t *testing.T, decoder *json.Decoder) string {
	t.Helper()
	var value json.RawMessage
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	return string(value)
}

func maxNesting(b []byte) (deepest int) {
	depth := 0
	for _, c := range b {
		switch c {
		case '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ']', '}':
			depth--
		}
	}
	return deepest
}

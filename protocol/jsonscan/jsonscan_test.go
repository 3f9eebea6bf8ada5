package jsonscan_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"supervisord/protocol/jsonscan"
)

var keys = jsonscan.NewKeys("type", "job_id", "stream", "k")

func scan(b []byte) (*jsonscan.Object, error) {
	var (
		s jsonscan.Scanner
		o jsonscan.Object
	)
	return &o, o.Scan(&s, b, keys, jsonscan.MaxDepth)
}

var samples = []string{
	`{}`, `[]`, `""`, `0`, `-0`, `1.5e-7`, `true`, `false`, `null`, `{"a":[1,2,{"b":null}]}`, ` {"type" : "x" , "job_id":"y"} `,
	`"\u00e9\ud83d\ude00 é😀 \\ \" \/ \b\f\n\r\t"`, `[[[[]]]]`, `{"":""}`, `[1,2.0,-3e5,0.1E+9]`, `1e999`, `[-1E-999]`,
	``, ` `, `{`, `}`, `[1,]`, `{"a":1,}`, `{"a"}`, `{a:1}`, `01`, `-`, `1.`, `.5`, `1e`, `1e+`, `+1`, `tru`, `truE`, `nul`, `"`, `"\x"`, `"\u12g4"`, `"\u12`,
	"\"\n\"", "\"\x00\"", "\"\xff\"", "\"\xc3\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xc0\xaf\"", `1 2`, `{} {}`, `[1 2]`, `{"a" 1}`, "\ufeff{}", `NaN`, `Infinity`, `'a'`, `{"a":1 "b":2}`, `[,]`,
	`{"long":"` + strings.Repeat("abcdefgh", 40) + `\u0041é"}`,
}

// The recogniser must agree with encoding/json on everything but UTF-8, where it is stricter.
func TestAgreesWithEncodingJSON(t *testing.T) {
	for _, in := range samples {
		_, err := scan([]byte(in))
		want := json.Valid([]byte(in)) && utf8.ValidString(in)
		if (err == nil) != want {
			t.Errorf("scan(%q) = %v, want valid %v", in, err, want)
		}
	}
}

// A value that arrives in pieces must end where it ends when it arrives whole, and fail if it fails whole.
func TestScanInPieces(t *testing.T) {
	for _, in := range samples {
		_, whole := scan([]byte(in))
		for cut := range len(in) {
			var (
				s jsonscan.Scanner
				o jsonscan.Object
			)
			s.Reset(jsonscan.MaxDepth, keys, &o)
			at, st := s.Scan([]byte(in)[:cut], 0)
			if st == jsonscan.More {
				if cut-at > 5 {
					t.Fatalf("%q cut at %d: asks to see %d bytes again", in, cut, cut-at)
				}
				at, st = s.Scan([]byte(in), at)
			}
			if st == jsonscan.More {
				st = s.AtEnd()
				at = len(in)
			}
			valid := st == jsonscan.Done && strings.TrimSpace(in[at:]) == ""
			if valid != (whole == nil) {
				t.Errorf("%q cut at %d: valid %v, whole %v", in, cut, valid, whole)
			}
		}
	}
}

func TestDepth(t *testing.T) {
	var (
		s jsonscan.Scanner
		o jsonscan.Object
	)
	deep := strings.Repeat("[", 64) + strings.Repeat("]", 64)
	if err := o.Scan(&s, []byte(deep), keys, 64); err != nil {
		t.Error(err)
	}
	if err := o.Scan(&s, []byte(deep), keys, 63); err == nil || !strings.Contains(err.Error(), "nested too deep") {
		t.Errorf("64 levels within 63: %v", err)
	}
}

func TestObjectSpansAndFaults(t *testing.T) {
	for _, c := range []struct {
		in    string
		fault jsonscan.Fault
		key   int
		typ   string
	}{
		{`{"type":"a","other":{"type":"b"},"job_id": "x" }`, jsonscan.NoFault, -1, `"a"`},
		{`{"type":{"a":[1,2]} ,"type2":1}`, jsonscan.NoFault, -1, `{"a":[1,2]}`},
		{`{"typ\u0065":1}`, jsonscan.NoFault, -1, `1`},
		{`{"type":1,"type":2}`, jsonscan.Duplicate, 0, `1`},
		{`{"type":1,"t\u0079pe":2}`, jsonscan.Duplicate, 0, `1`},
		{`{"TYPE":1}`, jsonscan.CaseVariant, 0, ""},
		{`{"\u017ftream":1}`, jsonscan.CaseVariant, 2, ""},
		{`{"ſtream":1}`, jsonscan.CaseVariant, 2, ""},
		{`{"\u212a":1}`, jsonscan.CaseVariant, 3, ""},
		{`{"typ\\u0065":1,"k\\":2}`, jsonscan.NoFault, -1, ""}, // a backslash in the name, not an escape
		{`["type",1]`, jsonscan.NoFault, -1, ""},
	} {
		o, err := scan([]byte(c.in))
		if err != nil {
			t.Fatal(err)
		}
		if f, k := o.Fault(); f != c.fault || k != c.key {
			t.Errorf("%s: fault %d of key %d, want %d of %d", c.in, f, k, c.fault, c.key)
		}
		if got := string(o.Value(0)); got != c.typ {
			t.Errorf("%s: type is %s, want %s", c.in, got, c.typ)
		}
		if o.IsObject() != (c.in[0] == '{') {
			t.Errorf("%s: IsObject %v", c.in, o.IsObject())
		}
	}
}

func TestWalks(t *testing.T) {
	in := []byte(` { "a" : "x\\\"y" , "b\"":[1,{"c":"]"}],"d":-1.5e3 ,"e":{} } `)
	var got []string
	for m := jsonscan.NewMembers(in); ; {
		name, value, ok := m.Next()
		if !ok {
			break
		}
		got = append(got, string(name)+"="+string(value))
	}
	want := `a="x\\\"y" b\"=[1,{"c":"]"}] d=-1.5e3 e={}`
	if s := strings.Join(got, " "); s != want {
		t.Errorf("members %s, want %s", s, want)
	}
	got = nil
	for e := jsonscan.NewElements([]byte(`[ 1 ,"a,b", [2,3],{"x":4} , null]`)); ; {
		v, ok := e.Next()
		if !ok {
			break
		}
		got = append(got, string(v))
	}
	if s := strings.Join(got, " "); s != `1 "a,b" [2,3] {"x":4} null` {
		t.Errorf("elements %s", s)
	}
}

func TestAppendLine(t *testing.T) {
	got := jsonscan.AppendLine([]byte("x\n"), []byte("{\r\n \"a\": 1\n}"))
	if string(got) != "x\n{   \"a\": 1 }" {
		t.Errorf("%q", got)
	}
}

func TestNewlineBetweenTokens(t *testing.T) {
	for in, want := range map[string]bool{
		`{"a":[1, 2],"b":"\n"}`: false, "{\"a\":\n1}": true, "{\"a\":1,\r\"b\":2}": true, "[\n]": true, `{ "a" : "x" }`: false,
	} {
		var s jsonscan.Scanner
		for range 2 { // Reset forgets it
			s.Reset(8, nil, nil)
			if _, status := s.Scan([]byte(in), 0); status != jsonscan.Done || s.Newline() != want {
				t.Errorf("%q: status %d, newline %t, want %t", in, status, s.Newline(), want)
			}
		}
	}
}

package jsonscan_test

import (
	"encoding/json"
	"strings"
	"testing"

	"supervisord/protocol/jsonscan"
)

// BenchmarkScan stands beside what encoding/json takes to validate the same bytes, without finding where members lie.
// Aimed at: at most 1.5 times as much for a megabyte.
func BenchmarkScan(b *testing.B) {
	big := func(open, piece, end string) []byte {
		return []byte(`{"jsonrpc":"2.0","id":1,"params":` + open + strings.Repeat(piece, 1<<20/len(piece)) + end + `}`)
	}
	for _, c := range []struct {
		name string
		in   []byte
	}{
		{"100B", []byte(`{"jsonrpc":"2.0","id":12345,"method":"execute","params":{"plugin_name":"echo","params":{"text":"hello"}}}`)},
		{"1MiB-text", big(`"`, "the quick brown fox ", `"`)},
		{"1MiB-lines", big(`"`, `func f() { return \"x\" }\n`, `"`)},
		{"1MiB-unicode", big(`"`, "naïve 漢字 Ωμέγα 😀 ", `"`)},
		{"1MiB-values", big(`[`, `{"a":1.5,"b":"x"},`, `0]`)},
		{"1MiB-numbers", big(`[`, `-0.0123456,`, `0]`)},
	} {
		b.Run(c.name+"/Scanner", func(b *testing.B) {
			var (
				s jsonscan.Scanner
				o jsonscan.Object
			)
			b.SetBytes(int64(len(c.in)))
			b.ReportAllocs()
			for b.Loop() {
				if err := o.Scan(&s, c.in, keys, 64); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/json.Valid", func(b *testing.B) {
			b.SetBytes(int64(len(c.in)))
			b.ReportAllocs()
			for b.Loop() {
				if !json.Valid(c.in) {
					b.Fatal("not valid")
				}
			}
		})
	}
}

// BenchmarkMembers walks the members of a message that was scanned before.
func BenchmarkMembers(b *testing.B) {
	in := []byte(`{"plugin_name":"echo","params":{"text":"` + strings.Repeat("hello ", 20) + `"},"stream":true,"priority":1}`)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for m := jsonscan.NewMembers(in); ; n++ {
			if _, _, ok := m.Next(); !ok {
				break
			}
		}
		if n != 4 {
			b.Fatal(n)
		}
	}
}

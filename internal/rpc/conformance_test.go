package rpc_test

import (
	"bytes"
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

const vectors = "../../protocol/testdata/conformance"

// TestConformance sends what a client sends, then a ping on a line of its own, and closes its side: all the lines of the
// daemon have to come, in any order, and the ping's answer, and nothing else.
func TestConformance(t *testing.T) {
	d := start(t)
	paths, err := filepath.Glob(filepath.Join(vectors, "rpc-*.txtar"))
	if err != nil || len(paths) < 2 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		inputs := map[string][]byte{}
		for _, file := range archive.Files {
			stem, ext, _ := strings.Cut(file.Name, ".")
			switch ext {
			case "client":
				inputs[stem] = file.Data
			case "hex":
				if inputs[stem], err = hex.DecodeString(string(bytes.Join(bytes.Fields(file.Data), nil))); err != nil {
					t.Fatalf("%s: %s: %v", path, file.Name, err)
				}
			case "daemon":
				input, ok := inputs[stem]
				if !ok {
					t.Fatalf("%s: %s without what the client sends", path, file.Name)
				}
				t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar")+"/"+stem, func(t *testing.T) {
					c := d.dial(t)
					c.send(string(input), call(`"still there"`, "daemon.ping", ""))
					c.closeWrite()
					got := strings.Split(strings.TrimSuffix(c.rest(), "\n"), "\n")
					want := strings.Split(strings.TrimSpace(string(file.Data)), "\n")
					if want[0] == "" {
						want = nil
					}
					matchLines(t, got, append(want, `{"jsonrpc":"2.0","id":"still there","result":{}}`))
				})
			default:
				t.Fatalf("%s: unknown kind of file %s", path, file.Name)
			}
		}
	}
}

// matchLines finds a line of got for each one of want.
func matchLines(t *testing.T, got, want []string) {
	t.Helper()
	for _, w := range want {
		found := false
		for i, g := range got {
			if found = like(parse(t, g), parse(t, w)); found {
				got = append(got[:i:i], got[i+1:]...)
				break
			}
		}
		if !found {
			t.Errorf("no answer like %s", w)
		}
	}
	for _, g := range got {
		t.Errorf("not wanted: %s", g)
	}
}

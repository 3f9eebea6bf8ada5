package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"

	"supervisord/internal/config"
)

// keysIn returns the keys of a file as Keys writes them, each with a line that it stands in.
func keysIn(t *testing.T, text []byte) map[string][]int {
	t.Helper()
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	keys := map[string][]int{}
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		switch n.Kind {
		case yaml.SequenceNode:
			for _, c := range n.Content {
				walk(c, path+"[]")
			}
		case yaml.MappingNode:
			for i := 0; i < len(n.Content); i += 2 {
				at := strings.TrimPrefix(path+"."+n.Content[i].Value, ".")
				keys[at] = append(keys[at], n.Content[i].Line)
				if !strings.HasSuffix(at, ".config") {
					walk(n.Content[i+1], at)
				}
			}
		case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
		}
	}
	walk(document.Content[0], "")
	return keys
}

// The one file sets every key that works and the other every one that does not, all to other values than the default:
// the first gives no note, the second one for each.
func TestNotYet(t *testing.T) {
	archive, err := txtar.ParseFile(filepath.Join("testdata", "notyet.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) []byte {
		i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == name })
		if i < 0 {
			t.Fatalf("no file %s", name)
		}
		return archive.Files[i].Data
	}
	if notes := mustLoad(t, string(file("works.yaml"))).NotYet(); notes != nil {
		t.Errorf("notes about keys that work: %v", notes)
	}
	var notes strings.Builder
	for _, p := range mustLoad(t, string(file("not-yet.yaml"))).NotYet() {
		notes.WriteString(p.Text("config.yaml") + "\n")
	}
	if *update {
		for i := range archive.Files {
			if archive.Files[i].Name == "notes" {
				archive.Files[i].Data = []byte(notes.String())
			}
		}
		if err := os.WriteFile(filepath.Join("testdata", "notyet.txtar"), txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if want := string(file("notes")); notes.String() != want {
		t.Errorf("got\n%swant\n%s", notes.String(), want)
	}

	works, waits := keysIn(t, file("works.yaml")), keysIn(t, file("not-yet.yaml"))
	for _, key := range config.Keys() {
		within := func(k string) bool { return key == k || strings.HasPrefix(key, k+"[]") }
		if slices.ContainsFunc(config.KeysNotYet, within) {
			if waits[key] == nil || works[key] != nil {
				t.Errorf("%s has no effect yet: it belongs into not-yet.yaml and not into works.yaml", key)
			}
		} else if works[key] == nil {
			t.Errorf("%s works: it belongs into works.yaml", key)
		}
	}
	for _, entry := range config.KeysNotYet {
		if key, _, _ := strings.Cut(entry, "="); !slices.Contains(config.Keys(), key) {
			t.Errorf("%s is no key", key)
		}
	}
}

func TestNotYetWithoutLine(t *testing.T) {
	if notes := config.Default().NotYet(); notes != nil {
		t.Errorf("notes about the default: %v", notes)
	}
	c := mustLoad(t, "version: 1\nmetrics:\n  listen: localhost:1\nlog: {format: console}\njobs: {keep_finished: 1000}\n", func(o *config.LoadOptions) {
		o.Env = env(map[string]string{"SUPERVISORD_METRICS_LISTEN": "localhost:2", "SUPERVISORD_LOG_FORMAT": "journal"})
	})
	// No line is to blame for a value from a variable; one that is written out and is the default gives no note.
	equal(t, "notes", c.NotYet(), []config.Problem{
		{Path: "log.format", Message: `"journal" has no effect in this version`},
		{Path: "metrics.listen", Message: "has no effect in this version"},
	})
}

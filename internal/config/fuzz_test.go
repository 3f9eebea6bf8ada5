package config_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/tools/txtar"

	"supervisord/internal/config"
)

// Whatever a file holds, it is valid and stays so, or it is not and says why.
func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	archives, err := filepath.Glob(filepath.Join("testdata", "*", "*.txtar"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range append(archives, filepath.Join("testdata", "notyet.txtar")) {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if filepath.Ext(file.Name) == ".yaml" {
				f.Add(file.Data)
			}
		}
	}
	path := filepath.Join(f.TempDir(), "config.yaml")
	options := config.LoadOptions{Path: path, Env: env(nil), EUID: user}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(options)
		again, errAgain := config.Load(options)
		if !reflect.DeepEqual(c, again) || !reflect.DeepEqual(err, errAgain) {
			t.Fatalf("two loads differ: %v and %v, %v and %v", c, again, err, errAgain)
		}
		if err == nil {
			checkValid(t, c)
			return
		}
		invalid, ok := errors.AsType[*config.ValidationError](err)
		if !ok || len(invalid.Problems) == 0 {
			t.Fatalf("got %v, want a *ValidationError", err)
		}
		for _, p := range invalid.Problems {
			if text := p.Text("f"); !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
				t.Fatalf("a message that is no plain text: %q", text)
			}
		}
		checkUsable(t, invalid.Usable, user)
	})
}

// checkValid tests what holds for every configuration that was loaded.
func checkValid(t *testing.T, c *config.Config) {
	t.Helper()
	if problems := config.Validate(c, user); problems != nil {
		t.Fatalf("a loaded configuration has problems: %v", problems)
	}
	if !reflect.DeepEqual(config.Diff(c, c), config.Changes{}) {
		t.Fatal("it differs from itself")
	}
	for _, pool := range c.Pools {
		for _, plugin := range pool.Plugins {
			var members map[string]json.RawMessage
			if err := json.Unmarshal(plugin.Config, &members); err != nil || members == nil {
				t.Fatalf("a plugin's config is no JSON object: %s", plugin.Config)
			}
		}
	}
	c.Digest()
	c.NotYet()
}

package config_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"supervisord/internal/config"
	"supervisord/protocol"
)

// user is who the daemon runs as where a test says nothing else.
const user = 1000

// env looks variables up in a map, and so keeps the environment of the test out.
func env(variables map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	}
}

// write makes a file in a directory of its own.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load loads a file that holds text, without variables and flags unless edit gives some.
func load(t *testing.T, text string, edit ...func(*config.LoadOptions)) (*config.Config, error) {
	t.Helper()
	options := config.LoadOptions{Path: write(t, "config.yaml", text), Env: env(nil), EUID: user}
	for _, e := range edit {
		e(&options)
	}
	return config.Load(options)
}

func mustLoad(t *testing.T, text string, edit ...func(*config.LoadOptions)) *config.Config {
	t.Helper()
	c, err := load(t, text, edit...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mustFail loads a file that is not valid.
func mustFail(t *testing.T, text string, edit ...func(*config.LoadOptions)) *config.ValidationError {
	t.Helper()
	c, err := load(t, text, edit...)
	invalid, ok := errors.AsType[*config.ValidationError](err)
	if c != nil || !ok {
		t.Fatalf("got %v and %v, want a *ValidationError", c, err)
	}
	return invalid
}

// equal compares what the exported fields of two values hold.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	g, errGot := json.MarshalIndent(got, "", "  ")
	w, errWant := json.MarshalIndent(want, "", "  ")
	if err := errors.Join(errGot, errWant); err != nil {
		t.Fatal(err)
	}
	if string(g) != string(w) {
		t.Errorf("%s: got\n%s\nwant\n%s", what, g, w)
	}
}

// A loaded configuration depends on nothing but what it was loaded from.
func TestLoadTwice(t *testing.T) {
	options := config.LoadOptions{Path: filepath.Join("..", "..", "config.example.yaml"), Env: env(nil), EUID: user}
	first, err := config.Load(options)
	if err != nil {
		t.Fatal(err)
	}
	// A load of something else in between leaves nothing behind.
	mustLoad(t, "version: 1\nlog: {level: debug}\npools: [{name: other, command: [x]}]\n")
	second, err := config.Load(options)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(first, second) {
		equal(t, "the second load", second, first)
		t.Error("the two differ")
	}
	if first.Digest() != second.Digest() {
		t.Error("the digests differ")
	}
	// Changing what one load returned changes neither the next one nor the defaults.
	first.Pools[0].InheritEnv[0], first.Pools[0].Env[0], first.Access[0].Users[0] = "x", "x", "x"
	third, err := config.Load(options)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(second, third) {
		t.Error("a change of the first load's result shows in the third's")
	}
	if config.DefaultPool().InheritEnv[0] != "PATH" {
		t.Error("a change of a loaded pool shows in DefaultPool")
	}
}

func TestSmallestFileIsDefault(t *testing.T) {
	c := mustLoad(t, "version: 1\n")
	equal(t, "version: 1 alone", c, config.Default())
	// Sections and lists without value or content are the same as none.
	c = mustLoad(t, "version: 1\nsocket:\nlimits: {}\naccess: []\nlog: ~\njobs:\nresources:\npools: []\n")
	equal(t, "empty sections", c, config.Default())
	if c.Access != nil || c.Resources != nil || c.Pools != nil {
		t.Error("an empty list is not the same value as none")
	}
	if problems := config.Validate(config.Default(), 0); problems != nil {
		t.Errorf("the default has problems: %v", problems)
	}
}

// What a file says about a pool is laid over its defaults, lists included.
func TestPoolOverDefaults(t *testing.T) {
	c := mustLoad(t, `
version: 1
pools:
  - {name: shorter, command: [x], inherit_env: [PATH], max_queue_wait: 1500ms}
  - {name: none, command: [x], inherit_env: [], min_workers: 0, cancel_grace: 0, restart_reset: 0s, plugins: []}
  - {name: "null", command: [x], inherit_env: , plugins: [{name: p, config: , resources: }]}
  - {name: longer, command: [x], inherit_env: [A, B, C, D, E, F, G], directory: sub/../dir, cpu_limit: 2}
`)
	dir := filepath.Dir(c.File)
	pool := func(name string, edit func(*config.Pool)) config.Pool {
		p := config.DefaultPool()
		p.Name, p.Command, p.Directory = name, []string{"x"}, dir
		edit(&p)
		return p
	}
	equal(t, "pools", c.Pools, []config.Pool{
		pool("shorter", func(p *config.Pool) { p.InheritEnv, p.MaxQueueWait = []string{"PATH"}, 1500e6 }),
		pool("none", func(p *config.Pool) { p.InheritEnv, p.MinWorkers, p.CancelGrace, p.RestartReset = nil, 0, 0, 0 }),
		pool("null", func(p *config.Pool) {
			plugin := config.DefaultPlugin()
			plugin.Name = "p"
			p.Plugins = []config.Plugin{plugin}
		}),
		pool("longer", func(p *config.Pool) {
			p.InheritEnv, p.Directory, p.CPULimit = []string{"A", "B", "C", "D", "E", "F", "G"}, filepath.Join(dir, "dir"), 2
		}),
	})
}

func TestAliasesAndMergeKeys(t *testing.T) {
	c := mustLoad(t, `
version: 1
pools:
  - &base
    name: a
    command: &command [x, "{slot}"]
    max_workers: 4
    plugins: [{name: p, config: &config {Model: big, Options: {A: 1}}}]
  - <<: *base
    name: b
  - <<: [{max_workers: 2}, *base]
    name: c
    plugins:
      - name: q
        config: {<<: *config, Model: small, Again: *command, "<<": text, value: <<}
`)
	for i, want := range []struct {
		name       string
		maxWorkers int
		config     string
	}{
		{"a", 4, `{"Model":"big","Options":{"A":1}}`},
		{"b", 4, `{"Model":"big","Options":{"A":1}}`},
		{"c", 2, `{"Model":"small","Again":["x","{slot}"],"<<":"text","value":"<<","Options":{"A":1}}`},
	} {
		p := c.Pools[i]
		if p.Name != want.name || p.MaxWorkers != want.maxWorkers || string(p.Plugins[0].Config) != want.config {
			t.Errorf("pool %d: got %s, %d, %s, want %s, %d, %s", i, p.Name, p.MaxWorkers, p.Plugins[0].Config, want.name, want.maxWorkers, want.config)
		}
		equal(t, "command", p.Command, []string{"x", "{slot}"})
	}
}

// What pool.scale may ask for is what a file may.
func TestMaxWorkersIsTheProtocols(t *testing.T) {
	for n, want := range map[int]int{protocol.MaxPoolWorkers: 0, protocol.MaxPoolWorkers + 1: 1} {
		c := config.Default()
		pool := config.DefaultPool()
		pool.Name, pool.Command, pool.Directory, pool.MaxWorkers = "a", []string{"x"}, "/", n
		c.Pools = []config.Pool{pool}
		if problems := config.Validate(c, user); len(problems) != want {
			t.Errorf("%d: %v", n, problems)
		}
	}
}

func TestFileMode(t *testing.T) {
	for mode, want := range map[string]os.FileMode{"0660": 0o660, "600": 0o600, "0777": 0o777, "01777": 0, "rw": 0, "": 0} {
		if got := (config.Socket{Mode: mode}).FileMode(); got != want {
			t.Errorf("%q: got %o, want %o", mode, got, want)
		}
	}
}

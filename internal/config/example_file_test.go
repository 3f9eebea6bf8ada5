package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"supervisord/internal/config"
)

// exampleFile is the configuration that users begin with.
var exampleFile = filepath.Join("..", "..", "config.example.yaml")

// exampleConfig is what the example says: the defaults, and its samples.
func exampleConfig(dir string) *config.Config {
	text := config.DefaultPool()
	text.Name, text.Directory, text.AllowRoot = "text", dir, true
	text.Command = []string{"python3", "examples/text/worker.py"}
	text.Env = []string{"PYTHONUNBUFFERED=1", "PYTHONPATH=sdk/python"}
	for _, name := range []string{"word_count", "reverse", "uppercase", "slow", "stream_words"} {
		plugin := config.DefaultPlugin()
		plugin.Name = name
		text.Plugins = append(text.Plugins, plugin)
	}
	transcribe := config.DefaultPool()
	transcribe.Name, transcribe.Directory, transcribe.AllowRoot, transcribe.MinWorkers = "transcribe", dir, true, 0
	transcribe.Command = []string{"/usr/bin/python3", "examples/transcribe/worker.py"}
	transcribe.Env = text.Env
	plugin := config.DefaultPlugin()
	plugin.Name = "transcribe"
	transcribe.Plugins = []config.Plugin{plugin}

	c := config.Default()
	c.Access = []config.AccessRule{
		{Users: []string{"root", "1000"}, Methods: []string{"*"}},
		{Users: []string{"*"}, Methods: []string{
			"execute", "job.*", "plugin.list", "pool.list", "pool.get", "worker.list", "worker.get_state", "event.*",
			"daemon.info", "daemon.status", "daemon.ping", "rpc.discover",
		}},
	}
	c.Pools = []config.Pool{text, transcribe}
	return c
}

func readExample(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// commentedOut matches a line of a sample that is commented out: prose has a space after the #, and one alone.
var commentedOut = regexp.MustCompile(`(?m)^( *)#(\S|  +\S)`)

// uncommented is the example with the samples that are commented out.
func uncommented(t *testing.T) string {
	t.Helper()
	return commentedOut.ReplaceAllString(readExample(t), "$1$2")
}

func TestExampleIsTheDefaultAndItsSamples(t *testing.T) {
	for _, euid := range []int{user, 0} {
		c, err := config.Load(config.LoadOptions{Path: exampleFile, Env: env(nil), EUID: euid})
		if err != nil {
			t.Fatal(err)
		}
		want := exampleConfig(filepath.Dir(c.File))
		if euid == 0 {
			want.Access[0].Users[1] = "0"
		}
		equal(t, "the example", c, want)
		if notes := c.NotYet(); notes != nil {
			t.Errorf("the example promises what this version has not: %v", notes)
		}
	}
}

func TestExampleWithAllSamples(t *testing.T) {
	c := mustLoad(t, uncommented(t))
	want := exampleConfig(filepath.Dir(c.File))
	want.Resources = []config.Resource{{Name: "model_memory", Capacity: 4 << 30}}
	transcribe := &want.Pools[1]
	transcribe.Resources = []config.ResourceAmount{{Name: "model_memory", Amount: 128 << 20}}
	transcribe.Plugins[0].Resources = []config.ResourceAmount{{Name: "model_memory", Amount: 512 << 20}}
	transcribe.IdleTimeout = 600e9
	equal(t, "the example", c, want)
}

func TestExampleHasEveryKey(t *testing.T) {
	text := uncommented(t)
	lines := strings.Split(text, "\n")
	keys := keysIn(t, []byte(text))
	for _, key := range config.Keys() {
		if keys[key] == nil {
			t.Errorf("%s is not in the example", key)
		}
		for _, number := range keys[key] {
			line := lines[number-1]
			// Either the key or one of its values has no effect yet, or neither.
			marked := strings.Contains(line, "(not yet)")
			pending := slices.ContainsFunc(config.KeysNotYet, func(k string) bool { return k == key || strings.HasPrefix(k, key+"=") })
			if marked != pending {
				t.Errorf("line %d: %s: marked as (not yet): %v, without effect: %v", number, key, marked, pending)
			}
		}
	}
}

// The values of the file are compared by decoding it. Beside them stand the defaults of those keys whose value is a
// sample, in words, and those of choices.
func TestExampleTellsDefaultsOfSamples(t *testing.T) {
	text := readExample(t)
	if pool := config.DefaultPool(); pool.AllowRoot || pool.Env != nil || pool.Plugins != nil || config.Default().Access != nil ||
		config.Default().Pools != nil || config.Default().Resources != nil {
		t.Error("the defaults of samples have changed: change the example's comments, and this test")
	}
	for _, comment := range []string{
		`(?m)^    allow_root: true +# default: false\.`,
		`(?m)^    env: .*# .*Default: \[\]$`,
		`(?m)^    plugins: +# .*; default: \[\],`,
		`(?m)^# is denied\. Default: no rules`,
		`(?m)^# Default: none\. A pool`,
		`(?m)^# Budgets .* Default: none\.\n#resources:`,
		`(?m)^    inherit_env: \[PATH, HOME, LANG, LC_ALL, TZ\]`,
	} {
		if !regexp.MustCompile(comment).MatchString(text) {
			t.Errorf("the example has nothing like %s", comment)
		}
	}
	for key, values := range map[string]string{
		"level": "debug, info, warn, error", "format": "auto, json, console; (not yet) journal", "store": "(not yet) where jobs are kept: memory",
		"replace": "before, after", "restart_policy": "never, on_cancellation, always, backoff",
	} {
		if !regexp.MustCompile(`(?m)^ +` + key + `: .*# ` + regexp.QuoteMeta(values)).MatchString(text) {
			t.Errorf("the example does not give the values of %s as %s", key, values)
		}
	}
}

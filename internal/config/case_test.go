package config_test

import (
	"encoding/json"
	"testing"

	"github.com/spf13/viper"

	"supervisord/internal/config"
)

// Viper folds keys to lower case and splits them at dots. What the user names or configures has to come through as it
// is written: the case and order of members, and the types of their values.
func TestWhatIsTheUsersComesThrough(t *testing.T) {
	c := mustLoad(t, `
version: 1
pools:
  - name: gpt-4.1
    command: [/opt/LLM/Serve.PY, --Model, "GPT-4.1"]
    env:
      - CUDA_VISIBLE_DEVICES={slot}
      - HF_HOME=/srv/HF
      - lower.Case=a,b
    inherit_env: [Path, http_proxy]
    plugins:
      - name: Org.Model.V2
        config:
          Model_ID: {NestedKey: 1, big: 12345678901234567890, bigger: -123456789012345678901234567890, f: 1.0, list: [A, 1.50, true, ~, [], {}], "with.dot": true}
          a.B.c: {D.e: F}
          model_id: "1"
          dates: [2026-01-02, 2026-01-02T03:04:05Z]
          numbers: [0x1F, 0o17, 0b11, 1_000, +1, .5, 1e3, -0, !!float 2, !!int "3", !!str 4]
          texts: ["yes", no, on, "null", "~", '', "a,b", "<&>", "ümlaut", "line\nbreak", "\0"]
          1: number
          true: bool
          block: |
            Two
            lines
`)
	p := c.Pools[0]
	equal(t, "name", p.Name, "gpt-4.1")
	equal(t, "command", p.Command, []string{"/opt/LLM/Serve.PY", "--Model", "GPT-4.1"})
	equal(t, "env", p.Env, []string{"CUDA_VISIBLE_DEVICES={slot}", "HF_HOME=/srv/HF", "lower.Case=a,b"})
	equal(t, "inherit_env", p.InheritEnv, []string{"Path", "http_proxy"})
	equal(t, "plugin", p.Plugins[0].Name, "Org.Model.V2")
	want := `{"Model_ID":{"NestedKey":1,"big":12345678901234567890,"bigger":-123456789012345678901234567890,"f":1.0,"list":["A",1.50,true,null,[],{}],"with.dot":true},` +
		`"a.B.c":{"D.e":"F"},` +
		`"model_id":"1",` +
		`"dates":["2026-01-02","2026-01-02T03:04:05Z"],` +
		`"numbers":[31,15,3,1000,1,0.5,1e3,-0,2.0,3,"4"],` +
		`"texts":["yes","no","on","null","~","","a,b","<&>","ümlaut","line\nbreak","\u0000"],` +
		`"1":"number",` +
		`"true":"bool",` +
		`"block":"Two\nlines\n"}`
	if got := string(p.Plugins[0].Config); got != want {
		t.Errorf("config: got\n%s\nwant\n%s", got, want)
	}
	if !json.Valid(p.Plugins[0].Config) {
		t.Error("the config is not JSON")
	}
	if keys := viper.AllKeys(); len(keys) > 0 {
		t.Errorf("viper's global instance was used: it has %v", keys)
	}
}

// The config of a plugin belongs to that plugin, whatever stands before it.
func TestConfigsStayWithTheirPlugins(t *testing.T) {
	c := mustLoad(t, `
version: 1
pools:
  - {name: a, command: [x]}
  - name: b
    command: [x]
    plugins:
      - {name: none}
      - {name: first, config: {n: 1}}
  - name: c
    command: [x]
    plugins: [{config: {n: 2}, name: second}]
`)
	got := map[string]string{}
	for _, pool := range c.Pools {
		for _, plugin := range pool.Plugins {
			got[pool.Name+"/"+plugin.Name] = string(plugin.Config)
		}
	}
	equal(t, "configs", got, map[string]string{"b/none": `{}`, "b/first": `{"n":1}`, "c/second": `{"n":2}`})
}

func TestKeys(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range config.Keys() {
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
	}
	for _, key := range []string{"version", "socket", "socket.path", "access[].methods", "resources[].capacity", "pools[].plugins[].resources[].amount"} {
		if !seen[key] {
			t.Errorf("%s is not there", key)
		}
	}
}

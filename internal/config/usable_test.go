package config_test

import (
	"errors"
	"testing"

	"supervisord/internal/config"
)

// What a daemon runs on although its file is not valid never lets anybody call or connect who was not meant to.
func TestUsableAccess(t *testing.T) {
	rule := func(user string, methods ...string) config.AccessRule {
		return config.AccessRule{Users: []string{user}, Methods: methods}
	}
	onlySelf := []config.AccessRule{{Users: []string{"root", "1000"}, Methods: []string{"*"}}}
	for name, test := range map[string]struct {
		file string
		want []config.AccessRule
	}{
		"the file has another fault":   {"version: 1\nlog: {level: loud}\naccess: [{users: [a], methods: [execute]}]\n", []config.AccessRule{rule("a", "execute")}},
		"@self is replaced":            {"version: 1\nlog: {level: loud}\naccess: [{users: ['@self'], methods: ['*']}]\n", []config.AccessRule{rule("1000", "*")}},
		"no rules were meant":          {"version: 1\nlog: {level: loud}\n", nil},
		"no rules were meant, written": {"version: 1\nlog: {level: loud}\naccess: []\n", nil},
		"one rule is faulty":           {"version: 1\naccess: [{users: [a], methods: ['*'], priority: 5}, {users: [b], methods: [execute]}]\n", []config.AccessRule{rule("b", "execute")}},
		"an unknown key in a rule":     {"version: 1\naccess: [{users: [a], methods: ['*'], \"ex.cept\": [b]}, {users: [b], methods: [execute]}]\n", []config.AccessRule{rule("b", "execute")}},
		"one method is faulty":         {"version: 1\naccess: [{users: [a], methods: [execute, 'job*']}, {users: [b], methods: [execute]}]\n", []config.AccessRule{rule("b", "execute")}},
		"a rule that matches nobody":   {"version: 1\naccess: [{methods: ['*']}, {users: [b], methods: [execute]}]\n", []config.AccessRule{rule("b", "execute")}},
		"a key twice in a rule":        {"version: 1\naccess: [{users: ['*'], methods: ['*'], users: [a]}, {users: [b], methods: [execute]}]\n", []config.AccessRule{rule("b", "execute")}},
		"all rules are faulty":         {"version: 1\naccess: [{users: [a], methods: []}, b]\n", onlySelf},
		"no list":                      {"version: 1\naccess: {users: [a], methods: [execute]}\n", onlySelf},
		"twice, the last one meant":    {"version: 1\naccess: [{users: ['*'], methods: ['*']}]\naccess: [{users: [a], methods: [execute]}]\n", onlySelf},
		"misspelt":                     {"version: 1\nacces: [{users: [a], methods: [execute]}]\n", onlySelf},
		"in capitals":                  {"version: 1\nACCESS: [{users: [a], methods: [execute]}]\n", onlySelf},
		"by another name":              {"version: 1\npermissions: [{users: [a], methods: [execute]}]\n", onlySelf},
		"in the wrong place":           {"version: 1\nsocket: {access: [{users: [a], methods: [execute]}]}\n", onlySelf},
		"misspelt beside the right":    {"version: 1\nacces: [{users: [a], methods: [execute]}]\naccess: [{users: [b], methods: [execute]}]\n", []config.AccessRule{rule("b", "execute")}},
		"no YAML":                      {"version: 1\naccess: [\n", onlySelf},
		"empty":                        {"", onlySelf},
		"a tag that is not supported":  {"version: 1\naccess: !include rules.yaml\n", onlySelf},
	} {
		t.Run(name, func(t *testing.T) {
			invalid := mustFail(t, test.file)
			equal(t, "access", invalid.Usable.Access, test.want)
			checkUsable(t, invalid.Usable, user)
		})
	}
}

func TestUsableSocket(t *testing.T) {
	for name, test := range map[string]struct {
		file, mode, group string
	}{
		"other fault":       {"version: 1\nlog: {level: loud}\nsocket: {mode: \"0666\", group: adm}\n", "0666", "adm"},
		"default":           {"version: 1\nlog: {level: loud}\n", "0660", ""},
		"faulty mode":       {"version: 1\nsocket: {mode: 0600, group: adm}\n", "0600", "adm"},
		"mode out of range": {"version: 1\nsocket: {mode: \"1777\"}\n", "0600", ""},
		"faulty group":      {"version: 1\nsocket: {mode: \"0660\", group: 4}\n", "0600", ""},
		"misspelt mode":     {"version: 1\nsocket: {mod: \"0600\"}\n", "0600", ""},
		"misspelt section":  {"version: 1\nsockt: {mode: \"0600\"}\n", "0600", ""},
		"no section":        {"version: 1\nsocket: /run/x.sock\n", "0600", ""},
	} {
		t.Run(name, func(t *testing.T) {
			usable := mustFail(t, test.file).Usable
			if usable.Socket.Mode != test.mode || usable.Socket.Group != test.group {
				t.Errorf("got %q and %q, want %q and %q", usable.Socket.Mode, usable.Socket.Group, test.mode, test.group)
			}
		})
	}
	usable := mustFail(t, "version: 1\nsocket: {mode: 0600}\n", func(o *config.LoadOptions) {
		o.Env = env(map[string]string{"SUPERVISORD_SOCKET_MODE": "0640"})
	}).Usable
	if usable.Socket.Mode != "0640" {
		t.Errorf("a variable that says the mode: got %q", usable.Socket.Mode)
	}
}

// Valid values hold, faulty ones give way to their defaults, and so do those that are at odds with these.
func TestUsableValues(t *testing.T) {
	invalid := mustFail(t, `
version: 3
socket: {path: /run/my.sock, group: adm}
limits: {max_batch: 7, max_in_flight: lots, max_message: 512MiB, max_queued_bytes: 300MB}
log: {level: debug, format: xml}
jobs: {keep_for: 5}
resources: [{name: gpu, capacity: 2}]
pools: [{name: a, command: [x]}]
`)
	want := config.Default()
	want.Socket.Path, want.Socket.Group = "/run/my.sock", "adm"
	want.Limits.MaxBatch, want.Log.Level = 7, "debug"
	equal(t, "usable", invalid.Usable, want)
	if invalid.Usable.File != invalid.Path || invalid.Path == "" {
		t.Errorf("the file is %q, the path %q", invalid.Usable.File, invalid.Path)
	}
	equal(t, "problems of the error", config.Problems(errors.Join(invalid)), invalid.Problems)
}

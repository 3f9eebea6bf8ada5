package config_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"supervisord/internal/config"
)

// change is a list of one pool.
func change(name string, keys ...string) []config.PoolChange {
	return []config.PoolChange{{Name: name, Keys: keys}}
}

func TestDiff(t *testing.T) {
	const base = `
version: 1
limits: {max_batch: 5}
pools:
  - {name: a, command: [x], plugins: [{name: p, config: {A: 1, b: [1, 2]}}]}
  - {name: b, command: [x]}
`
	for name, test := range map[string]struct {
		old, replacement string
		want             config.Changes
	}{
		"nothing":                   {"", "", config.Changes{}},
		"layout":                    {"limits: {max_batch: 5}", "limits:\n  # five\n  max_batch: 5\n  max_in_flight: 256", config.Changes{}},
		"order of members":          {"{A: 1, b: [1, 2]}", "{b: [1, 2], A: 1}", config.Changes{}},
		"a default, written out":    {"name: b, command: [x]", "name: b, command: [x], job_timeout: 0s, env: []", config.Changes{}},
		"settings":                  {"limits: {max_batch: 5}", "limits: {max_batch: 6}\nlog: {level: debug}\naccess: [{users: [a], methods: [x]}]\nresources: [{name: r, capacity: 1}]\nshutdown_timeout: 1s\nsocket: {path: /x}", config.Changes{Settings: []string{"limits.max_batch", "access", "log.level", "shutdown_timeout", "resources"}, NeedsRestart: []string{"socket.path"}}},
		"added":                     {"  - {name: b", "  - {name: c, command: [x]}\n  - {name: b", config.Changes{Added: []string{"c"}}},
		"removed":                   {"  - {name: b, command: [x]}\n", "", config.Changes{Removed: []string{"b"}}},
		"renamed":                   {"name: b", "name: B", config.Changes{Added: []string{"B"}, Removed: []string{"b"}}},
		"command":                   {"name: b, command: [x]", "name: b, command: [x, y]", config.Changes{Rolled: change("b", "command")}},
		"case of a member":          {"A: 1", "a: 1", config.Changes{Rolled: change("a", "plugins")}},
		"type of a member":          {"A: 1", "A: 1.0", config.Changes{Rolled: change("a", "plugins")}},
		"order of a list":           {"[1, 2]", "[2, 1]", config.Changes{Rolled: change("a", "plugins")}},
		"tuned":                     {"name: b, command: [x]", "name: b, command: [x], job_timeout: 5s, max_workers: 3", config.Changes{Tuned: change("b", "max_workers", "job_timeout")}},
		"tuned, and more than that": {"name: b, command: [x]", "name: b, command: [y], job_timeout: 5s", config.Changes{Rolled: change("b", "command", "job_timeout")}},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(base, test.old) {
				t.Fatalf("%q is not in the file", test.old)
			}
			path := write(t, "config.yaml", base)
			before, err := config.Load(config.LoadOptions{Path: path, Env: env(nil), EUID: user})
			if err != nil {
				t.Fatal(err)
			}
			// Loaded from the same directory, on which relative paths depend.
			after := mustLoad(t, strings.Replace(base, test.old, test.replacement, 1))
			for i := range after.Pools {
				after.Pools[i].Directory = before.Pools[0].Directory
			}
			got := config.Diff(before, after)
			equal(t, "changes", got, test.want)
			if same := reflect.DeepEqual(got, config.Changes{}); same != (before.Digest() == after.Digest()) {
				t.Errorf("the digests are the same: %v", !same)
			}
			equal(t, "changes of nothing", config.Diff(after, after), config.Changes{})
		})
	}
}

// What a reload makes of a change of each key, said once more: the tags are easily forgotten. Of a list inside of a pool
// all keys are of the list's kind.
func TestDiffOfEveryKey(t *testing.T) {
	atOnce := []string{
		"version", // never another one
		"limits.max_connections", "limits.max_connections_per_uid", "limits.max_in_flight", "limits.max_in_flight_per_uid",
		"limits.max_queued_bytes", "limits.max_batch", "limits.output_buffer", "limits.slow_client_timeout",
		"access", "log.level", "shutdown_timeout", "resources",
	}
	restart := []string{
		"socket.path", "socket.mode", "socket.group", "log.format", "metrics.listen", "jobs.keep_finished", "jobs.keep_for",
		"jobs.keep_bytes", "jobs.replay_buffer", "jobs.attach_grace", "jobs.store", "limits.max_message",
	}
	roll := []string{
		"command", "directory", "env", "inherit_env", "user", "group", "plugins", "resources", "concurrency", "memory_limit",
		"cpu_limit", "tasks_limit",
	}
	tune := []string{
		"allow_root", "min_workers", "max_workers", "idle_timeout", "replace", "drain_grace", "request_queue_size", "max_queue_wait",
		"max_collation_wait", "restart_policy", "max_restart_attempts", "restart_reset", "restart_backoff_base", "restart_backoff_max",
		"worker_start_timeout", "job_timeout", "stall_timeout", "cancel_grace", "reload_timeout", "unload_timeout", "shutdown_timeout",
		"max_jobs_per_worker", "max_worker_age", "max_worker_memory", "max_attempts",
	}
	got := config.Changes{}
	eachChange(t, func(_ string, base, of *config.Config) {
		c := config.Diff(base, of)
		got.Settings = append(got.Settings, c.Settings...)
		got.NeedsRestart = append(got.NeedsRestart, c.NeedsRestart...)
		got.Rolled, got.Tuned = append(got.Rolled, c.Rolled...), append(got.Tuned, c.Tuned...)
	})
	keys := func(pools []config.PoolChange) (keys []string) {
		for _, p := range pools {
			keys = append(keys, p.Keys...)
		}
		return keys
	}
	for name, lists := range map[string][2][]string{
		"at once": {atOnce, got.Settings}, "restart": {restart, got.NeedsRestart}, "roll": {roll, keys(got.Rolled)}, "tune": {tune, keys(got.Tuned)},
	} {
		want, have := slices.Sorted(slices.Values(lists[0])), slices.Compact(slices.Sorted(slices.Values(lists[1])))
		equal(t, name, have, want)
	}
}

func TestDiffIgnoresTheOrderOfPools(t *testing.T) {
	before := mustLoad(t, "version: 1\npools: [{name: a, command: [x], directory: /}, {name: b, command: [x], directory: /}]\n")
	after := mustLoad(t, "version: 1\npools: [{name: b, command: [x], directory: /}, {name: a, command: [x], directory: /}]\n")
	equal(t, "changes", config.Diff(before, after), config.Changes{})
}

// A change of any key shows in the digest and in Diff.
func TestEveryKeyCounts(t *testing.T) {
	changed := 0
	eachChange(t, func(path string, base, of *config.Config) {
		changed++
		if of.Digest() == base.Digest() {
			t.Errorf("%s is not in the digest", path)
		}
		if diff := config.Diff(base, of); reflect.DeepEqual(diff, config.Changes{}) {
			t.Errorf("Diff overlooks %s", path)
		}
	})
	leaves := slices.DeleteFunc(config.Keys(), func(key string) bool {
		return slices.ContainsFunc(config.Keys(), func(k string) bool { return strings.HasPrefix(k, key+".") || strings.HasPrefix(k, key+"[]") })
	})
	if changed != len(leaves) {
		t.Errorf("%d keys were changed, of %d", changed, len(leaves))
	}
}

// eachChange calls check for each key with a configuration that has another value there and is else the same as base.
func eachChange(t *testing.T, check func(path string, base, of *config.Config)) {
	t.Helper()
	sample := func() *config.Config {
		c := config.Default()
		c.Access, c.Resources = []config.AccessRule{{}}, []config.Resource{{}}
		pool := config.DefaultPool()
		pool.Name, pool.Resources = "a", []config.ResourceAmount{{}}
		pool.Plugins = []config.Plugin{{Config: []byte(`{}`), Resources: []config.ResourceAmount{{}}}}
		c.Pools = []config.Pool{pool}
		return c
	}
	base := sample()
	// Each scalar is changed in a fresh copy, reached by the same way through the value.
	var steps []func(reflect.Value) reflect.Value
	reach := func(of *config.Config) reflect.Value {
		v := reflect.ValueOf(of).Elem()
		for _, s := range steps {
			v = s(v)
		}
		return v
	}
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		switch v.Kind() { //nolint:exhaustive // the kinds that a configuration has
		case reflect.Struct:
			for f := range v.Type().Fields() {
				if f.Tag.Get("mapstructure") == "-" {
					continue
				}
				steps = append(steps, func(v reflect.Value) reflect.Value { return v.FieldByIndex(f.Index) })
				walk(v.FieldByIndex(f.Index), path+"."+f.Name)
				steps = steps[:len(steps)-1]
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Struct {
				steps = append(steps, func(v reflect.Value) reflect.Value { return v.Index(0) })
				walk(v.Index(0), path+"[0]")
				steps = steps[:len(steps)-1]
				return
			}
			fresh := sample()
			if v.Type().Elem().Kind() == reflect.Uint8 {
				reach(fresh).SetBytes([]byte(`{"a":1}`))
			} else {
				reach(fresh).Set(reflect.ValueOf([]string{"changed"}))
			}
			check(path, base, fresh)
		default:
			fresh := sample()
			switch x := reach(fresh); {
			case x.CanInt():
				x.SetInt(x.Int() + 1)
			case x.CanFloat():
				x.SetFloat(x.Float() + 1)
			case x.Kind() == reflect.Bool:
				x.SetBool(!x.Bool())
			default:
				x.SetString(x.String() + "changed")
			}
			check(path, base, fresh)
		}
	}
	walk(reflect.ValueOf(base).Elem(), "Config")
}

func TestDigest(t *testing.T) {
	c := mustLoad(t, "version: 1\n")
	if d := c.Digest(); len(d) != 64 || d != config.Default().Digest() {
		t.Errorf("got %q", d)
	}
}

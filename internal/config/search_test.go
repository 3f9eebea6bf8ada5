package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"supervisord/internal/config"
)

// files makes a directory with files of the given names, each of which sets limits.max_batch to another value.
func files(t *testing.T, names ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for i, name := range names {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		text := "version: 1\nlimits: {max_batch: " + string(rune('1'+i)) + "}\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSearchOrder(t *testing.T) {
	all := []string{"named.yaml", "variable.yaml", "work/supervisord.yaml", "xdg/supervisord/config.yaml", "home/.config/supervisord/config.yaml"}
	for name, test := range map[string]struct {
		path      string            // LoadOptions.Path; DIR is the directory of the files
		variables map[string]string // likewise
		without   []string
		want      string
	}{
		"path wins":                       {"DIR/named.yaml", map[string]string{"SUPERVISORD_CONFIG": "DIR/variable.yaml"}, nil, "named.yaml"},
		"path is relative to the workdir": {"../named.yaml", nil, nil, "named.yaml"},
		"variable before search":          {"", map[string]string{"SUPERVISORD_CONFIG": "DIR/variable.yaml"}, nil, "variable.yaml"},
		"relative variable":               {"", map[string]string{"SUPERVISORD_CONFIG": "../variable.yaml"}, nil, "variable.yaml"},
		"empty variable":                  {"", map[string]string{"SUPERVISORD_CONFIG": ""}, nil, "work/supervisord.yaml"},
		"working directory first":         {"", map[string]string{"XDG_CONFIG_HOME": "DIR/xdg", "HOME": "DIR/home"}, nil, "work/supervisord.yaml"},
		"then XDG_CONFIG_HOME":            {"", map[string]string{"XDG_CONFIG_HOME": "DIR/xdg", "HOME": "DIR/home"}, all[2:3], "xdg/supervisord/config.yaml"},
		"HOME without XDG_CONFIG_HOME":    {"", map[string]string{"HOME": "DIR/home"}, all[2:3], "home/.config/supervisord/config.yaml"},
		"relative XDG_CONFIG_HOME":        {"", map[string]string{"XDG_CONFIG_HOME": "xdg", "HOME": "DIR/home"}, all[2:3], "home/.config/supervisord/config.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := files(t, all...)
			for _, gone := range test.without {
				if err := os.Remove(filepath.Join(dir, gone)); err != nil {
					t.Fatal(err)
				}
			}
			variables := map[string]string{}
			for k, v := range test.variables {
				variables[k] = strings.ReplaceAll(v, "DIR", dir)
			}
			c, err := config.Load(config.LoadOptions{
				Path: strings.ReplaceAll(test.path, "DIR", dir), Env: env(variables), EUID: user, WorkDir: filepath.Join(dir, "work"),
			})
			if err != nil {
				t.Fatal(err)
			}
			if want := filepath.Join(dir, test.want); c.File != want || c.Limits.MaxBatch != slices.Index(all, test.want)+1 {
				t.Errorf("got %s with max_batch %d, want %s", c.File, c.Limits.MaxBatch, want)
			}
		})
	}
}

func TestNoFile(t *testing.T) {
	if _, err := os.Stat("/etc/supervisord/config.yaml"); err == nil {
		t.Skip("this machine has a configuration")
	}
	dir := files(t, "file")
	_, err := config.Load(config.LoadOptions{
		// That a directory of the path is a file is no fault, as there is nothing to be read then either.
		Env: env(map[string]string{"XDG_CONFIG_HOME": filepath.Join(dir, "file")}), EUID: user, WorkDir: dir,
	})
	missing, ok := errors.AsType[*config.NotFoundError](err)
	if !ok || !errors.Is(err, config.ErrNotFound) {
		t.Fatalf("got %v, want a *NotFoundError", err)
	}
	want := []string{filepath.Join(dir, "supervisord.yaml"), filepath.Join(dir, "file/supervisord/config.yaml"), "/etc/supervisord/config.yaml"}
	equal(t, "searched", missing.Searched, want)
	for _, path := range want {
		if !strings.Contains(err.Error(), path) {
			t.Errorf("%q does not name %s", err, path)
		}
	}
	equal(t, "problems", config.Problems(err), []config.Problem{{Message: err.Error()}})
}

// A file that was named, or that is there, is not passed over.
func TestUnreadableFile(t *testing.T) {
	dir := files(t, "xdg/supervisord/config.yaml")
	if err := os.Mkdir(filepath.Join(dir, "supervisord.yaml"), 0o750); err != nil {
		t.Fatal(err)
	}
	var pathError *fs.PathError
	for name, options := range map[string]config.LoadOptions{
		"named and missing":  {Path: "none.yaml"},
		"variable, missing":  {Env: env(map[string]string{"SUPERVISORD_CONFIG": "none.yaml"})},
		"search, unreadable": {Env: env(map[string]string{"XDG_CONFIG_HOME": filepath.Join(dir, "xdg")})},
	} {
		if options.WorkDir = dir; options.Env == nil {
			options.Env = env(nil)
		}
		c, err := config.Load(options)
		if c != nil || !errors.As(err, &pathError) || errors.Is(err, config.ErrNotFound) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got %v and %v, want an error of the file system that names the file", name, c, err)
		}
	}
	if config.Problems(nil) != nil {
		t.Error("no error has problems")
	}
}

// flags are the flags that serve has, set as args say.
func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	set := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	for _, o := range config.Overrides() {
		for _, name := range o.Flags {
			set.String(name, "", "")
		}
	}
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return set
}

func TestOverrides(t *testing.T) {
	const file = `
version: 1
limits: {max_batch: 1, max_message: 1MiB, slow_client_timeout: 1s}
log: {level: warn}
`
	variables := map[string]string{
		"SUPERVISORD_LIMITS_MAX_BATCH": "2", "SUPERVISORD_LIMITS_MAX_MESSAGE": "2MiB", "SUPERVISORD_LOG_FORMAT": "json",
		"SUPERVISORD_SHUTDOWN_TIMEOUT": "2s", "SUPERVISORD_LOG_LEVEL": "",
	}
	c := mustLoad(t, file, func(o *config.LoadOptions) {
		o.Env = env(variables)
		o.Flags = flags(t, "--limits-max-message=3MiB", "--shutdown-timeout=3m", "--limits-max-in-flight", "0")
	})
	want := config.Default()
	want.Limits.MaxBatch = 2                             // variable over file
	want.Limits.MaxMessage = 3 << 20                     // flag over variable over file
	want.Limits.SlowClientTimeout = 1e9                  // file over default
	want.Limits.MaxInFlight = 0                          // flag over default, with a zero value
	want.ShutdownTimeout = 3 * 60e9                      // flag over variable over default
	want.Log = config.Log{Level: "warn", Format: "json"} // an empty variable is none; variable over default
	equal(t, "configuration", c, want)
}

// Each scalar outside of the lists can be set by its variable and by each of its flags, and by nothing else.
func TestEveryOverride(t *testing.T) {
	values := map[string]string{
		"socket.path": "/run/x.sock", "socket.mode": "0600", "socket.group": "adm", "log.level": "debug", "log.format": "json",
		"metrics.listen": "localhost:1", "jobs.store": "memory", "limits.max_queued_bytes": "17MiB",
	}
	value := func(key string) string {
		switch {
		case values[key] != "":
			return values[key]
		case strings.HasSuffix(key, "_timeout"), strings.HasSuffix(key, "_for"), strings.HasSuffix(key, "_grace"):
			return "7s"
		case strings.HasSuffix(key, "_bytes"), strings.HasSuffix(key, "_message"), strings.HasSuffix(key, "_buffer"):
			return "7MiB"
		default:
			return "7"
		}
	}
	unset := config.Default().Digest()
	var looked []string
	for _, o := range config.Overrides() {
		byVariable := mustLoad(t, "version: 1\n", func(l *config.LoadOptions) {
			l.Env = func(name string) (string, bool) {
				looked = append(looked, name)
				return value(o.Key), name == o.Env
			}
		})
		if o.Key != "jobs.store" && byVariable.Digest() == unset {
			t.Errorf("%s has no effect", o.Env)
		}
		for _, name := range o.Flags {
			byFlag := mustLoad(t, "version: 1\n", func(l *config.LoadOptions) { l.Flags = flags(t, "--"+name, value(o.Key)) })
			equal(t, "--"+name, byFlag, byVariable)
		}
	}
	slices.Sort(looked)
	looked = slices.Compact(looked)
	want := []string{"XDG_RUNTIME_DIR"}
	for _, o := range config.Overrides() {
		want = append(want, o.Env)
	}
	slices.Sort(want)
	// Variables of workers begin with the same prefix: SUPERVISORD_POOL and the like are no settings.
	equal(t, "variables that are looked at", looked, want)
	if slices.ContainsFunc(want, func(name string) bool {
		return strings.HasPrefix(name, "SUPERVISORD_POOL") || name == "SUPERVISORD_SOCKET"
	}) {
		t.Errorf("a variable of workers or clients sets a value: %v", want)
	}
	equal(t, "flags", config.Overrides()[0], config.Override{Key: "socket.path", Env: "SUPERVISORD_SOCKET_PATH", Flags: []string{"socket-path", "socket"}})
}

// Without LoadOptions.Env it is the process's own.
func TestProcessEnvironment(t *testing.T) {
	for _, name := range []string{"SUPERVISORD_POOL", "SUPERVISORD_WORKER", "SUPERVISORD_SLOT", "SUPERVISORD_POOLS", "SUPERVISORD_VERSION", "SUPERVISORD_LOG"} {
		t.Setenv(name, "nonsense")
	}
	t.Setenv("SUPERVISORD_LOG_LEVEL", "debug")
	c := mustLoad(t, "version: 1\n", func(o *config.LoadOptions) { o.Env, o.EUID = nil, 0 })
	want := config.Default()
	want.Log.Level = "debug"
	equal(t, "configuration", c, want)
}

// A typed flag is as good as one of text; a flag that was not set counts for nothing.
func TestTypedFlags(t *testing.T) {
	set := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	set.Int("limits-max-batch", 5, "")
	set.Int("limits-max-connections", 5, "")
	set.Duration("shutdown-timeout", 5, "")
	set.String("output", "x", "")
	if err := set.Parse([]string{"--limits-max-batch=7", "--shutdown-timeout=90s", "--output=y"}); err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, "version: 1\n", func(o *config.LoadOptions) { o.Flags = set })
	want := config.Default()
	want.Limits.MaxBatch, want.ShutdownTimeout = 7, 90e9
	equal(t, "configuration", c, want)
}

func TestFaultyOverrides(t *testing.T) {
	text := "version: 1\nlimits: {max_batch: many}\nshutdown_timeout: 5\n"
	invalid := mustFail(t, text, func(o *config.LoadOptions) {
		o.Env = env(map[string]string{
			"SUPERVISORD_LIMITS_MAX_MESSAGE": "16MB", "SUPERVISORD_LOG_LEVEL": "loud", "SUPERVISORD_LOG_FORMAT": "xml",
			"SUPERVISORD_LIMITS_MAX_BATCH": "5", "SUPERVISORD_JOBS_KEEP_FOR": "90",
		})
		o.Flags = flags(t, "--socket=@x", "--shutdown-timeout=0s", "--log-format=json", "--limits-max-connections=-1")
	})
	var got []string
	for _, p := range invalid.Problems {
		got = append(got, p.Text("f"))
	}
	equal(t, "problems", got, []string{
		`f: limits.max_connections: from --limits-max-connections: "-1" is negative`,
		`f: limits.max_message: from $SUPERVISORD_LIMITS_MAX_MESSAGE: "16MB": write 16MiB (units: B, KiB, MiB, GiB, TiB, each 1024 of the one before)`,
		`f: jobs.keep_for: from $SUPERVISORD_JOBS_KEEP_FOR: "90" has no unit: write 90s for seconds (units: ms, s, m, h)`,
		`f: socket.path: from --socket: "@x" is an abstract socket, which has no permissions; give a path`,
		`f: log.level: from $SUPERVISORD_LOG_LEVEL: "loud" is none of: debug, info, warn, error`,
		`f: shutdown_timeout: from --shutdown-timeout: has to be more than 0s`,
		`f:2: limits.max_batch: want a whole number, got "many"`,
		`f:3: shutdown_timeout: "5" has no unit: write 5s for seconds (units: ms, s, m, h)`,
	})
	want := config.Default()
	want.Limits.MaxBatch, want.Log.Format = 5, "json" // the good ones among the flags and variables hold
	want.Socket.Path = invalid.Usable.Socket.Path
	equal(t, "usable", invalid.Usable, want)
}

// Relative paths are meant from where they are written: in the file from its directory, outside from the working one.
func TestRelativePaths(t *testing.T) {
	path := write(t, "sub/config.yaml", "version: 1\nsocket: {path: run/../x.sock}\npools: [{name: a, command: [x]}, {name: b, command: [./x], directory: ../b}, {name: c, command: [x], directory: /c/}]\n")
	sub := filepath.Dir(path)
	options := config.LoadOptions{Path: "sub/config.yaml", Env: env(nil), EUID: user, WorkDir: filepath.Dir(sub)}
	c, err := config.Load(options)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "paths", []string{c.Socket.Path, c.Pools[0].Directory, c.Pools[1].Directory, c.Pools[2].Directory, c.Pools[1].Command[0]},
		[]string{filepath.Join(sub, "x.sock"), sub, filepath.Join(filepath.Dir(sub), "b"), "/c", "./x"})
	options.Flags = flags(t, "--socket=y.sock")
	if c, err = config.Load(options); err != nil {
		t.Fatal(err)
	}
	equal(t, "path from a flag", c.Socket.Path, filepath.Join(filepath.Dir(sub), "y.sock"))
}

func TestSocketOfUsers(t *testing.T) {
	for _, test := range []struct {
		euid          int
		runtime, want string
	}{
		{0, "/run/user/0", "/run/supervisord/supervisord.sock"},
		{1000, "/run/user/1000", "/run/user/1000/supervisord.sock"},
		{1000, "", "/run/supervisord/supervisord.sock"},
		{1000, "relative", "/run/supervisord/supervisord.sock"},
	} {
		c := mustLoad(t, "version: 1\n", func(o *config.LoadOptions) {
			o.EUID, o.Env = test.euid, env(map[string]string{"XDG_RUNTIME_DIR": test.runtime})
		})
		if c.Socket.Path != test.want {
			t.Errorf("%d with %q: got %s, want %s", test.euid, test.runtime, c.Socket.Path, test.want)
		}
	}
}

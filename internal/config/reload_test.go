package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervisord/internal/config"
)

const (
	reloadBefore = "version: 1\nlog: {level: info}\npools:\n  - {name: a, command: [x], plugins: [{name: p, config: {A: 1}}]}\n"
	reloadAfter  = "version: 1\nlog: {level: debug}\npools:\n  - {name: a, command: [y], plugins: [{name: p, config: {A: 1}}]}\n"
)

// running is a configuration that is in force, and what it was loaded with.
type running struct {
	*config.Config
	options config.LoadOptions
	digest  string
}

func run(t *testing.T, path string, edit ...func(*config.LoadOptions)) *running {
	t.Helper()
	options := config.LoadOptions{Path: path, Env: env(nil), EUID: user}
	for _, e := range edit {
		e(&options)
	}
	c, err := config.Load(options)
	if err != nil {
		t.Fatal(err)
	}
	return &running{c, options, c.Digest()}
}

// reloads wants the change from reloadBefore to reloadAfter.
func (r *running) reloads(t *testing.T) {
	t.Helper()
	next, changes, err := config.Reload(r.Config, r.options)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "changes", changes, config.Changes{Settings: []string{"log.level"}, Rolled: change("a", "command")})
	equal(t, "command", next.Pools[0].Command, []string{"y"})
	r.holds(t)
}

// refuses wants an error, and the configuration in force as it was.
func (r *running) refuses(t *testing.T) error {
	t.Helper()
	next, changes, err := config.Reload(r.Config, r.options)
	if err == nil || next != nil {
		t.Fatalf("got %v, %v", next, err)
	}
	equal(t, "changes", changes, config.Changes{})
	r.holds(t)
	return err
}

func (r *running) holds(t *testing.T) {
	t.Helper()
	if r.Digest() != r.digest || r.Pools[0].Command[0] != "x" || string(r.Pools[0].Plugins[0].Config) != `{"A":1}` {
		t.Errorf("what is in force has changed: %+v", r.Config)
	}
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// However a file comes to be another one, a reload takes what is there.
func TestReloadTakesWhatIsThere(t *testing.T) {
	rename := func(t *testing.T, from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for name, replace := range map[string]func(t *testing.T, path string){
		"written over": func(t *testing.T, path string) { overwrite(t, path, reloadAfter) },
		"renamed into place": func(t *testing.T, path string) {
			overwrite(t, path+".new", reloadAfter)
			rename(t, path+".new", path)
		},
		"moved away and written anew": func(t *testing.T, path string) {
			rename(t, path, path+"~")
			overwrite(t, path, reloadAfter)
		},
		"replaced by a link": func(t *testing.T, path string) {
			overwrite(t, path+".new", reloadAfter)
			if err := errors.Join(os.Remove(path), os.Symlink(path+".new", path)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "config.yaml", reloadBefore)
			r := run(t, path)
			replace(t, path)
			r.reloads(t)
		})
	}
}

// Kubernetes mounts a file as a link into a directory that is itself reached by a link, and swaps that one. Nothing but
// what the file says may differ after it, relative paths included.
func TestReloadOfASwappedDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"..1/config.yaml": reloadBefore, "..2/config.yaml": reloadAfter} {
		if err := os.Mkdir(filepath.Join(dir, filepath.Dir(name)), 0o750); err != nil {
			t.Fatal(err)
		}
		overwrite(t, filepath.Join(dir, name), text)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.Symlink("..1", at("..data")), os.Symlink("..data/config.yaml", at("config.yaml"))); err != nil {
		t.Fatal(err)
	}
	r := run(t, at("config.yaml"))
	if err := errors.Join(os.Symlink("..2", at("..data_tmp")), os.Rename(at("..data_tmp"), at("..data")), os.RemoveAll(at("..1"))); err != nil {
		t.Fatal(err)
	}
	r.reloads(t)
}

// A file that is not valid is told as such, whatever it looked like when the daemon began.
func TestReloadOfAnInvalidFile(t *testing.T) {
	path := write(t, "config.yaml", reloadBefore)
	r := run(t, path)
	for name, test := range map[string]struct{ text, want string }{
		"empty":           {"", path + ":1: the file is empty"},
		"comments":        {"# later\n\n", path + ":1: the file is empty"},
		"zeros":           {"version: 1\n\x00\x00\x00", path + ":2: control character U+0000"},
		"half of a line":  {"version: 1\nlog: {level: in", path + ":2: not valid YAML"},
		"half of a value": {"version: 1\nlog: {level: inf}\n", path + `:2: log.level: "inf" is none of`},
		"a key too many":  {reloadAfter + "pool: []\n", path + ":5: pool: unknown key; did you mean pools?"},
	} {
		overwrite(t, path, test.text)
		err := r.refuses(t)
		if invalid, ok := errors.AsType[*config.ValidationError](err); !ok || !strings.Contains(invalid.Error(), test.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	overwrite(t, path, reloadAfter)
	r.reloads(t)
}

// However much of a file has been written so far, it is valid as far as it goes or it is refused.
func TestReloadOfATruncatedFile(t *testing.T) {
	path := write(t, "config.yaml", reloadBefore)
	r := run(t, path)
	for n := range len(reloadAfter) {
		overwrite(t, path, reloadAfter[:n])
		next, _, err := config.Reload(r.Config, r.options)
		if _, invalid := errors.AsType[*config.ValidationError](err); !invalid && (err != nil || config.Validate(next, user) != nil) {
			t.Errorf("%q: got %v and %v", reloadAfter[:n], next, err)
		}
		r.holds(t)
	}
}

// What cannot be read is told with its path, by an error that errors.Is knows.
func TestReloadOfAnUnreadableFile(t *testing.T) {
	for name, test := range map[string]struct {
		become func(path string) error
		want   error
	}{
		"gone":                  {func(string) error { return nil }, fs.ErrNotExist},
		"a directory":           {func(path string) error { return os.Mkdir(path, 0o750) }, syscall.EISDIR},
		"a link to itself":      {func(path string) error { return os.Symlink(path, path) }, syscall.ELOOP},
		"a link to nothing":     {func(path string) error { return os.Symlink(path+"-none", path) }, fs.ErrNotExist},
		"a failing disk":        {func(path string) error { return os.Symlink("/proc/self/mem", path) }, syscall.EIO},
		"not to be read":        {func(path string) error { return os.WriteFile(path, []byte(reloadAfter), 0) }, fs.ErrPermission},
		"a socket":              {func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) }, syscall.ENXIO},
		"below what is no path": {func(path string) error { return os.Symlink("/proc/self/status/x", path) }, syscall.ENOTDIR},
	} {
		t.Run(name, func(t *testing.T) {
			if errors.Is(test.want, fs.ErrPermission) && os.Geteuid() == 0 {
				t.Skip("root may read everything")
			}
			path := write(t, "config.yaml", reloadBefore)
			r := run(t, path)
			if err := errors.Join(os.Remove(path), test.become(path)); err != nil {
				t.Fatal(err)
			}
			err := r.refuses(t)
			if !errors.Is(err, test.want) || errors.Is(err, config.ErrNotFound) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v", err)
			}
			if problems := config.Problems(err); len(problems) != 1 || problems[0].Message != err.Error() {
				t.Errorf("the problems are %+v", problems)
			}
			if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, []byte(reloadAfter), 0o600)); err != nil {
				t.Fatal(err)
			}
			r.reloads(t)
		})
	}
}

// A named pipe that nobody writes to holds nothing up.
func TestReloadDoesNotWaitForAPipe(t *testing.T) {
	path := write(t, "config.yaml", reloadBefore)
	r := run(t, path)
	if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := r.refuses(t); !strings.Contains(err.Error(), "the file is empty") {
		t.Errorf("got %v", err)
	}
	// One that is written to is read to its end.
	fds := make([]int, 2)
	if err := unix.Pipe2(fds, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	reader, writer := os.NewFile(uintptr(fds[0]), "reader"), os.NewFile(uintptr(fds[1]), "writer")
	defer reader.Close()
	written := make(chan error, 1)
	go func() {
		for _, part := range []string{reloadAfter[:20], reloadAfter[20:]} {
			if _, err := writer.WriteString(part); err != nil {
				written <- err
				return
			}
		}
		written <- writer.Close()
	}()
	c, err := config.Load(config.LoadOptions{Path: "/proc/self/fd/" + strconv.Itoa(fds[0]), Env: env(nil), EUID: user})
	if err := errors.Join(err, <-written); err != nil {
		t.Fatal(err)
	}
	equal(t, "level", c.Log.Level, "debug")
}

// A file that is missing for a moment is an error; no other one of the search order takes its place, neither then nor
// when it comes to stand before it.
func TestReloadDoesNotSearch(t *testing.T) {
	home := files(t, "supervisord/config.yaml")
	path := filepath.Join(home, "supervisord", "config.yaml")
	overwrite(t, path, reloadBefore)
	work := t.TempDir()
	r := run(t, "", func(o *config.LoadOptions) {
		o.WorkDir, o.Env = work, env(map[string]string{"XDG_CONFIG_HOME": home})
	})
	equal(t, "file", r.File, path)
	overwrite(t, filepath.Join(work, "supervisord.yaml"), "version: 1\n")
	overwrite(t, path, reloadAfter)
	r.reloads(t)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := r.refuses(t); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

// Flags and variables win over the file in each load; what they set never differs.
func TestReloadKeepsFlagsAndVariables(t *testing.T) {
	path := write(t, "config.yaml", reloadBefore)
	r := run(t, path, func(o *config.LoadOptions) {
		o.Env = env(map[string]string{"SUPERVISORD_LIMITS_MAX_BATCH": "7"})
		o.Flags = flags(t, "--log-level=warn", "--socket=s.sock")
		o.WorkDir = t.TempDir()
	})
	for range 3 {
		overwrite(t, path, reloadAfter+"limits: {max_batch: 9, max_in_flight: 3}\n")
		next, changes, err := config.Reload(r.Config, r.options)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "changes", changes, config.Changes{Settings: []string{"limits.max_in_flight"}, Rolled: change("a", "command")})
		if next.Log.Level != "warn" || next.Limits.MaxBatch != 7 || next.Socket.Path != r.Socket.Path {
			t.Errorf("got %+v", next)
		}
	}
}

// A daemon that came up without pools, since its file was not valid, gets them from the first load that is.
func TestReloadMendsAnInvalidStart(t *testing.T) {
	path := write(t, "config.yaml", strings.Replace(reloadBefore, "info", "loud", 1))
	options := config.LoadOptions{Path: path, Env: env(nil), EUID: user}
	_, err := config.Load(options)
	invalid, ok := errors.AsType[*config.ValidationError](err)
	if !ok {
		t.Fatal(err)
	}
	if _, _, err := config.Reload(invalid.Usable, options); err == nil {
		t.Error("no error, although nothing was mended")
	}
	overwrite(t, path, reloadAfter)
	next, changes, err := config.Reload(invalid.Usable, options)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "changes", changes, config.Changes{Settings: []string{"log.level"}, Added: []string{"a"}})
	equal(t, "file", next.File, path)
}

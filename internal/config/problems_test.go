package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"golang.org/x/tools/txtar"

	"supervisord/internal/config"
)

var update = flag.Bool("update", false, "rewrite what the files in testdata/problems want")

// Each archive holds pairs of NAME.yaml, a file, and NAME.want, what is wrong with it. The line "euid: N" in its header
// says who the daemon runs as.
func TestProblems(t *testing.T) {
	archives, err := filepath.Glob(filepath.Join("testdata", "problems", "*.txtar"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("found %d archives, %v", len(archives), err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		euid := user
		if m := regexp.MustCompile(`(?m)^euid: ([0-9]+)$`).FindSubmatch(archive.Comment); m != nil {
			euid, _ = strconv.Atoi(string(m[1]))
		}
		want := map[string]string{}
		for _, f := range archive.Files {
			if name, ok := strings.CutSuffix(f.Name, ".want"); ok {
				want[name] = string(f.Data)
			}
		}
		written := txtar.Archive{Comment: archive.Comment}
		for _, f := range archive.Files {
			name, ok := strings.CutSuffix(f.Name, ".yaml")
			if !ok {
				continue
			}
			t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar")+"/"+name, func(t *testing.T) {
				got := verdict(t, f.Data, euid)
				written.Files = append(written.Files, f, txtar.File{Name: name + ".want", Data: []byte(got)})
				if got != want[name] && !*update {
					t.Errorf("got\n%swant\n%s", got, want[name])
				}
			})
		}
		if *update {
			if err := os.WriteFile(path, txtar.Format(&written), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// verdict returns the problems of a file, one a line, or "valid". What holds for every file that is not valid is tested
// on the way.
func verdict(t *testing.T, data []byte, euid int) string {
	t.Helper()
	_, err := load(t, string(data), func(o *config.LoadOptions) { o.EUID = euid })
	if err == nil {
		return "valid\n"
	}
	invalid, ok := errors.AsType[*config.ValidationError](err)
	if !ok {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, p := range invalid.Problems {
		text := p.Text("config.yaml")
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("a message with control characters: %q", text)
		}
		out.WriteString(text + "\n")
	}
	if want := "invalid configuration:\n" + strings.ReplaceAll(out.String(), "config.yaml", invalid.Path); err.Error()+"\n" != want {
		t.Errorf("the error's text is\n%s\nwant\n%s", err, want)
	}
	checkUsable(t, invalid.Usable, euid)
	return out.String()
}

// checkUsable tests what holds for the usable part of every file.
func checkUsable(t *testing.T, usable *config.Config, euid int) {
	t.Helper()
	switch {
	case usable == nil:
		t.Fatal("no usable configuration")
	case len(usable.Pools)+len(usable.Resources) > 0:
		t.Error("the usable configuration has pools or resources")
	}
	if problems := config.Validate(usable, euid); problems != nil {
		t.Errorf("the usable configuration has problems: %v", problems)
	}
}

// Files that no text file can hold, or that have to be made.
func TestProblemsOfMadeFiles(t *testing.T) {
	inUTF16 := func(text string) string {
		out := []byte{0xff, 0xfe}
		for _, unit := range utf16.Encode([]rune(text)) {
			out = append(out, byte(unit), byte(unit>>8))
		}
		return string(out)
	}
	bomb := "version: 1\npools:\n  - name: a\n    command: [x]\n    plugins:\n      - name: p\n        config:\n          a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 9; i++ {
		n, before := strconv.Itoa(i), "*a"+strconv.Itoa(i-1)
		bomb += "          a" + n + ": &a" + n + " [" + strings.Repeat(before+", ", 9) + before + "]\n"
	}
	long := func(n int) string { return "/run/" + strings.Repeat("x", n-len("/run/")) }
	for name, test := range map[string]struct{ text, want string }{
		"NUL":                 {"version: 1\nlog:\n  level: in\x00fo\n", `3: control character U+0000; in double quotes it can be written as \u0000`},
		"escape":              {"version: 1\nlog: {level: \x1b[0m}\n", `2: control character U+001B; in double quotes it can be written as \u001B`},
		"Latin-1":             {"version: 1\n# ok\n# gr\xfc\xdfe\n", `3: not text in UTF-8: byte 0xFC`},
		"BOM":                 {"\xef\xbb\xbfversion: 1\n", ""},
		"CRLF":                {"version: 1\r\nlog:\r\n  level: info\r\n", ""},
		"UTF-16":              {inUTF16("version: 1\nlog: {level: debug}\n"), ""},
		"UTF-16, faulty":      {inUTF16("version: 1\nlog: {level: loud}\n"), `2: log.level: "loud" is none of: debug, info, warn, error`},
		"UTF-16, odd":         {"\xff\xfev", "1: not valid YAML: incomplete UTF-16 character"},
		"4 MiB":               {"version: 1\n#" + strings.Repeat("x", 4<<20-len("version: 1\n#")), ""},
		"4 MiB and a byte":    {"version: 1\n#" + strings.Repeat("x", 4<<20-len("version: 1\n#")+1), "longer than 4MiB, the most that is read"},
		"alias bomb":          {bomb, "9: more than 250000 values, those counted that aliases stand for"},
		"many values":         {"version: 1\npools: [" + strings.Repeat("{},", 250_000) + "]\n", "2: more than 250000 values, those counted that aliases stand for"},
		"many elements":       {"version: 1\npools: [" + strings.Repeat("{},", 4097) + "]\n", "2: pools: has 4097 elements; a list has at most 4096"},
		"nested deep":         {"version: 1\nlog: " + strings.Repeat("[", 200) + strings.Repeat("]", 200), "2: nested too deep, or an alias that contains itself"},
		"nested deeper":       {"version: 1\nlog: " + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000), "2: not valid YAML: exceeded max depth of 10000"},
		"107 bytes":           {"version: 1\nsocket: {path: " + long(107) + "}\n", ""},
		"108 bytes":           {"version: 1\nsocket: {path: " + long(108) + "}\n", `2: socket.path: "` + long(108)[:80] + `"… has 108 bytes; the path of a socket has at most 107`},
		"metrics, 108 bytes":  {"version: 1\nmetrics: {listen: 'unix:" + long(108) + "'}\n", `2: metrics.listen: "` + long(108)[:80] + `"… has 108 bytes; the path of a socket has at most 107`},
		"plugins' config":     {"version: 1\nlimits: {max_message: 1KiB}\npools:\n  - name: a\n    command: [x]\n    plugins: [{name: p, config: {k: " + strings.Repeat("x", 70_000) + "}}]\n", "6: pools[0].plugins: the plugins' config takes 70013 bytes together, too much for one message to a worker; limits.max_message is 1KiB"},
		"long value":          {"version: 1\nlog: {level: " + strings.Repeat("é", 100) + "}\n", `2: log.level: "` + strings.Repeat("é", 40) + `"… is none of: debug, info, warn, error`},
		"long key, cut":       {"version: 1\n" + strings.Repeat("é", 100) + ": 1\n", `2: "` + strings.Repeat("é", 40) + `"…: unknown key; known here: version, socket, limits, access, log, metrics, jobs, shutdown_timeout, resources, pools`},
		"half a rune, cut":    {"version: 1\nlog: {level: x" + strings.Repeat("é", 100) + "}\n", `2: log.level: "x` + strings.Repeat("é", 39) + `"… is none of: debug, info, warn, error`},
		"config of long keys": {"version: 1\npools:\n- name: a\n  command: [x]\n  plugins:\n  - name: p\n    config:\n      ? " + strings.Repeat("k", 1<<20) + "\n      : [" + strings.Repeat("1,", 20_000) + "]\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.TrimSpace(verdict(t, []byte(test.text), user))
			want := "valid"
			if test.want != "" {
				want = "config.yaml: " + test.want
				if test.want[0] >= '0' && test.want[0] <= '9' {
					want = "config.yaml:" + test.want
				}
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// More problems than anybody reads are cut, and an access rule among those that are not told is dropped all the same.
func TestManyProblems(t *testing.T) {
	text := "version: 1\n" + strings.Repeat("frobnicate: 1\n", 20_000) +
		"access:\n  - {users: [alice], methods: ['*', '']}\n  - {users: [bob], methods: ['*']}\n"
	invalid := mustFail(t, text)
	if last := invalid.Problems[len(invalid.Problems)-1]; len(invalid.Problems) != 201 || last.Message != "19801 more problems" {
		t.Errorf("got %d problems, the last %q", len(invalid.Problems), last.Message)
	}
	equal(t, "usable rules", invalid.Usable.Access, []config.AccessRule{{Users: []string{"bob"}, Methods: []string{"*"}}})
}

// A configuration that was not read from a file can have faults that no file can give it.
func TestValidate(t *testing.T) {
	c := config.Default()
	c.Version, c.Socket.Path, c.ShutdownTimeout, c.Limits.MaxMessage = 0, "run/x.sock", -1, -1
	pool := config.DefaultPool()
	pool.Name, pool.Command, pool.Directory, pool.MaxWorkers, pool.CPULimit = "a", []string{"x"}, "sub", -1, -0.5
	c.Pools = []config.Pool{pool}
	equal(t, "problems", config.Validate(c, user), []config.Problem{
		{Path: "version", Message: "0 is not a version that is known; write version: 1"},
		{Path: "limits.max_message", Message: "-1 is negative"},
		{Path: "shutdown_timeout", Message: "-1ns is negative"},
		{Path: "pools[0].max_workers", Message: "-1 is negative"},
		{Path: "pools[0].cpu_limit", Message: "-0.5 is negative"},
		{Path: "socket.path", Message: `"run/x.sock" is not absolute`},
		{Path: "pools[0].directory", Message: `"sub" is not absolute`},
	})
	pool.Directory, pool.MaxWorkers, pool.CPULimit, pool.User = "/", 1, 0, "0"
	c = config.Default()
	c.Pools = []config.Pool{pool}
	if problems := config.Validate(c, 0); len(problems) != 1 || problems[0].Path != "pools[0].user" || config.Validate(c, user) != nil {
		t.Errorf("workers as root: got %v for root, %v for another", problems, config.Validate(c, user))
	}
}

func TestProblemText(t *testing.T) {
	for _, test := range []struct {
		problem    config.Problem
		file, want string
	}{
		{config.Problem{Path: "log.level", Line: 3, Message: "is odd"}, "f.yaml", "f.yaml:3: log.level: is odd"},
		{config.Problem{Path: "log.level", Message: "is odd"}, "f.yaml", "f.yaml: log.level: is odd"},
		{config.Problem{Message: "is odd"}, "f.yaml", "f.yaml: is odd"},
		{config.Problem{Path: "log.level", Line: 3, Message: "is odd"}, "", "log.level: is odd"},
		{config.Problem{Message: "is odd"}, "", "is odd"},
	} {
		if got := test.problem.Text(test.file); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

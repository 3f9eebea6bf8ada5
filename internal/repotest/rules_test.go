package repotest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the repository's top, seen from this package's directory, in which go test runs its tests.
const root = "../.."

// maxLines is where a file has more than one role.
const maxLines = 600

// files returns the repository's files as slash-separated paths below root, without what is built or cached.
func files(t *testing.T) []string {
	t.Helper()
	skip := map[string]bool{".git": true, "bin": true, "dist": true, "node_modules": true, "__pycache__": true, ".mypy_cache": true}
	var found []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && skip[entry.Name()]:
			return fs.SkipDir
		case entry.Type().IsRegular():
			found = append(found, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 20 {
		t.Fatalf("only %d files found below %s: this test looks at the wrong place", len(found), root)
	}
	return found
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// goFiles parses the Go files that are not tests, by package directory.
func goFiles(t *testing.T, mode parser.Mode) map[string]map[string]*ast.File {
	t.Helper()
	packages := map[string]map[string]*ast.File{}
	for _, name := range files(t) {
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "testdata/") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, read(t, name), mode)
		if err != nil {
			t.Fatal(err)
		}
		if packages[path.Dir(name)] == nil {
			packages[path.Dir(name)] = map[string]*ast.File{}
		}
		packages[path.Dir(name)][name] = file
	}
	return packages
}

func TestEveryPackageHasOneDoc(t *testing.T) {
	for dir, parsed := range goFiles(t, parser.ParseComments|parser.PackageClauseOnly) {
		var documented []string
		for name, file := range parsed {
			if file.Doc == nil {
				continue
			}
			documented = append(documented, name)
			begin := "Package " + file.Name.Name + " "
			if file.Name.Name == "main" {
				begin = "Command "
			}
			if !strings.HasPrefix(file.Doc.Text(), begin) {
				t.Errorf("%s: the package doc should begin with %q", name, begin)
			}
		}
		if len(documented) != 1 {
			t.Errorf("%s: %d files have a package doc, want one: %v", dir, len(documented), documented)
		}
	}
}

func TestFilesHaveOneRole(t *testing.T) {
	source := map[string]bool{".go": true, ".py": true, ".sh": true, ".js": true, ".mjs": true, ".ts": true}
	for _, name := range files(t) {
		base := path.Base(name)
		if !source[path.Ext(name)] || strings.HasSuffix(base, "_test.go") || strings.HasPrefix(base, "test_") {
			continue
		}
		if lines := bytes.Count(read(t, name), []byte("\n")); lines > maxLines {
			t.Errorf("%s has %d lines, over %d: split it by role", name, lines, maxLines)
		}
	}
}

// A clone works wherever it lies and whatever mirror its packages come from, so no text may name a place of one machine
// or the host of a package registry. The words are put together here, since this file is looked at, too.
func TestNoTextNamesAMachineOrARegistry(t *testing.T) {
	var words []string
	for _, parts := range [][]string{
		{"/wo", "rk/"},
		{"..", "/shared"},
		{"/tmp/", "team"},
		{"DESIGN", ".md"},
		{"STYLE", ".md"},
		{"proxy.golang", ".org"},
		{"sum.golang", ".org"},
		{"registry.npm", "js.org"},
		{"deb.debian", ".org"},
		{"pypi", ".org"},
		{"pythonhosted", ".org"},
	} {
		words = append(words, regexp.QuoteMeta(strings.Join(parts, "")))
	}
	forbidden := regexp.MustCompile(strings.Join(words, "|"))
	for _, name := range files(t) {
		for number, line := range bytes.Split(read(t, name), []byte("\n")) {
			if word := forbidden.Find(line); word != nil {
				t.Errorf("%s:%d names %q", name, number+1, word)
			}
		}
	}
}

func TestDocumentsArePresent(t *testing.T) {
	for name, want := range map[string]string{
		"README.md":            "make demo",
		"CHANGELOG.md":         "## [Unreleased]",
		"LICENSE":              "MIT License",
		"config.example.yaml":  "version: 1",
		"protocol/PROTOCOL.md": "stream_chunk",
	} {
		if !bytes.Contains(read(t, name), []byte(want)) {
			t.Errorf("%s does not contain %q", name, want)
		}
	}
}

// The scheduler replays a trace the same way each time, and can be fuzzed, because it starts nothing and asks no clock.
// depguard keeps I/O and locks out of it; a clock needs a look at the calls.
func TestSchedulerHasNoClockAndNoGoroutine(t *testing.T) {
	for name, file := range goFiles(t, 0)["internal/schedule"] {
		ast.Inspect(file, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", name)
			case *ast.SelectorExpr:
				from, isName := node.X.(*ast.Ident)
				clock := map[string]bool{"Now": true, "Since": true, "Until": true, "After": true, "AfterFunc": true, "NewTimer": true, "NewTicker": true, "Tick": true, "Sleep": true}
				if isName && from.Name == "time" && clock[node.Sel.Name] {
					t.Errorf("%s uses time.%s", name, node.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestCIRunsTheTestsTheLintersAndTheDemo(t *testing.T) {
	script := read(t, ".ci/run")
	makefile := read(t, "Makefile")
	for _, target := range []string{"test", "lint", "demo"} {
		if !bytes.Contains(script, []byte("make "+target)) {
			t.Errorf(".ci/run does not call make %s", target)
		}
	}
	for _, target := range []string{"build", "demo", "test", "test-all", "race", "lint", "fuzz", "bench"} {
		if !regexp.MustCompile(`(?m)^` + target + `:`).Match(makefile) {
			t.Errorf("the Makefile has no target %s", target)
		}
	}
}

// systemd-analyze exits with 0 for a key it does not know and only warns, so every output is a fault.
func TestSystemdUnitsAreValid(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		missing(t, "systemd-analyze")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "supervisord")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var units []string
	for _, name := range []string{"supervisord.service", "supervisord.socket"} {
		// Only the binary's place is not the one that it has when installed.
		content := bytes.ReplaceAll(read(t, "packaging/systemd/"+name), []byte("/usr/local/bin/supervisord"), []byte(binary))
		unit := filepath.Join(dir, name)
		if err := os.WriteFile(unit, content, 0o644); err != nil {
			t.Fatal(err)
		}
		units = append(units, unit)
	}
	output, err := exec.CommandContext(t.Context(), "systemd-analyze", append([]string{"verify", "--man=no", "--recursive-errors=no"}, units...)...).CombinedOutput()
	if err != nil || len(bytes.TrimSpace(output)) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, output)
	}
}

// missing ends a test that needs a tool which is not there: skipped on a developer's machine, failed in CI, where
// scripts/install-deps.sh has installed everything.
func missing(t *testing.T, tool string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("there is no %s; scripts/install-deps.sh test installs it", tool)
	}
	t.Skipf("there is no %s; scripts/install-deps.sh test installs it", tool)
}

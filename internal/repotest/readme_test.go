package repotest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A snippet is one fenced block of the README. The comment on the line before it says what a reader does with it:
//
//	<!-- snippet: ci -->          the two commands; .ci/run runs them, so that nothing but their presence there is left to test
//	<!-- snippet: checkout -->    typed in the checkout
//	<!-- snippet: file NAME -->   saved as NAME
//	<!-- snippet: run -->         typed into the shell
//	<!-- snippet: serve -->       typed into the shell; from then on a daemon runs
//	<!-- snippet: output -->      what the commands before it print; "…" stands for anything, alone on a line for any lines
//	<!-- snippet: picture -->     for the eye
//
// The test replays them all, in order, in one shell, as a reader would.
type snippet struct {
	line         int
	action, name string
	text         string
}

// stepLimit bounds one snippet; it only ends what hangs.
const stepLimit = 2 * time.Minute

var directive = regexp.MustCompile(`^<!-- snippet: ([a-z]+)(?: (\S+))? -->$`)

func snippets(t *testing.T) []snippet {
	t.Helper()
	var found []snippet
	var current *snippet
	previous := ""
	for number, line := range strings.Split(string(read(t, "README.md")), "\n") {
		fence := strings.HasPrefix(line, "```")
		switch {
		case current == nil && fence:
			match := directive.FindStringSubmatch(previous)
			if match == nil {
				t.Fatalf("README.md:%d: no snippet comment on the line before this block", number+1)
			}
			current = &snippet{line: number + 1, action: match[1], name: match[2]}
		case current != nil && fence:
			found = append(found, *current)
			current = nil
		case current != nil:
			current.text += line + "\n"
		}
		previous = line
	}
	if current != nil {
		t.Fatalf("README.md:%d: this block has no end", current.line)
	}
	return found
}

func TestReadme(t *testing.T) {
	for _, tool := range []string{"make", "go", "python3", "node", "nc"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool)
		}
	}
	reader := newReader(t)
	done := map[string]int{}
	for _, snippet := range snippets(t) {
		done[snippet.action]++
		reader.line = snippet.line
		switch snippet.action {
		case "ci":
			for command := range strings.Lines(snippet.text) {
				command, _, _ = strings.Cut(command, "#")
				if !bytes.Contains(read(t, ".ci/run"), []byte(strings.TrimSpace(command)+"\n")) {
					t.Errorf("README.md:%d: .ci/run does not run %q", snippet.line, command)
				}
			}
		case "checkout":
			reader.run("pushd '" + reader.checkout + "' >/dev/null\n" + snippet.text + "popd >/dev/null\n")
		case "file":
			reader.save(snippet.name, snippet.text)
		case "run":
			reader.run(snippet.text)
		case "serve":
			reader.run(snippet.text)
			reader.waitReady()
		case "output":
			reader.compare(snippet.text)
		case "picture":
		default:
			t.Fatalf("README.md:%d: unknown action %q", snippet.line, snippet.action)
		}
	}
	for action, least := range map[string]int{"ci": 1, "checkout": 1, "file": 5, "run": 5, "serve": 1, "output": 5} {
		if done[action] < least {
			t.Errorf("the README has %d snippets of the kind %q, want at least %d", done[action], action, least)
		}
	}
}

// reader is someone who follows the README in one shell, in an empty directory. What a reader's machine has at /usr/local
// and /etc, and sudo and systemctl with it, is a directory of the test's own.
type reader struct {
	t        *testing.T
	line     int // of the README
	checkout string
	dir      string // where the reader works
	machine  string // stands for the root directory of the reader's machine
	stdin    io.Writer
	stdout   *bufio.Reader
	kill     func()
	ready    *net.UnixConn // where the daemon tells that it is ready
	output   string        // of the last snippet that ran
}

func newReader(t *testing.T) *reader {
	t.Helper()
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir, whose long name leaves a socket's path no room.
	top, err := os.MkdirTemp("", "readme")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(top); err != nil {
			t.Error(err)
		}
	})
	r := &reader{t: t, checkout: checkout, dir: filepath.Join(top, "work"), machine: filepath.Join(top, "machine")}
	shims := filepath.Join(top, "shims")
	for _, dir := range []string{r.dir, shims, filepath.Join(r.machine, "etc")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, body := range map[string]string{
		"sudo":             `exec "$@"`,
		"systemctl":        `exec /usr/bin/systemctl --root="$DESTDIR" "${@/--now/--quiet}"`,
		"systemd-sysusers": `exec /usr/bin/systemd-sysusers --root="$DESTDIR" "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(shims, name), []byte("#!/bin/bash\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	notify := filepath.Join(top, "notify")
	r.ready, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.ready.Close() })

	ctx, cancel := context.WithCancel(t.Context())
	shell := exec.CommandContext(ctx, "bash", "--noprofile", "--norc", "-s")
	shell.Dir = r.dir
	shell.Env = append(os.Environ(), "DESTDIR="+r.machine, "XDG_RUNTIME_DIR="+top, "NOTIFY_SOCKET="+notify, "SUPERVISORD_SOCKET=", "CHECKOUT="+checkout,
		"PATH="+shims+":"+filepath.Join(r.machine, "usr/local/bin")+":"+os.Getenv("PATH"))
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// The daemon is of the shell's process group, and its workers end with it.
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	r.kill = cancel
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	shell.Stderr = shell.Stdout
	r.stdin, r.stdout = in, bufio.NewReader(out)
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = shell.Wait()
	})
	return r
}

// local puts the reader's machine in the place of the real one.
func (r *reader) local(text string) string {
	return strings.NewReplacer("/usr/local/", r.machine+"/usr/local/", " /etc/", " "+r.machine+"/etc/").Replace(text)
}

func (r *reader) fatalf(format string, args ...any) {
	r.t.Helper()
	log, _ := os.ReadFile(filepath.Join(r.dir, "supervisord.log"))
	r.t.Fatalf("README.md:%d: %s\nthe daemon's log:\n%s", r.line, fmt.Sprintf(format, args...), log)
}

func (r *reader) save(name, text string) {
	r.t.Helper()
	text = r.local(text)
	if filepath.Ext(name) == ".yaml" && os.Geteuid() == 0 {
		// A daemon run by root runs no worker as root unless told so, and the README's reader is not root.
		text = regexp.MustCompile(`(?m)^( *)- name: .*$`).ReplaceAllString(text, "$0\n$1  allow_root: true")
	}
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// run types the text into the shell and waits until all of it has been carried out, with success.
func (r *reader) run(text string) {
	r.t.Helper()
	timer := time.AfterFunc(stepLimit, r.kill)
	defer timer.Stop()
	const mark = "end-of-snippet"
	// Not a subshell: what the text exports and starts in the background stays. With -e off, as in a reader's shell, a
	// failure in the middle would be lost, so that each line is asked.
	script := "trap 'failed=$?' ERR; failed=0\n{\n" + r.local(text) + "} </dev/null\necho; echo " + mark + " $failed\n"
	if _, err := io.WriteString(r.stdin, script); err != nil {
		r.fatalf("the shell is gone: %v", err)
	}
	var output strings.Builder
	for {
		line, err := r.stdout.ReadString('\n')
		if err != nil {
			r.fatalf("the shell ended or took longer than %v: %v\n%s%s", stepLimit, err, output.String(), line)
		}
		if code, isEnd := strings.CutPrefix(line, mark+" "); isEnd {
			if strings.TrimSpace(code) != "0" {
				r.fatalf("a command failed with exit code %s:\n%s\nit printed:\n%s", strings.TrimSpace(code), text, output.String())
			}
			break
		}
		output.WriteString(strings.TrimRight(line, " \n") + "\n") // no reader sees a space at the end of a line
	}
	r.output = strings.TrimRight(output.String(), "\n") + "\n"
}

func (r *reader) compare(want string) {
	r.t.Helper()
	var pattern strings.Builder
	for line := range strings.Lines(want) {
		if line == "…\n" {
			pattern.WriteString(`(?:.*\n)*`)
			continue
		}
		pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*"))
	}
	if !regexp.MustCompile(`^` + pattern.String() + `$`).MatchString(r.output) {
		r.t.Errorf("README.md:%d: the README says that this is printed:\n%s\nand this was:\n%s", r.line, want, r.output)
	}
}

// waitReady waits until the daemon says READY=1, as it does to systemd.
func (r *reader) waitReady() {
	r.t.Helper()
	if err := r.ready.SetReadDeadline(time.Now().Add(stepLimit)); err != nil {
		r.t.Fatal(err)
	}
	message := make([]byte, 4096)
	for {
		n, err := r.ready.Read(message)
		if err != nil {
			r.fatalf("the daemon did not become ready: %v\n%s", err, r.output)
		}
		if bytes.Contains(message[:n], []byte("READY=1")) {
			return
		}
	}
}

package workertest

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"supervisord/internal/process"
)

// envRole names the role of a process, with its arguments behind it: quoted, separated by newlines.
const envRole = "SUPERVISORD_TEST_ROLE"

// Role is the life of a process; its return ends it with status 0. Args are what Command was given behind the name.
type Role func(link *Link, args []string)

// Main is the body of a TestMain: in a process that Command describes it runs the role and never returns, else it runs
// the tests and fails them where goroutines are left. Roles of the test's own come before the built-in ones.
func Main(m *testing.M, own ...map[string]Role) {
	process.Main()
	if role, ok := os.LookupEnv(envRole); ok {
		runRole(role, own)
	}
	goleak.VerifyTestMain(m)
}

func runRole(role string, own []map[string]Role) {
	var args []string
	for quoted := range strings.SplitSeq(role, "\n") {
		arg, err := strconv.Unquote(quoted)
		if err != nil {
			fail(err)
		}
		args = append(args, arg)
	}
	for _, roles := range append(own, builtin) {
		if run, ok := roles[args[0]]; ok {
			run(newLink(), args[1:])
			exit(0)
		}
	}
	_, _ = os.Stderr.WriteString("no such role: " + args[0] + "\n") // the status tells too
	exit(2)
}

// exit ends a process of a role.
func exit(status int) {
	os.Exit(status) //nolint:forbidigo // the process is nothing but the role
}

// Command is how a worker in a role is started: argv and the variables that it needs.
func Command(role string, args ...string) (argv, env []string) {
	exe, err := os.Executable()
	if err != nil {
		exe = "/proc/self/exe" // of the process that is to become the worker: the same program
	}
	quoted := []string{strconv.Quote(role)}
	for _, arg := range args {
		quoted = append(quoted, strconv.Quote(arg))
	}
	// The race detector would let each process linger for a second.
	return []string{exe}, []string{envRole + "=" + strings.Join(quoted, "\n"), "GORACE=atexit_sleep_ms=0"}
}

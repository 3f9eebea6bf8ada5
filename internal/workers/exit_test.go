package workers

import (
	"errors"
	"syscall"
	"testing"

	"supervisord/internal/process"
	"supervisord/protocol"
)

// What the kernel says of an exit that nobody here has wanted.
func TestClassify(t *testing.T) {
	killed := syscall.WaitStatus(syscall.SIGKILL)
	for _, c := range []struct {
		name    string
		ended   process.Exit
		ready   bool
		cause   protocol.Cause
		message string
	}{
		{"exit", process.Exit{Status: 3 << 8}, true, protocol.CauseExit, "exited with status 3"},
		{"before ready", process.Exit{Status: 3 << 8}, false, protocol.CauseStartFailed, "exited with status 3 before it was ready"},
		{"signal", process.Exit{Status: syscall.WaitStatus(syscall.SIGSEGV) | 0x80}, true, protocol.CauseSignal, "killed by SIGSEGV (core dumped)"},
		{"killed", process.Exit{Status: killed}, true, protocol.CauseSignal, "killed by SIGKILL, not by the daemon: perhaps out of memory"},
		{
			"over its limit",
			process.Exit{Status: killed, OOM: &process.OOM{Limit: 64 << 20, Peak: 63 << 20}},
			true,
			protocol.CauseOOM, "killed by the kernel: it was over its memory limit of 67108864 bytes (peak 66060288 bytes)",
		},
		{"out of memory", process.Exit{Status: killed, OOM: &process.OOM{}}, true, protocol.CauseOOM, "killed by the kernel, which was out of memory"},
		{
			"no program",
			process.Exit{Status: 127 << 8, Start: errors.New("exec x: no such file or directory")},
			false,
			protocol.CauseStartFailed, "start: exec x: no such file or directory",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &Worker{inc: &Incarnation{output: &output{}, link: &link{}}}
			if c.ready {
				w.inc.ready = &protocol.Ready{}
			}
			exit := w.classify(&c.ended, nil)
			if exit.Cause != c.cause || exit.Message != c.message || exit.kind != endCrashed {
				t.Errorf("%+v", exit)
			}
			if c.ended.Start != nil && exit.Code != nil {
				t.Errorf("status %d of a program that never ran", *exit.Code)
			}
		})
	}
}

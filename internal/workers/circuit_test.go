package workers_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"supervisord/internal/workers"
	"supervisord/protocol"
)

// Of all workers whose restarts are spent one goes on trying. When it is ready, the others follow.
func TestOneProbe(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "healed")
	f := newFixture(t, func(o *workers.Options) {
		o.MaxWorkers, o.Policy, o.MaxRestartAttempts, o.RestartBackoffMax = 3, workers.PolicyAlways, 1, 20*time.Millisecond
	}, "needs-file", flag)
	for slot := range 3 {
		f.pool.Start(slot)
	}
	for down := map[string]int{}; down["ended gone"] < 6; { // the probe's, again and again
		down[f.next()]++
	}
	number := map[string]uint64{}
	spent := 0
	for _, w := range f.pool.List() {
		number[w.Worker] = w.Incarnation
		if w.Incarnation == 2 { // one start and one restart
			spent++
		}
	}
	if spent != 2 {
		t.Errorf("incarnations %v: more than one worker probes", number)
	}
	err := f.pool.Unavailable()
	if err.Data.State != protocol.PoolFailed || !strings.Contains(err.Data.Reason, " starts in a row failed: exited with status 1 before") {
		t.Errorf("unavailable %+v", err)
	}
	touch(t, flag)
	for up := 0; up < 3; {
		if e := f.next(); strings.HasPrefix(e, "up ") {
			up++
		}
	}
	if s := f.pool.Status(); s.State != protocol.PoolReady || s.Workers.Ready != 3 || s.Reason != "" {
		t.Errorf("status %+v", s)
	}
}

// The first of those that are spent waits before its next start, the others do not even have one.
func TestRetryAfterIsTheProbe(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) {
		o.MaxWorkers, o.Policy, o.MaxRestartAttempts, o.RestartBackoffMax = 2, workers.PolicyAlways, 0, 1000*time.Hour
	}, "exit-at-start", "1")
	begin := func(slot int) {
		f.pool.Start(slot)
		f.expect("ended gone")
	}
	begin(0)
	begin(1)
	if ms := f.pool.Unavailable().Data.RetryAfterMS; ms == nil || *ms <= 0 {
		t.Errorf("retry after %v", ms)
	}
	probes := f.logs.FilterMessage("worker exited").FilterField(zap.String("next", "probe")).Len()
	if probes != 1 {
		t.Errorf("%d probes", probes)
	}
	// Where the prober is started by hand and asks not to be restarted, another takes its place.
	o := f.as("exit-at-start", "125")
	o.RestartBackoffMax = time.Millisecond
	if err := f.pool.Tune(o); err != nil {
		t.Fatal(err)
	}
	begin(0)
	f.expect("ended gone") // the probe of the other
	if s := f.pool.Status(); s.State != protocol.PoolStopped || s.Workers.Failed != 2 {
		t.Errorf("status %+v", s)
	}
}

// One success makes the next failure the first; one more failure after a probe that healed spends again.
func TestRunFailures(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) {
		o.Policy, o.MaxRestartAttempts, o.RestartBackoffMax = workers.PolicyAlways, 1, time.Millisecond
	}, "echo")
	inc := f.up(0)
	f.run(inc, "{}")
	f.expect("j1 success {}")
	kill(t, inc)
	f.expect("down 1", "ended coming")
	kill(t, f.nextUp())
	f.expect("down 2", "ended gone")
	if r := f.pool.List()[0].LastExit.Message; r != "killed by SIGKILL, not by the daemon: perhaps out of memory" {
		t.Errorf("message %q", r)
	}
	kill(t, f.nextUp()) // the probe
	f.expect("down 3", "ended gone")
	if n := f.logs.FilterField(zap.String("row", "died 3 times in a row")).Len(); n != 1 {
		t.Errorf("%d exits are the third in a row", n)
	}
	f.nextUp()
}

// Reset starts again what is down, with its failures forgotten.
func TestReset(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "healed")
	f := newFixture(t, func(o *workers.Options) { o.MaxWorkers, o.RestartBackoffMax = 2, time.Hour }, "needs-file", flag)
	f.pool.Start(0)
	f.expect("ended gone")
	f.pool.Reset()
	f.expect("ended coming", "ended gone")
	touch(t, flag)
	f.pool.Reset()
	f.upAmong(3, "ended coming")
	f.pool.Reset() // nothing to do
	f.pool.Stop(t.Context())
	f.pool.Reset()
	f.expect("down 3", "ended gone")
}

package workers_test

import (
	"os"
	"syscall"
	"testing"

	"supervisord/internal/workers"
	"supervisord/internal/workers/workertest"
)

func init() { //nolint:gochecknoinits // beside its test
	// leaver joins its parent's process group, as it may, and ignores its job.
	roles["leaver"] = func(l *workertest.Link, _ []string) {
		group, err := syscall.Getpgid(os.Getppid())
		if err == nil {
			err = syscall.Setpgid(0, group)
		}
		if err != nil {
			panic(err)
		}
		l.Ready()
		l.Job()
		workertest.Forever()
	}
}

// A worker that has left its process group is ended all the same, by force and by signals.
func TestLeaver(t *testing.T) {
	for name, force := range map[string]bool{"killed": true, "terminated": false} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(o *workers.Options) { o.CancelGrace = 0 }, "leaver")
			inc := f.up(0)
			f.run(inc, "{}")
			inc.Cancel("j1", force)
			f.expect("down 1", "j1 lost stopped", "ended gone")
		})
	}
}

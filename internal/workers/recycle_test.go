package workers_test

import (
	"testing"
	"time"

	"supervisord/internal/workers"
)

// A process is reported once it has run its jobs, and not before the answer to the last of them. It goes on until it is
// retired.
func TestMaxJobs(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) { o.MaxJobs = 2 }, "echo")
	inc := f.up(0)
	f.run(inc, "{}")
	f.expect("j1 success {}")
	f.run(inc, "{}")
	f.expect("j2 success {}", "due 1 max_jobs_per_worker")
	f.run(inc, "{}")
	f.expect("j3 success {}")
	f.pool.Replace(0)
	successor := f.nextUp()
	f.pool.Retire(inc)
	f.expect("down 1", "retired 0")
	f.run(successor, "{}")
	f.expect("j4 success {}")
	f.run(successor, "{}")
	f.expect("j5 success {}", "due 2 max_jobs_per_worker")
}

// A process that is due and could not be replaced is reported again.
func TestDueAgain(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) { o.MaxJobs, o.RestartBackoffMax = 1, time.Millisecond }, "gated", "2", "/", "4")
	inc := f.up(0)
	f.run(inc, "{}")
	f.expect("j1 success {}", "due 1 max_jobs_per_worker")
	for range 2 {
		f.pool.Replace(0)
		f.expect("replace failed start_failed", "due 1 max_jobs_per_worker")
	}
	f.pool.Retire(inc)
	f.expect("down 1", "ended free")
}

func TestMaxAge(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) { o.MaxAge = time.Millisecond }, "echo")
	f.up(0)
	f.expect("due 1 max_worker_age")
	// Whether there is a limit may change.
	o := f.options
	o.MaxAge, o.MaxWorkers = time.Hour, 2
	if err := f.pool.Tune(o); err != nil {
		t.Fatal(err)
	}
	f.up(1)
	o.MaxAge = time.Millisecond
	if err := f.pool.Tune(o); err != nil {
		t.Fatal(err)
	}
	f.expect("due 1 max_worker_age")
}

// Memory is looked at when a job has ended, and a second later when one ends meanwhile.
func TestMaxMemory(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) { o.MaxMemory = 150 << 20 }, "grows")
	inc := f.up(0)
	f.run(inc, `{}`)
	f.expect("j1 success {}")
	f.run(inc, `{}`)
	f.expect("j2 success {}")
	f.run(inc, `{"grow":true}`)
	f.expectMixed(`j3 success {"grow":true}`, "due 1 max_worker_memory")
	f.run(inc, `{}`)
	f.expect("j4 success {}")
}

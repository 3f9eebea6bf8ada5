package workers

import (
	"fmt"
	"time"
)

// Policy is a restart policy, by its name in the configuration.
type Policy string

// The restart policies. All start again after a planned stop.
const (
	// PolicyNever stays down after a kill or a crash.
	PolicyNever Policy = "never"
	// PolicyOnCancellation starts again after a kill by cancel or deadline, and stays down after a crash.
	PolicyOnCancellation Policy = "on_cancellation"
	// PolicyAlways starts again at once, up to MaxRestartAttempts times in a row.
	PolicyAlways Policy = "always"
	// PolicyBackoff starts again at once after the first crash, then after growing delays.
	PolicyBackoff Policy = "backoff"
)

func (p Policy) known() bool {
	switch p {
	case PolicyNever, PolicyOnCancellation, PolicyAlways, PolicyBackoff:
		return true
	}
	return false
}

// restartsCrashed reports whether a worker that has crashed is ever started again.
func (p Policy) restartsCrashed() bool { return p == PolicyAlways || p == PolicyBackoff }

type endKind uint8

const (
	endPlanned endKind = iota + 1 // a stop that was asked for
	endKilled                     // by a cancel or a deadline
	endCrashed                    // a crash, an exit, a failed start
)

// restarts decides whether and when a worker is started again.
type restarts struct {
	policy   Policy
	max      int
	base     time.Duration
	cap      time.Duration
	reset    time.Duration  // of health that forgets the failures; 0: only a success does
	random   func() float64 // in [0, 1)
	failures int            // in a row
	boots    int            // how many of them never were ready
}

// tune takes over what the options say.
func (r *restarts) tune(o *Options) {
	r.policy, r.max, r.reset = o.Policy, o.MaxRestartAttempts, o.RestartReset
	r.base, r.cap = o.RestartBackoffBase, o.RestartBackoffMax
}

// verdict is what follows an exit.
type verdict struct {
	restart bool
	delay   time.Duration
	// spent: attempts are used up; restart is the probe that may heal the worker, calls fail until it is ready.
	spent bool
}

// healthy forgets the failures.
func (r *restarts) healthy() { r.failures, r.boots = 0, 0 }

// after says what follows the end of a process that was ready for uptime (0: never was) and had answered a job with
// success, or not.
func (r *restarts) after(kind endKind, uptime time.Duration, succeeded bool) verdict {
	if succeeded || r.reset > 0 && uptime >= r.reset {
		r.healthy()
	}
	again := verdict{restart: true}
	switch kind {
	case endPlanned:
		return again
	case endKilled:
		return verdict{restart: r.policy != PolicyNever}
	case endCrashed:
	}
	r.failures++
	if uptime == 0 {
		r.boots++
	}
	if !r.policy.restartsCrashed() {
		return verdict{}
	}
	if r.failures > r.max {
		return verdict{restart: true, delay: r.cap, spent: true}
	}
	if r.policy == PolicyAlways || r.failures == 1 {
		return again
	}
	// Full jitter: workers that died together do not come back together.
	again.delay = time.Duration(r.random() * float64(r.ceiling()))
	return again
}

// ceiling is the longest delay after the second failure and later ones: base, doubled by each, never above cap.
func (r *restarts) ceiling() time.Duration {
	d := r.base
	for range r.failures - 2 {
		if d >= r.cap/2 {
			return r.cap
		}
		d *= 2
	}
	return min(d, r.cap)
}

// row says what the failures in a row were; "" for less than two.
func (r *restarts) row() string {
	switch {
	case r.failures < 2:
		return ""
	case r.boots == r.failures:
		return fmt.Sprintf("%d starts in a row failed", r.failures)
	}
	return fmt.Sprintf("died %d times in a row", r.failures)
}

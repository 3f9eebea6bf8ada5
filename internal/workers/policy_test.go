package workers

import (
	"testing"
	"time"
)

func TestRestartPolicies(t *testing.T) {
	now, down := verdict{restart: true}, verdict{}
	spent := verdict{restart: true, delay: time.Minute, spent: true}
	after := func(d time.Duration) verdict { return verdict{restart: true, delay: d} }
	for _, c := range []struct {
		policy  Policy
		planned verdict
		killed  verdict
		crashes []verdict // in a row
	}{
		{PolicyNever, now, down, []verdict{down, down}},
		{PolicyOnCancellation, now, now, []verdict{down, down}},
		{PolicyAlways, now, now, []verdict{now, now, now, now, now, spent, spent}},
		{PolicyBackoff, now, now, []verdict{now, after(time.Second), after(2 * time.Second), after(4 * time.Second), after(5 * time.Second), spent}},
	} {
		t.Run(string(c.policy), func(t *testing.T) {
			r := restarts{
				policy: c.policy, max: 5, base: 2 * time.Second, cap: time.Minute, reset: time.Hour, random: func() float64 { return 0.5 },
			}
			if c.policy == PolicyBackoff {
				r.cap = 10 * time.Second
				spent.delay = r.cap
				c.crashes[5].delay = r.cap
			}
			for i, want := range c.crashes {
				if got := r.after(endPlanned, 0, false); got != c.planned {
					t.Errorf("after a planned stop: %+v, want %+v", got, c.planned)
				}
				if got := r.after(endKilled, 0, false); got != c.killed {
					t.Errorf("after a kill: %+v, want %+v", got, c.killed)
				}
				if got := r.after(endCrashed, time.Hour-1, false); got != want {
					t.Errorf("after crash %d: %+v, want %+v", i+1, got, want)
				}
			}
		})
	}
}

// A success or enough health before the crash makes it the first one again.
func TestRestartReset(t *testing.T) {
	for _, c := range []struct {
		name      string
		reset     time.Duration
		uptime    time.Duration
		succeeded bool
		failures  int
	}{
		{"nothing", time.Minute, time.Second, false, 3},
		{"success", time.Minute, time.Second, true, 1},
		{"health", time.Minute, time.Minute, false, 1},
		{"never by health", 0, time.Hour, false, 3},
		{"success without reset", 0, 0, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := restarts{policy: PolicyAlways, max: 9, reset: c.reset, failures: 2}
			r.after(endCrashed, c.uptime, c.succeeded)
			if r.failures != c.failures {
				t.Errorf("%d failures, want %d", r.failures, c.failures)
			}
		})
	}
}

// Starts that fail are told from workers that die.
func TestFailuresInARow(t *testing.T) {
	r := restarts{policy: PolicyAlways, max: 2}
	for _, c := range []struct {
		uptime    time.Duration
		succeeded bool
		row       string
	}{
		{0, false, ""},
		{0, false, "2 starts in a row failed"},
		{time.Second, false, "died 3 times in a row"},
		{0, false, "died 4 times in a row"},
		{time.Second, true, ""},
		{0, false, "died 2 times in a row"},
	} {
		r.after(endPlanned, c.uptime, false) // no failure
		r.after(endKilled, c.uptime, false)
		if r.after(endCrashed, c.uptime, c.succeeded); r.row() != c.row {
			t.Errorf("after %+v: %q", c, r.row())
		}
	}
}

// However long a worker fails, the delay stays within 0 and the longest.
func TestBackoffStaysInBounds(t *testing.T) {
	for _, base := range []time.Duration{1, time.Second, time.Hour, 1 << 62} {
		r := restarts{policy: PolicyBackoff, max: 1000, base: base, cap: 1<<63 - 1, random: func() float64 { return 0.999 }}
		last := time.Duration(0)
		for range 1000 {
			v := r.after(endCrashed, 0, false)
			if v.delay < last || !v.restart || v.spent {
				t.Fatalf("base %s, failure %d: %+v after %s", base, r.failures, v, last)
			}
			last = v.delay
		}
	}
}

package workers_test

import (
	"fmt"
	"strings"
	"testing"
)

// Of a job that was lost it is known whether any of it was read, wherever its bytes are.
func TestUnread(t *testing.T) {
	large := `{"a":"` + strings.Repeat("x", 1<<19) + `"}` // more than the pipe holds
	for _, c := range []struct {
		name   string
		role   string
		args   []string
		params []string
		unread string // for each job
	}{
		{"never read", "deaf-concurrent", nil, []string{"{}", "{}"}, "[true true]"},
		{"too large for the pipe", "deaf-concurrent", nil, []string{large, "{}", large}, "[true true true]"},
		{"read", "reads", []string{"2", "0"}, []string{"{}", "{}"}, "[false false]"},
		{"one read, one not", "reads", []string{"1", "0"}, []string{"{}", "{}"}, "[false true]"},
		{"large ones", "reads", []string{"1", "0"}, []string{large, large, "{}"}, "[false true true]"},
		{"a byte read", "reads", []string{"1", "1"}, []string{"{}", "{}", "{}"}, "[false false true]"},
		{"the first bytes of a large one read", "reads", []string{"0", "100"}, []string{large, "{}"}, "[false true]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, concurrent, c.role, c.args...)
			inc := f.up(0)
			var jobs []*job
			for _, p := range c.params {
				jobs = append(jobs, f.run(inc, p))
			}
			waitForState(t, inc.PID(), "T") // it has read what it reads
			kill(t, inc)
			f.expect("down 1")
			var got []bool
			for _, j := range jobs {
				f.expect(j.id + " lost signal")
				got = append(got, j.unread)
			}
			f.expect("ended gone")
			if fmt.Sprint(got) != c.unread {
				t.Errorf("unread %v, want %s", got, c.unread)
			}
		})
	}
}

// While somebody may still read, nothing is proven.
func TestUnreadHeldOpen(t *testing.T) {
	f := newFixture(t, concurrent, "heir")
	inc := f.up(0)
	one, two := f.run(inc, "{}"), f.run(inc, "{}")
	var pid int
	for range 5 { // chunk, down, two lost, ended
		_, _ = fmt.Sscanf(f.next(), "j1 chunk %d", &pid)
	}
	if one.unread || two.unread {
		t.Errorf("unread %t, %t", one.unread, two.unread)
	}
	killProcess(t, pid)
}

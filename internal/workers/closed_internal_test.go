package workers

import "testing"

// A process that has closed a pipe before it is ready never is: it could not be given a job, and as the first one of a
// generation it must not be the proof of it.
func TestClosedBeforeReady(t *testing.T) {
	w := &Worker{state: Initializing, closed: errClosedRequests}
	w.becomeReady()
	if w.state != Initializing || w.up {
		t.Errorf("state %v, up %t", w.state, w.up)
	}
}

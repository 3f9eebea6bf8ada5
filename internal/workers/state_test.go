package workers

import (
	"testing"

	"go.uber.org/zap"
)

// Every state is entered and can be left, and the worker can be asked to stop in each.
func TestTransitions(t *testing.T) {
	for s := Stopped; s < stateEnd; s++ {
		if s.String() == "invalid" {
			t.Errorf("state %d has no name", s)
		}
		if transitions[s][evStop] == stateNone {
			t.Errorf("stop is illegal in state %s", s)
		}
		if !reachable(s)[Stopped] {
			t.Errorf("no way from %s to %s", s, Stopped)
		}
		if !reachable(Stopped)[s] {
			t.Errorf("no way from %s to %s", Stopped, s)
		}
	}
	for e := evStart; e < eventEnd; e++ {
		if e.String() == "" {
			t.Errorf("event %d has no name", e)
		}
		legal := false
		for s := range transitions {
			legal = legal || transitions[s][e] != stateNone
		}
		if !legal {
			t.Errorf("event %s is legal nowhere", e)
		}
	}
	for e := range transitions[stateNone] {
		if transitions[stateNone][e] != stateNone {
			t.Errorf("no state has a transition")
		}
	}
	// Where there is a process, its exit, its end by force and a call to stop are understood.
	for _, s := range []State{Initializing, Ready, Draining, Stopping} {
		for _, e := range []event{evKill, evExitGo, evExitStay, evExitStop, evStop} {
			if transitions[s][e] == stateNone {
				t.Errorf("event %s is illegal in state %s", e, s)
			}
		}
	}
}

// reachable is the set of states that some events lead to from s.
func reachable(s State) map[State]bool {
	seen := map[State]bool{}
	for todo := []State{s}; len(todo) > 0; {
		from := todo[0]
		todo = todo[1:]
		for _, to := range transitions[from] {
			if to != stateNone && !seen[to] {
				seen[to] = true
				todo = append(todo, to)
			}
		}
	}
	return seen
}

// An event that is not in the table is told loudly, counted, and changes nothing.
func TestIllegalEvent(t *testing.T) {
	p := &Pool{log: zap.NewNop()}
	w := p.newWorker(&slot{}, serving)
	w.state = Backoff
	if w.apply(evReady) || w.state != Backoff || p.Stats().IllegalEvents != 1 {
		t.Errorf("state %s, %+v", w.state, p.Stats())
	}
	w.log = zap.New(zap.NewNop().Core(), zap.Development())
	defer func() {
		if recover() == nil {
			t.Error("no panic with a logger for development")
		}
	}()
	w.apply(evReady)
}

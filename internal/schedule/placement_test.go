package schedule_test

import (
	"testing"

	"supervisord/internal/schedule"
)

func TestIdleBeforeBusy(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 2, MaxWorkers: 2})
	h.up("p", 0, 4, "x")
	h.up("p", 1, 4, "x")
	h.forget()
	h.submit("a", "x")
	h.submit("b", "x")
	h.want("grant a p/1", "grant b p/0")
}

func TestIdleOfAnotherPoolBeforeBusy(t *testing.T) {
	h := newHarness(t, 0, one(), schedule.PoolSpec{Name: "q", Plugins: []string{"x"}, MinWorkers: 1, MaxWorkers: 1})
	h.up("q", 0, 4, "x")
	h.up("p", 0, 4, "x")
	h.forget()
	h.submit("a", "x")
	h.submit("b", "x")
	h.want("grant a p/0", "grant b q/0")
}

func TestIdleButUnsuitable(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x", "y"}, MinWorkers: 2, MaxWorkers: 2})
	h.up("p", 0, 2, "x")
	h.up("p", 1, 2, "y")
	h.forget()
	h.submit("a", "x")
	h.submit("b", "x")
	h.want("grant a p/0", "grant b p/0")
	c := h.submit("c", "x")
	h.want()
	if c.Worker() != nil {
		t.Error("a task runs where its plugin is not loaded")
	}
}

// The worker that was used last has its memory warm, and the others may be stopped for being idle.
func TestMostRecentlyUsedFirst(t *testing.T) {
	h := newHarness(t, 0,
		schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 2, MaxWorkers: 2},
		schedule.PoolSpec{Name: "q", Plugins: []string{"x"}, MinWorkers: 2, MaxWorkers: 2})
	for slot := range 2 {
		h.up("p", slot, 1, "x")
		h.up("q", slot, 1, "x")
	}
	h.forget()
	a, b, c, d := h.submit("a", "x"), h.submit("b", "x"), h.submit("c", "x"), h.submit("d", "x")
	h.want("grant a q/1", "grant b p/1", "grant c q/0", "grant d p/0")
	h.ended(b, d, a, c)
	for _, name := range []string{"e", "f"} {
		h.ended(h.submit(name, "x"))
	}
	h.want("grant e q/0", "grant f q/0")
	h.submit("g", "x")
	h.submit("h", "x")
	h.submit("i", "x")
	h.submit("j", "x")
	h.want("grant g q/0", "grant h q/1", "grant i p/0", "grant j p/1")
}

func TestLeastBusyWithRoom(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 3, MaxWorkers: 3})
	w := []*schedule.Worker{h.up("p", 0, 4, "x"), h.up("p", 1, 4, "x"), h.up("p", 2, 1, "x")}
	var tasks []*schedule.Task
	for range 9 {
		tasks = append(tasks, h.submit("a", "x"))
	}
	if w[0].Running() != 4 || w[1].Running() != 4 || w[2].Running() != 1 {
		t.Fatalf("the workers run %d, %d and %d tasks, want 4, 4 and 1", w[0].Running(), w[1].Running(), w[2].Running())
	}
	h.counts(0, 9)
	ended := 0
	for _, task := range tasks {
		if task.Worker() == w[1] && ended < 2 {
			ended++
			h.ended(task)
		}
	}
	h.forget()
	h.submit("b", "x")
	h.submit("c", "x")
	h.submit("d", "x")
	h.want("grant b p/1", "grant c p/1")
	h.counts(1, 9)
}

func TestWorkerDownTakesNoMore(t *testing.T) {
	h := newHarness(t, 0, one())
	w := h.up("p", 0, 4, "x")
	a := h.submit("a", "x")
	h.forget()
	h.m.WorkerDown(w)
	h.m.WorkerDown(w)
	h.submit("b", "x")
	h.want()
	h.counts(1, 1)
	h.ended(a)
	h.want()
	h.counts(1, 0)
	h.up("p", 0, 1, "x")
	h.want("grant b p/0")
}

func TestIdleWorkerDown(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 3, MaxWorkers: 3})
	w := []*schedule.Worker{h.up("p", 0, 1, "x"), h.up("p", 1, 1, "x"), h.up("p", 2, 1, "x")}
	h.forget()
	h.m.WorkerDown(w[1])
	h.submit("a", "x")
	h.submit("b", "x")
	h.submit("c", "x")
	h.want("grant a p/2", "grant b p/0")
}

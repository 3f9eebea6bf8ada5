package schedule_test

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"supervisord/internal/schedule"
)

func TestOldestFirst(t *testing.T) {
	h := newHarness(t, 0, one())
	a, b, c := h.submit("a", "x"), h.submit("b", "x"), h.submit("c", "x", in("p"))
	h.want("start p/0")
	h.counts(3, 0)
	h.up("p", 0, 1, "x")
	h.want("grant a p/0")
	h.ended(a)
	h.want("grant b p/0")
	h.ended(b)
	h.want("grant c p/0")
	h.counts(0, 1)
	h.ended(c)
	h.want()
	h.counts(0, 0)
}

func TestOldestOfWhatTheWorkerCanRun(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", MinWorkers: 2, MaxWorkers: 2})
	h.m.WorkerDown(h.up("p", 0, 1, "x", "y"))
	h.submit("a", "x")
	h.submit("b", "y")
	h.forget()
	h.up("p", 1, 1, "y")
	h.want("grant b p/1")
	h.up("p", 0, 1, "x")
	h.want("grant a p/0")
}

// A task that several pools could run waits once, and the first of them that has room takes it.
func TestOneTaskWaitsForSeveralPools(t *testing.T) {
	h := newHarness(t, 0,
		schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 1, MaxWorkers: 1},
		schedule.PoolSpec{Name: "q", Plugins: []string{"x", "y"}, MinWorkers: 1, MaxWorkers: 1})
	h.forget()
	a := h.submit("a", "x")
	h.submit("b", "y")
	h.submit("c", "x", in("p"))
	if got := a.PoolName(); got != "p" {
		t.Errorf("the waiting task counts in pool %q, want p", got)
	}
	h.up("q", 0, 1, "x", "y")
	h.want("grant a q/0")
	if got := a.PoolName(); got != "q" {
		t.Errorf("the task runs in pool %q, want q", got)
	}
	h.up("p", 0, 1, "x")
	h.want("grant c p/0")
	h.ended(a)
	h.want("grant b q/0")
	if h.m.QueuedIn("p") != 0 || h.m.QueuedIn("q") != 0 || h.m.QueuedIn("none") != 0 {
		t.Error("something still counts as queued")
	}
}

func TestCancelQueued(t *testing.T) {
	h := newHarness(t, 0, one())
	h.forget()
	a, b, c := h.submit("a", "x"), h.submit("b", "x"), h.submit("c", "x")
	if !h.m.Cancel(b) {
		t.Fatal("a waiting task was not cancelled")
	}
	if h.m.Cancel(b) {
		t.Fatal("a task was cancelled twice")
	}
	h.counts(2, 0)
	h.up("p", 0, 1, "x")
	h.ended(a)
	h.want("grant a p/0", "grant c p/0")
	if h.m.Cancel(c) || h.m.Cancel(a) {
		t.Fatal("a task that runs or has ended was cancelled")
	}
	h.counts(0, 1)
}

func TestEndedTwice(t *testing.T) {
	h := newHarness(t, 0, one())
	w := h.up("p", 0, 2, "x")
	a, b := h.submit("a", "x"), h.submit("b", "x")
	h.ended(a, a)
	if w.Running() != 1 || b.Worker() != w {
		t.Fatalf("%d tasks run, want 1", w.Running())
	}
	h.counts(0, 1)
}

func TestTaskIsUsedAgain(t *testing.T) {
	h := newHarness(t, 0, one())
	h.up("p", 0, 1, "x")
	a := h.submit("a", "x", h.within(time.Second))
	h.ended(a)
	h.forget()
	a.Deadline = time.Time{}
	h.m.Submit(a, h.now)
	h.want("grant a p/0")
	h.pass(time.Hour)
	h.want()
	h.ended(a)
	h.counts(0, 0)
}

func TestRequeueKeepsItsPlace(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 1, MaxWorkers: 1, QueueSize: 2})
	w := h.up("p", 0, 3, "x")
	a, b, c := h.submit("a", "x"), h.submit("b", "x"), h.submit("c", "x")
	h.submit("d", "x")
	h.submit("e", "x")
	h.forget()

	// They come back in any order, and whatever the bound of the queue: they were admitted.
	h.m.WorkerDown(w)
	h.m.Requeue(b, h.now)
	h.m.Requeue(a, h.now)
	h.m.Requeue(c, h.now)
	h.m.Requeue(c, h.now) // does nothing
	h.want()
	h.counts(5, 0)
	if b.Worker() != nil {
		t.Error("a waiting task has a worker")
	}
	h.submit("f", "x")
	h.want("reject f queue_full")
	h.up("p", 0, 5, "x")
	h.want("grant a p/0", "grant b p/0", "grant c p/0", "grant d p/0", "grant e p/0")
}

// The process that did not get the task does not get it again, even when nobody has said yet that it is down.
func TestRequeueTakesTheWorkerDown(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x"}, MinWorkers: 2, MaxWorkers: 2})
	h.up("p", 1, 1, "x")
	w := h.up("p", 0, 1, "x")
	a := h.submit("a", "x")
	h.want("start p/0", "start p/1", "grant a p/0")
	h.m.Requeue(a, h.now)
	h.want("grant a p/1")
	h.m.WorkerDown(w) // comes late and changes nothing
	h.submit("b", "x")
	h.want()
	h.m.Requeue(a, h.now)
	h.up("p", 0, 2, "x")
	h.want("grant a p/0", "grant b p/0")
}

func TestRequeueWhenNothingCanServe(t *testing.T) {
	h := newHarness(t, 0, schedule.PoolSpec{Name: "p", Plugins: []string{"x", "y"}, MinWorkers: 2, MaxWorkers: 2})
	w := h.up("p", 0, 1, "x")
	a := h.submit("a", "x")
	h.m.WorkerDown(w)
	h.m.SlotGone("p", 0)
	other := h.up("p", 1, 1, "y")
	h.forget()
	h.m.Requeue(a, h.now)
	h.want("load p/1 x")
	h.m.Loaded(other, "x", false, []string{"y"}, h.now)
	h.want("reject a not_loaded")

	h = newHarness(t, 0, one())
	w = h.up("p", 0, 1, "x")
	a = h.submit("a", "x")
	h.m.WorkerDown(w)
	h.m.SlotGone("p", 0)
	h.forget()
	h.m.Requeue(a, h.now)
	h.want("reject a unavailable")
	h.counts(0, 0)
}

func TestRequeueToAnotherPoolsQueue(t *testing.T) {
	h := newHarness(t, 0, one(), schedule.PoolSpec{Name: "q", Plugins: []string{"x"}, MinWorkers: 1, MaxWorkers: 1})
	w := h.up("p", 0, 1, "x")
	a := h.submit("a", "x")
	h.m.WorkerDown(w)
	h.m.SlotGone("p", 0)
	h.forget()
	h.m.Requeue(a, h.now)
	h.want()
	if got := a.PoolName(); got != "q" {
		t.Errorf("the task counts in pool %q, want q", got)
	}
	h.up("q", 0, 1, "x")
	h.want("grant a q/0")
}

func TestEffectsOutliveLaterEvents(t *testing.T) {
	h := newHarness(t, 0, one())
	h.up("p", 0, 1, "x")
	h.forget()
	h.submit("a", "x")
	first := h.m.Effects()
	h.submit("b", "y")
	h.submit("c", "y")
	if got := describe(first[0]); got != "grant a p/0" {
		t.Errorf("an effect became %q when later events came", got)
	}
	h.want("reject b unknown_plugin", "reject c unknown_plugin")
}

// A task holds its caller's request, which may be large, so nothing of it may stay behind.
func TestTaskIsForgottenAfterItsEnd(t *testing.T) {
	h := newHarness(t, 0, one())
	h.up("p", 0, 1, "x")
	submit := func() weak.Pointer[schedule.Task] {
		first := h.submit("a", "x", h.within(time.Second))
		second := h.submit("b", "x", h.within(time.Second))
		h.ended(first, second)
		return weak.Make(second)
	}
	task := submit()
	h.want("start p/0", "grant a p/0", "grant b p/0")
	h.want()
	runtime.GC()
	if task.Value() != nil {
		t.Error("the machine still holds a task that has ended")
	}
	runtime.KeepAlive(h)
}

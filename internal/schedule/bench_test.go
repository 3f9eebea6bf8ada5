package schedule_test

import (
	"fmt"
	"testing"
	"time"

	"supervisord/internal/schedule"
)

// loaded is a machine with 8 pools of 4 plugins and 4 workers each, one plugin of which all pools offer.
func loaded() (*schedule.Machine, []*schedule.Worker, time.Time) {
	m, now := schedule.New(0), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var workers []*schedule.Worker
	for p := range 8 {
		spec := schedule.PoolSpec{
			Name: fmt.Sprint("pool", p), MinWorkers: 2, MaxWorkers: 4,
			RunTimeout: time.Minute, StallTimeout: time.Second, IdleTimeout: time.Minute,
		}
		for i := range 3 {
			spec.Plugins = append(spec.Plugins, fmt.Sprintf("plugin%d.%d", p, i))
		}
		spec.Plugins = append(spec.Plugins, "common")
		m.AddPool(spec)
		for slot := range 4 {
			workers = append(workers, m.WorkerUp(spec.Name, slot, 1, spec.Plugins, now))
		}
	}
	m.Effects()
	return m, workers, now
}

// backlog makes n tasks wait for the plugin that all pools offer, behind those that keep all workers busy.
func backlog(m *schedule.Machine, workers []*schedule.Worker, n int, now time.Time) {
	for range n + len(workers) {
		m.Submit(&schedule.Task{Plugin: "common", Deadline: now.Add(time.Hour)}, now)
	}
	m.Effects()
	m.Effects()
}

func BenchmarkCall(b *testing.B) {
	m, _, now := loaded()
	task := &schedule.Task{Plugin: "plugin3.1", Deadline: now.Add(time.Hour)}
	b.ReportAllocs()
	for b.Loop() {
		m.Submit(task, now)
		if len(m.Effects()) != 1 {
			b.Fatal("the task was not granted")
		}
		m.Ended(task, now)
	}
}

func BenchmarkSubmitBehind50000(b *testing.B) {
	m, workers, now := loaded()
	backlog(m, workers, 50000, now)
	task := &schedule.Task{Plugin: "common", Deadline: now.Add(time.Hour)}
	b.ReportAllocs()
	for b.Loop() {
		m.Submit(task, now)
		m.Cancel(task)
		if len(m.Effects()) != 0 {
			b.Fatal("the task did not wait")
		}
	}
}

// BenchmarkHandOverBehind50000 ends a task, so that its worker gets the oldest that waits, and submits a new one.
func BenchmarkHandOverBehind50000(b *testing.B) {
	m, workers, now := loaded()
	var granted []*schedule.Task
	take := func() {
		for _, e := range m.Effects() {
			granted = append(granted, e.Task)
		}
	}
	for range len(workers) {
		m.Submit(&schedule.Task{Plugin: "common", Deadline: now.Add(time.Hour)}, now)
		take()
	}
	backlog(m, nil, 50000, now)
	b.ReportAllocs()
	for b.Loop() {
		task := granted[0]
		granted = granted[:copy(granted, granted[1:])]
		m.Ended(task, now)
		take()
		m.Submit(task, now)
	}
	if m.Queued() != 50000 {
		b.Fatalf("%d tasks wait", m.Queued())
	}
}

func TestCallAllocatesNothing(t *testing.T) {
	m, workers, now := loaded()
	task := &schedule.Task{Plugin: "plugin3.1", Deadline: now.Add(time.Hour)}
	call := func() {
		m.Submit(task, now)
		m.Effects()
		m.Ended(task, now)
	}
	call()
	if n := testing.AllocsPerRun(1000, call); n != 0 {
		t.Errorf("a call that starts at once allocates %v times", n)
	}
	backlog(m, workers, 100, now)
	wait := func() {
		m.Submit(task, now)
		m.Effects()
		m.Cancel(task)
	}
	wait()
	if n := testing.AllocsPerRun(1000, wait); n != 0 {
		t.Errorf("a call that waits allocates %v times", n)
	}
}

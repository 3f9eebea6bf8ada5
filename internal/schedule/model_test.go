package schedule_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"supervisord/internal/schedule"
)

// modelBytes is the bound on the bytes of the tasks that wait, modelSlots how many slots a pool ever has.
const (
	modelBytes = 12
	modelSlots = 3
)

var (
	modelPools = []schedule.PoolSpec{
		{
			Name: "a", Plugins: []string{"x", "y"}, MinWorkers: 1, MaxWorkers: 2,
			QueueSize: 3, QueueWait: 50 * time.Second, RunTimeout: 70 * time.Second, ReplaceBefore: true,
			CollationWait: 20 * time.Second,
		},
		{Name: "b", Plugins: []string{"x"}, MaxWorkers: 2, Concurrency: 2, QueueSize: 4, IdleTimeout: 25 * time.Second},
		{Name: "c", MinWorkers: 1, MaxWorkers: 1, QueueWait: 30 * time.Second, StallTimeout: 15 * time.Second},
		{Name: "d", MaxWorkers: 3, QueueSize: 2, RunTimeout: 20 * time.Second, IdleTimeout: 10 * time.Second, ReplaceBefore: true},
	}
	modelPoolNames = []string{"", "", "", "", "a", "b", "c", "d", "none"}
	modelPlugins   = []string{"x", "x", "y", "z", "none"}
	modelOffers    = [][]string{{"x", "y"}, {"x"}, {"y", "z"}, nil}
)

type taskState uint8

const (
	waiting taskState = iota + 1
	running
	over
)

type slotPhase uint8

const (
	free slotPhase = iota
	coming
	ending // its worker takes no more, and nobody has said what becomes of it
	up
	leaving // the same, because it was retired
	gone
)

type modelTask struct {
	*schedule.Task
	name    string
	seq     int
	state   taskState
	started bool
	since   time.Time
	worker  *modelWorker
	due     time.Time // while it runs: when it expires; zero for never, or when it has
	stall   time.Time // when it may have stalled; zero for never, or when it has
}

type modelHold uint8

const (
	unheld modelHold = iota
	asked
	given
	loading
)

type modelWorker struct {
	*schedule.Worker
	pool     *modelPool
	slot     int
	capacity int
	loaded   []string
	refused  []string
	running  int
	up       bool
	idle     time.Time // since when, where it is
	hold     modelHold
	wanted   bool
	plugin   string // that it loads
	owed     bool   // it has a successor, and Retire has to come
}

type modelSlot struct {
	phase     slotPhase
	successor bool
	worker    *modelWorker // the one that is up
}

type modelPool struct {
	schedule.PoolSpec
	removed, gone bool
	slots         [modelSlots]modelSlot
	leavers       []int // slots of workers that were retired and have a successor
	offered       []string
	named         bool
	expected      int
	due           []*modelWorker
	rolling, had  int
}

// model is a second, simple and slow, account of what a Machine has been told and has asked for. It says what is wrong
// by panicking with a string, so that a fuzzer can shrink the events.
type model struct {
	m       *schedule.Machine
	now     time.Time
	pools   []*modelPool
	workers []*modelWorker
	tasks   []*modelTask // those that are not over
	seq     int
	setting bool // SetPool places what can run at once before it looks for loads
	log     strings.Builder
}

func newModel() *model {
	m := &model{m: schedule.New(modelBytes), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for _, spec := range modelPools {
		m.pools = append(m.pools, nil)
		m.addPool(len(m.pools)-1, spec)
	}
	return m
}

func (m *model) fail(format string, args ...any) {
	panic(fmt.Sprintf(format, args...) + "\nafter\n" + m.log.String())
}

func (m *model) note(format string, args ...any) { fmt.Fprintf(&m.log, format+"\n", args...) }

func (p *modelPool) open(slot int) bool { return slot < p.MaxWorkers && !p.removed }

// count is how many open slots are in one of the phases.
func (p *modelPool) count(phases ...slotPhase) int {
	n := 0
	for i, s := range p.slots {
		if p.open(i) && slices.Contains(phases, s.phase) {
			n++
		}
	}
	return n
}

func (p *modelPool) live() int  { return p.count(coming, ending, up) }
func (p *modelPool) least() int { return min(p.MinWorkers, p.MaxWorkers) }

func (p *modelPool) processes() int {
	n := len(p.leavers)
	for _, s := range p.slots {
		if s.phase != free && s.phase != gone {
			n++
		}
		if s.successor {
			n++
		}
	}
	return n
}

// candidates are the pools that a task may run in, as far as is known, and whether they are known to offer its plugin.
func (m *model) candidates(t *modelTask) (pools []*modelPool, known bool) {
	var offer, may []*modelPool
	for _, p := range m.pools {
		if p.removed || (t.Pool != "" && t.Pool != p.Name) {
			continue
		}
		if slices.Contains(p.offered, t.Plugin) {
			offer = append(offer, p)
		}
		if len(p.Plugins) == 0 && !p.named {
			may = append(may, p)
		}
	}
	if len(offer) > 0 {
		return offer, true
	}
	return may, false
}

func (m *model) mayRunIn(t *modelTask, p *modelPool) bool {
	pools, _ := m.candidates(t)
	return slices.Contains(pools, p)
}

func (m *model) suits(w *modelWorker, t *modelTask) bool {
	return w.up && w.hold == unheld && !w.pool.Paused && slices.Contains(w.loaded, t.Plugin) && m.mayRunIn(t, w.pool)
}

func (m *model) upIn(p *modelPool) []*modelWorker {
	var found []*modelWorker
	for _, w := range m.workers {
		if w.up && w.pool == p {
			found = append(found, w)
		}
	}
	return found
}

// served reports whether a worker of p may ever run t.
func (m *model) served(p *modelPool, t *modelTask) bool {
	for i, s := range p.slots {
		switch {
		case !p.open(i):
		case s.successor || s.phase == coming || s.phase == ending || s.phase == leaving:
			return true
		case s.phase == free && (len(p.Plugins) == 0 || len(m.upIn(p)) == 0):
			return true
		}
	}
	return slices.ContainsFunc(m.upIn(p), func(w *modelWorker) bool {
		return p.open(w.slot) && (slices.Contains(w.loaded, t.Plugin) || w.hold == asked || w.hold == given ||
			(len(p.Plugins) > 0 && !slices.Contains(w.refused, t.Plugin)))
	})
}

// hopeless is why t will never run; empty where it may.
func (m *model) hopeless(t *modelTask) string {
	pools, _ := m.candidates(t)
	if len(pools) == 0 {
		return "unknown_plugin"
	}
	why := "unavailable"
	for _, p := range pools {
		if m.served(p, t) {
			return ""
		}
		for i, s := range p.slots {
			if p.open(i) && s.phase != gone {
				why = "not_loaded"
			}
		}
	}
	return why
}

func (m *model) waiting() []*modelTask {
	var found []*modelTask
	for _, t := range m.tasks {
		if t.state == waiting {
			found = append(found, t)
		}
	}
	return found
}

// waitsUntil is when a task that waits is to be rejected; zero for never.
func (m *model) waitsUntil(t *modelTask) time.Time {
	due := t.Deadline
	if !t.started {
		due = sooner(due, t.StartBy)
	}
	if wait := m.pool(t.PoolName()).QueueWait; wait > 0 {
		due = sooner(due, t.since.Add(wait))
	}
	return due
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// idleUntil is when a worker of p is to be retired for being idle; zero for never.
func (m *model) idleUntil(p *modelPool) time.Time {
	var due time.Time
	if p.IdleTimeout == 0 || p.Paused || p.removed || p.rolling >= 0 || p.live() <= p.least() {
		return due
	}
	for _, w := range m.upIn(p) {
		if w.running == 0 && w.hold == unheld {
			due = sooner(due, w.idle.Add(p.IdleTimeout))
		}
	}
	return due
}

func (m *model) pool(name string) *modelPool {
	for _, p := range m.pools {
		if p.Name == name {
			return p
		}
	}
	m.fail("there is no pool %q", name)
	return nil
}

// expect is what Submit has to make of t: "grant", "wait" or the name of a reason.
func (m *model) expect(t *modelTask) string {
	pools, _ := m.candidates(t)
	isPool := func(p *modelPool) bool { return p.Name == t.Pool && !p.removed }
	switch {
	case t.Pool != "" && !slices.ContainsFunc(m.pools, isPool):
		return "unknown_pool"
	case len(pools) == 0:
		return "unknown_plugin"
	case !t.Deadline.IsZero() && !t.Deadline.After(m.now):
		return "expired"
	}
	for _, w := range m.workers {
		if m.suits(w, t) && w.running < w.capacity {
			return "grant"
		}
	}
	if why := m.hopeless(t); why != "" {
		return why
	}
	serving := slices.DeleteFunc(slices.Clone(pools), func(p *modelPool) bool { return p.Paused || !m.served(p, t) })
	if len(serving) == 0 {
		return "paused"
	}
	if t.NoWait || (!t.StartBy.IsZero() && !t.StartBy.After(m.now)) {
		return "expired"
	}
	bytes := t.Bytes
	for _, other := range m.waiting() {
		if other != t {
			bytes += other.Bytes
		}
	}
	if bytes > modelBytes {
		return "bytes_full"
	}
	for _, p := range serving {
		if p.QueueSize == 0 || m.m.QueuedIn(p.Name) < p.QueueSize {
			return "wait"
		}
	}
	return "queue_full"
}

// play reads events from data, carries them out, and returns the whole story.
func play(data []byte) string {
	m := newModel()
	for len(data) > 0 {
		var event [4]byte
		data = data[copy(event[:], data):]
		m.event(event[0], int(event[1]), int(event[2]), int(event[3]))
	}
	m.drain()
	return m.log.String()
}

func FuzzMachine(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomEvents(seed, 100))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		defer func() {
			if fault := recover(); fault != nil {
				t.Fatal(fault)
			}
		}()
		play(data)
	})
}

func TestMachineMatchesModel(t *testing.T) {
	runs := uint64(300)
	if testing.Short() {
		runs = 50
	}
	for seed := range runs {
		func() {
			defer func() {
				if fault := recover(); fault != nil {
					t.Fatalf("seed %d: %v", seed, fault)
				}
			}()
			play(randomEvents(seed, 400))
		}()
	}
}

// The same events have the same effects, so that a trace can be replayed.
func TestMachineIsDeterministic(t *testing.T) {
	for seed := range uint64(20) {
		events := randomEvents(seed, 400)
		first, again := play(events), play(events)
		if first != again {
			t.Fatalf("seed %d: the same events had other effects", seed)
		}
	}
}

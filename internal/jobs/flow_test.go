package jobs_test

import (
	"strings"
	"testing"

	"supervisord/internal/jobs"
	"supervisord/protocol"
)

// step is one thing that happens to a job, and what is seen of it.
type step struct {
	do   string // chunk, full (a chunk that fills the backlog), room (which is fed), hold, pass (no hold), leave, done, die, cancel
	told string
	woke bool
}

// The flow of one job's chunks when its caller has room for none at first. Three chunks of 34 bytes (9 of them a header,
// 2 of metadata) fill the backlog of 100.
func TestFlow(t *testing.T) {
	body := strings.Repeat("x", 23)
	seen := func(seq string) string { return seq + " " + body + " {} false" }
	for _, c := range []struct {
		name   string
		change func(*jobs.Spec)
		room   int
		steps  []step
	}{
		{"taken at once", nil, -1, []step{{do: "chunk", told: seen("0")}, {do: "pass"}, {do: "done", told: `done {"ok":1}`}}},
		{"waits, in order", nil, 1, []step{
			{do: "chunk", told: seen("0")},
			{do: "chunk"},
			{do: "chunk"},
			{do: "room 1", told: seen("1")},
			{do: "chunk"}, // behind the one that waits
			{do: "room 9", told: seen("2") + ", " + seen("3")},
			{do: "chunk", told: seen("4")},
		}},
		{"full, fed, resumed once", nil, 0, []step{
			{do: "chunk"},
			{do: "chunk"},
			{do: "full"},
			{do: "hold"},
			{do: "room 1", told: seen("0")}, // 68 bytes are left, more than half
			{do: "room 1", told: seen("1"), woke: true}, // 34
			{do: "pass"},
			{do: "room 1", told: seen("2")},
		}},
		{"fed before the hold", nil, 0, []step{{do: "chunk"}, {do: "chunk"}, {do: "full"}, {do: "room 1", told: seen("0")}, {do: "pass"}}},
		{"cancelled before the hold", nil, 0, []step{{do: "chunk"}, {do: "chunk"}, {do: "full"}, {do: "cancel"}, {do: "pass"}}},
		{"ended before the hold", nil, 0, []step{{do: "chunk"}, {do: "chunk"}, {do: "full"}, {do: "done"}, {do: "pass"}}},
		{"left before the hold", nil, 0, []step{{do: "chunk"}, {do: "chunk"}, {do: "full"}, {do: "leave"}, {do: "pass"}}},
		{"cancelled in the hold", nil, 0, []step{
			{do: "chunk"},
			{do: "chunk"},
			{do: "full"},
			{do: "hold"},
			{do: "cancel", woke: true},
			{do: "chunk"},
			{do: "pass"},
			{do: "done", told: "error cancelled"},
		}},
		{"died in the hold", nil, 0, []step{
			{do: "chunk"},
			{do: "chunk"},
			{do: "full"},
			{do: "hold"},
			{do: "die", woke: true},
			{do: "room 9", told: seen("0") + ", " + seen("1") + ", " + seen("2") + ", error worker_died"},
		}},
		{"left in the hold", nil, 0, []step{
			{do: "chunk"}, {do: "chunk"}, {do: "full"}, {do: "hold"}, {do: "leave", woke: true}, {do: "chunk"}, {do: "pass"}, {do: "done"},
		}},
		{"answer waits for the chunks", nil, 0, []step{
			{do: "chunk"},
			{do: "chunk"},
			{do: "done"},
			{do: "room 1", told: seen("0")},
			{do: "room 1", told: seen("1") + `, done {"ok":1}`},
			{do: "room 9"},
		}},
		{"leaves while the answer waits", nil, 0, []step{{do: "chunk"}, {do: "done"}, {do: "leave"}, {do: "room 9"}}},
		{"cancelled while chunks wait", nil, 0, []step{
			{do: "chunk"}, {do: "chunk"}, {do: "cancel"}, {do: "room 9"}, {do: "done", told: "error cancelled"},
		}},
		{"wants no stream", func(s *jobs.Spec) { s.Stream = false }, 0, []step{
			{do: "chunk"}, {do: "chunk"}, {do: "chunk"}, {do: "chunk"}, {do: "pass"}, {do: "done", told: `done {"ok":1}`},
		}},
		{"goes on without a caller", func(s *jobs.Spec) { s.Continue = true }, 0, []step{
			{do: "leave"}, {do: "chunk"}, {do: "chunk"}, {do: "chunk"}, {do: "chunk"}, {do: "pass"}, {do: "done"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, c.change)
			f.start()
			f.run()
			f.caller.room = c.room
			h := &holder{}
			chunks := int64(0)
			for i, s := range c.steps {
				woken := h.woken
				switch do, _, _ := strings.Cut(s.do, " "); do {
				case "chunk", "full":
					if full := f.chunk(body) == jobs.Full; full != (do == "full") {
						t.Errorf("step %d: full %t", i, full)
					}
					if !f.job.Ending() {
						chunks++
					}
				case "room":
					f.caller.room = int(s.do[len(s.do)-1] - '0')
					f.feed()
				case "hold", "pass":
					if hold := f.job.HoldFor(h); hold != (do == "hold") {
						t.Errorf("step %d: hold %t", i, hold)
					}
				case "leave":
					status, _ := f.job.Outcome()
					if want := !f.job.Continue && status == ""; f.job.Leave() != want {
						t.Errorf("step %d: to be cancelled %t", i, !want)
					}
				case "done":
					f.succeed()
				case "die":
					f.fail(protocol.CodeWorkerDied)
				case "cancel":
					f.cancel()
				default:
					t.Fatalf("no step %q", do)
				}
				if told := f.caller.take(); told != s.told {
					t.Errorf("step %d, %s: caller was told %q, want %q", i, s.do, told, s.told)
				}
				if woke := h.woken > woken; woke != s.woke {
					t.Errorf("step %d, %s: woke the holder %t", i, s.do, woke)
				}
			}
			if h.woken > 1 {
				t.Errorf("the holder was woken %d times", h.woken)
			}
			if got := f.job.Chunks(); got != chunks {
				t.Errorf("%d chunks, want %d", got, chunks)
			}
			if f.caller.done > 0 && f.caller.all != chunks {
				t.Errorf("caller was told of %d chunks, want %d", f.caller.all, chunks)
			}
		})
	}
}

// With a backlog of no bytes every chunk that is not taken is too much, and one that has been taken since is not.
func TestNoBacklog(t *testing.T) {
	f := newFixture(t, nil)
	f.registry = jobs.New(jobs.Options{Executor: f.executor})
	job, err := f.registry.Make(jobs.Spec{Stream: true, Created: created}, f.caller)
	if err != nil {
		t.Fatal(err)
	}
	f.job, f.caller.room = job, 0
	f.start()
	f.run()
	if f.chunk("0") != jobs.Full {
		t.Error("a chunk that is not taken does not fill the backlog")
	}
	f.caller.room = 1
	f.feed()
	if f.job.HoldFor(&holder{}) {
		t.Error("a reader waits for room, and nobody will tell it")
	}
}

// Progress goes to a caller that wants a stream, and to no other.
func TestProgress(t *testing.T) {
	f := newFixture(t, nil)
	f.start()
	f.run()
	f.progress()
	if told := f.caller.take(); told != `progress 0.5 "half"` {
		t.Errorf("caller was told %q", told)
	}
	f.cancel()
	f.progress()
	f.succeed()
	if told := f.caller.take(); told != "error cancelled" {
		t.Errorf("caller was told %q", told)
	}
	f = newFixture(t, func(s *jobs.Spec) { s.Stream = false })
	f.start()
	f.run()
	f.progress()
	f.leave()
	f.progress()
	if told := f.caller.take(); told != "" {
		t.Errorf("caller was told %q", told)
	}
}

package jobs_test

import (
	"strings"
	"testing"

	"supervisord/protocol"
)

// A result that has to wait for its chunks is kept only where the caller has room for it.
func TestKeep(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	for _, c := range []struct {
		name    string
		refuses bool
		end     func(*fixture)
		kept    int
		told    string
		message int // bytes of the error's, afterwards
	}{
		{name: "result", end: (*fixture).succeed, kept: len(`{"ok":1}`), told: `done {"ok":1}`},
		{name: "result refused", refuses: true, end: (*fixture).succeed, kept: len(`{"ok":1}`), told: "done nothing"},
		{name: "error", end: func(f *fixture) { f.failWith(long) }, kept: len(long), told: "error job_failed", message: len(long)},
		{name: "error refused", refuses: true, end: func(f *fixture) { f.failWith(long) }, kept: len(long), told: "error job_failed", message: 1<<10 + 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.caller.room, f.caller.refuses = 0, c.refuses
			f.start()
			f.run()
			f.chunk("0")
			c.end(f)
			if f.caller.kept != c.kept {
				t.Errorf("asked to keep %d bytes, want %d", f.caller.kept, c.kept)
			}
			f.caller.room = -1
			f.feed()
			if told := f.caller.take(); told != "0 0 {} false, "+c.told {
				t.Errorf("caller was told %q", told)
			}
			if err := f.caller.err; err != nil && len(err.Message) != c.message {
				t.Errorf("a message of %d bytes, want %d", len(err.Message), c.message)
			}
		})
	}
}

func (f *fixture) failWith(message string) {
	f.job.Finish(nil, protocol.NewError(protocol.CodeJobFailed, message), protocol.EndedByResult, "", finished, &f.set)
}

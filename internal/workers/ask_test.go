package workers_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"supervisord/internal/outq"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

// ask gives inc a command, whose end becomes an event.
func (f *fixture) ask(inc *workers.Incarnation, typ, plugin string) {
	f.t.Helper()
	r := workers.Request{Type: typ, Plugin: plugin}
	if typ == protocol.TypeReload {
		r.Config = []byte(`{"v":1}`)
	}
	if err := inc.Ask(r, f.answered); err != nil {
		f.t.Fatalf("%s of %s: %v", typ, plugin, err)
	}
}

func (f *fixture) answered(a *workers.Answer, err error) {
	switch {
	case err != nil:
		f.askErr, _ = errors.AsType[*workers.AskError](err)
		f.say("asked: %v", err)
	case a.State != nil:
		f.say("asked: state %s %v", a.State.CurrentPlugin, a.State.LoadedPlugins)
	default:
		f.say("asked: %q", a.Error)
	}
}

func plugins(names ...string) func(*workers.Options) {
	return func(o *workers.Options) {
		for _, name := range names {
			o.Plugins = append(o.Plugins, workers.Plugin{Name: name})
		}
		o.ReloadTimeout, o.UnloadTimeout = patience, patience
	}
}

func resident(inc *workers.Incarnation) string {
	return strings.Join(inc.Loaded(), ",") + " current " + inc.CurrentPlugin()
}

// What is loaded follows from the answers; what was current makes room for what is loaded.
func TestResidency(t *testing.T) {
	for _, features := range [][]string{nil, {protocol.FeatureRequestID}} {
		t.Run(fmt.Sprint(features), func(t *testing.T) {
			f := newFixture(t, plugins("a", "b", "fails"), "commands", features...)
			inc := f.up(0)
			check := func(want string) {
				t.Helper()
				if got := resident(inc); got != want {
					t.Errorf("resident %q, want %q", got, want)
				}
			}
			check("a,b,fails current ")
			f.ask(inc, protocol.TypeReload, "c")
			f.expect(`asked: ""`)
			check("a,b,fails,c current c")
			j := &job{f: f, id: "j1"}
			var set outq.Set
			inc.Execute(&workers.Execution{LinkID: "j1", Plugin: "a"}, j, &set)
			set.Flush()
			f.expect("j1 success {}")
			check("a,b,fails,c current a")
			f.ask(inc, protocol.TypeReload, "b")
			f.expect(`asked: ""`)
			check("fails,c,b current b")
			f.ask(inc, protocol.TypeUnload, "fails")
			f.expect(`asked: "cannot"`)
			check("fails,c,b current b")
			f.ask(inc, protocol.TypeUnload, "b")
			f.expect(`asked: ""`)
			check("fails,c current ")
			f.ask(inc, protocol.TypeReload, "fails")
			f.expect(`asked: "cannot"`)
			check("c current ")
			f.ask(inc, protocol.TypeGetState, "")
			f.expect("asked: state b [what is configured]")
			check("c current ")
			if w := f.pool.List()[0]; len(w.LoadedPlugins) != 1 || w.LoadedPlugins[0] != "c" || w.CurrentPlugin != "" {
				t.Errorf("worker %+v", w)
			}
		})
	}
}

// A command is refused beside a job and beside another, and by a process that takes nothing any more.
func TestAskRefused(t *testing.T) {
	f := newFixture(t, nil, "deaf")
	inc := f.up(0)
	f.ask(inc, protocol.TypeGetState, "")
	if err := inc.Ask(workers.Request{Type: protocol.TypeGetState}, nil); !errors.Is(err, workers.ErrBusy) {
		t.Errorf("beside another command: %v", err)
	}
	kill(t, inc)
	f.expect("down 1", "asked: worker p/0: get_state: died: killed by SIGKILL, not by the daemon: perhaps out of memory", "ended gone")
	if f.askErr.Exit == nil || f.askErr.Exit.Signal != "SIGKILL" {
		t.Errorf("error %+v", f.askErr)
	}
	if err := inc.Ask(workers.Request{Type: protocol.TypeGetState}, nil); !errors.Is(err, workers.ErrDown) {
		t.Errorf("of a process that has ended: %v", err)
	}
	inc = f.up(0)
	f.run(inc, "{}")
	if err := inc.Ask(workers.Request{Type: protocol.TypeGetState}, nil); !errors.Is(err, workers.ErrBusy) {
		t.Errorf("beside a job: %v", err)
	}
}

// A process that does not answer, or not what it was asked, is replaced: nobody knows what it has loaded.
func TestBadAnswers(t *testing.T) {
	for _, c := range []struct {
		name, plugin string
		features     []string
		limit        time.Duration
		events       []string
		cause        protocol.Cause
	}{
		{
			name: "none", plugin: "hangs", limit: 50 * time.Millisecond,
			events: []string{"down 1", `asked: worker p/0: reload of plugin "hangs": no answer within 50ms`, "ended coming"}, cause: protocol.ExitStopped,
		},
		{
			name: "another plugin's", plugin: "wrong", limit: patience,
			events: []string{"down 1", `asked: worker p/0: reload of plugin "wrong": answer to reload "other" where reload "wrong" was asked`, "ended coming"},
			cause:  protocol.CauseProtocol,
		},
		{
			name: "another command's", plugin: "unloaded", limit: patience, features: []string{protocol.FeatureRequestID},
			events: []string{"down 1", `asked: worker p/0: reload of plugin "unloaded": answer to unload "unloaded" where reload "unloaded" was asked`, "ended coming"},
			cause:  protocol.CauseProtocol,
		},
		{
			name: "death", plugin: "dies", limit: patience,
			events: []string{"down 1", `asked: worker p/0: reload of plugin "dies": died: exited with status 3`, "ended coming"}, cause: protocol.CauseExit,
		},
		{
			name: "load_progress for ever", plugin: "loads", limit: 300 * time.Millisecond,
			events: []string{"down 1", `asked: worker p/0: reload of plugin "loads": no answer within 300ms`, "ended coming"}, cause: protocol.ExitStopped,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(o *workers.Options) { o.ReloadTimeout, o.Policy = c.limit, workers.PolicyAlways }, "commands", c.features...)
			f.ask(f.up(0), protocol.TypeReload, c.plugin)
			f.expect(c.events...)
			f.nextUp()
			if w := f.pool.List()[0]; w.LastExit.Cause != string(c.cause) {
				t.Errorf("last exit %+v", w.LastExit)
			}
		})
	}
}

// Each load_progress gives a reload its time anew.
func TestReloadProgress(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) { o.ReloadTimeout = time.Second }, "commands")
	f.ask(f.up(0), protocol.TypeReload, "slow") // 1.5 s
	f.expect(`asked: ""`)
}

// Answers that nobody has asked for, or that come late, are counted and change nothing.
func TestLateAnswers(t *testing.T) {
	f := newFixture(t, plugins("a"), "commands", protocol.FeatureRequestID)
	inc := f.up(0)
	f.ask(inc, protocol.TypeReload, "late") // which is preceded by answers to others
	f.expect(`asked: ""`)
	if n := f.pool.Stats().DroppedAnswers; n != 2 {
		t.Errorf("%d answers dropped", n)
	}
}

// Who is retired answers its command first; a stop does not wait.
func TestAskAndRetire(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	f := newFixture(t, func(o *workers.Options) { plugins("a")(o); o.StopTimeout = time.Millisecond }, "commands")
	inc := f.up(0)
	f.ask(inc, protocol.TypeReload, gate)
	f.pool.Retire(inc)
	f.expect("down 1")
	time.Sleep(100 * time.Millisecond) // many times what a process gets to stop
	touch(t, gate)
	f.expect(`asked: ""`, "ended free")
	f.ask(f.up(0), protocol.TypeReload, gate+"2")
	f.pool.Stop(t.Context())
	f.expect("down 2", `asked: worker p/0: reload of plugin "`+gate+`2": died: stopped: *`, "ended gone")
}

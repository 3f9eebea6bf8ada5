package dispatch_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"supervisord/internal/jobs"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

// plugins sets what a pool is configured to offer.
func plugins(names ...string) func(*setup) {
	return func(s *setup) { s.PoolSpec.Plugins = names }
}

// A call goes to a pool that offers its plugin, and to the named one where it names one; what nobody offers is refused with
// the names that may have been meant.
func TestRouting(t *testing.T) {
	f := newFixture(t, nil)
	f.add("alpha", "named", plugins("reverse", "upper"))
	f.add("beta", "named", plugins("upper", "word_count"))
	f.add("free", "named", func(s *setup) { s.args = []string{"learnt,other", "learnt,broken"} })
	f.settled()
	for _, c := range []struct {
		plugin, pool string
		data         string
		code         protocol.Code
		message      string
		known        []string
	}{
		{plugin: "reverse", data: `"alpha reverse"`},
		{plugin: "word_count", data: `"beta word_count"`},
		{plugin: "upper", pool: "alpha", data: `"alpha upper"`},
		{plugin: "upper", pool: "beta", data: `"beta upper"`},
		{plugin: "learnt", data: `"free learnt"`},
		{plugin: "other", pool: "free", data: `"free other"`},
		{
			plugin: "word_cuont", code: protocol.CodeUnknownPlugin, message: `no pool offers plugin "word_cuont"`, known: []string{"word_count"},
		},
		{plugin: "Revers", code: protocol.CodeUnknownPlugin, message: `no pool offers plugin "Revers"`, known: []string{"reverse"}},
		{plugin: "ear", code: protocol.CodeUnknownPlugin, message: `no pool offers plugin "ear"`, known: []string{"learnt"}},
		{
			plugin: "xyz", code: protocol.CodeUnknownPlugin, message: `no pool offers plugin "xyz"`,
			known: []string{"learnt", "other", "reverse", "upper", "word_count"},
		},
		{
			plugin: "reverse", pool: "beta", code: protocol.CodeUnknownPlugin, message: `pool "beta" does not offer plugin "reverse"`,
			known: []string{"upper", "word_count"},
		},
		{plugin: "upper", pool: "alhpa", code: protocol.CodeUnknownPool, message: `there is no pool "alhpa"`, known: []string{"alpha"}},
		// Its worker has told of it, and has not loaded it: so it is no help to suggest it.
		{plugin: "broken", code: protocol.CodeUnknownPlugin, message: `no pool offers plugin "broken"`},
	} {
		t.Run(c.plugin+" at "+c.pool, func(t *testing.T) {
			f.t = t
			call := f.start(jobs.Spec{Plugin: c.plugin, Pool: c.pool})
			if c.code == 0 {
				call.succeed(c.data)
				return
			}
			err := call.fail(c.code)
			if err.Message != c.message || c.known != nil && !slices.Equal(err.Data.Known, c.known) || slices.Contains(err.Data.Known, c.plugin) {
				t.Errorf("error %v, known %q; want %q, %q", err, err.Data.Known, c.message, c.known)
			}
		})
	}
	f.t = t
}

// However long a name is that nobody offers, its error is short.
func TestLongNames(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "named", plugins("reverse", "upper", "a", "b", "c", "d"))
	f.settled()
	for _, s := range []jobs.Spec{
		{Plugin: strings.Repeat("x", 1<<20)}, {Plugin: strings.Repeat("\x00", 1<<20), Pool: "text"}, {Plugin: "a", Pool: strings.Repeat("é", 1<<20)},
	} {
		err := f.start(s).wait()
		if n := len(fmt.Sprintf("%+v", *err)); n > 4000 {
			t.Errorf("error of %d bytes", n)
		}
	}
}

// Two pools that offer the same plugin share its calls: none waits while a worker of either is idle.
func TestTwoPoolsShare(t *testing.T) {
	f := newFixture(t, nil)
	f.add("alpha", "actor", plugins("echo"))
	f.add("beta", "actor", plugins("echo"))
	f.settled()
	one, two := newGate(t), newGate(t)
	first, second := f.run(one.params()), f.run(two.params())
	first.produced(1)
	second.produced(1)
	pools := map[string]bool{first.job.Record().Pool: true, second.job.Record().Pool: true}
	if !pools["alpha"] || !pools["beta"] {
		t.Errorf("ran in %v", pools)
	}
	third := f.run("{}")
	two.open(t)
	third.succeed("{}") // on the worker that is free, whosever it is
	one.open(t)
	first.succeed(one.params())
	second.succeed(two.params())
	if got, want := third.job.Record().Pool, second.job.Record().Pool; got != want {
		t.Errorf("third ran in %s, want %s", got, want)
	}
}

// What can be called is listed before, while and after its workers are up.
func TestPlugins(t *testing.T) {
	f := newFixture(t, nil)
	if list := f.d.Plugins(); list == nil || len(list) != 0 {
		t.Errorf("plugins without pools: %+v", list)
	}
	f.add("alpha", "named", func(s *setup) {
		s.args = []string{"upper", "upper,lower,broken"}
		s.PoolSpec.Plugins = []string{"upper", "lower"}
	})
	f.add("beta", "named", func(s *setup) {
		s.MinWorkers = 0
		s.PoolSpec.Plugins = []string{"upper"}
	})
	f.add("gone", "exit-at-start", func(s *setup) {
		s.Policy, s.args = workers.PolicyNever, []string{"3"}
		s.PoolSpec.Plugins = []string{"lost"}
	})
	f.add("loading", "never-ready", plugins("slow"))
	f.add("free", "named", func(s *setup) { s.args = []string{"learnt", "learnt,told"} })
	f.start(jobs.Spec{Plugin: "learnt"}).succeed(`"free learnt"`)
	f.start(jobs.Spec{Plugin: "upper", Pool: "alpha"}).succeed(`"alpha upper"`)
	f.start(jobs.Spec{Plugin: "lost"}).refused(protocol.CodePoolUnavailable)
	var got []string
	for _, p := range f.d.Plugins() {
		got = append(got, fmt.Sprintf("%s %v %v %q %v", p.Name, p.Pools, p.Streaming, p.Description, p.Residency))
	}
	want := []string{
		`learnt [free] true "about learnt" map[free:resident]`,
		`lost [gone] false "" map[gone:unloaded]`,
		`lower [alpha] true "about lower" map[alpha:load_failed]`,
		`slow [loading] false "" map[loading:loading]`,
		`upper [alpha beta] true "about upper" map[alpha:resident beta:unloaded]`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("plugins\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// A configured plugin that no worker could load is refused at once, and not with what the caller cannot change.
	err := f.start(jobs.Spec{Plugin: "lower"}).fail(protocol.CodePoolUnavailable)
	if err.Data.State != protocol.PoolFailed || err.Data.Reason != "load_failed" {
		t.Errorf("error %v of %+v", err, err.Data)
	}
	names := []string{}
	for _, p := range f.d.Pools() {
		names = append(names, fmt.Sprint(p.Name, " ", p.State, " ", p.Queued))
	}
	if want := []string{"alpha ready 0", "beta ready 0", "gone stopped 0", "loading starting 0", "free ready 0"}; !slices.Equal(names, want) {
		t.Errorf("pools %q", names)
	}
	if list := f.d.Workers(); len(list) != 5 || list[0].Worker != "alpha/0" || list[4].Worker != "free/0" || list[4].PID == 0 {
		t.Errorf("workers %+v", list)
	}
}

// A pool that has not said yet what it offers may offer anything: the call waits until it has.
func TestUndeterminedPool(t *testing.T) {
	f := newFixture(t, nil)
	f.add("free", "named", func(s *setup) { s.MinWorkers, s.args = 0, []string{"learnt", "learnt"} })
	known, unknown := f.start(jobs.Spec{Plugin: "learnt"}), f.start(jobs.Spec{Plugin: "learned"})
	known.succeed(`"free learnt"`)
	if err := unknown.fail(protocol.CodeUnknownPlugin); !slices.Equal(err.Data.Known, []string{"learnt"}) {
		t.Errorf("known %q", err.Data.Known)
	}
}

// A pool of which no worker ever comes up says why, also where nobody knows what it would have offered.
func TestUndeterminedPoolFails(t *testing.T) {
	f := newFixture(t, nil)
	f.add("free", "exit-at-start", func(s *setup) { s.Policy, s.args = workers.PolicyNever, []string{"3"} })
	err := f.start(jobs.Spec{Plugin: "learnt"}).fail(protocol.CodePoolUnavailable)
	if err.Data.State != protocol.PoolStopped || !strings.Contains(err.Data.Reason, "exited with status 3 before it was ready") {
		t.Errorf("error %v of %+v", err, err.Data)
	}
	if tail := err.Data.StderrTail; !slices.Equal(tail, []string{"cannot load the model", "out of luck"}) {
		t.Errorf("stderr %q", tail)
	}
}

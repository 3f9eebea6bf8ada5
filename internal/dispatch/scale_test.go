package dispatch_test

import (
	"slices"
	"testing"
	"time"

	"supervisord/internal/dispatch"
	"supervisord/protocol"
)

// scaled sets the bounds of a pool's workers.
func (f *fixture) scale(least, most int) {
	f.t.Helper()
	if !f.d.Change("text", func(o *dispatch.PoolOptions) bool {
		o.Spec.MinWorkers, o.Spec.MaxWorkers, o.Workers.MaxWorkers = least, most, most
		return true
	}) {
		f.t.Fatal("there is no pool")
	}
}

func (f *fixture) awaitWorkers(want protocol.PoolWorkers) {
	f.t.Helper()
	var got protocol.PoolWorkers
	defer func() {
		if got != want {
			f.t.Logf("workers %+v, want %+v", got, want)
		}
	}()
	f.eventually("the number of workers", func() bool {
		got = f.d.Pools()[0].Workers
		return got == want
	})
}

// exited are the ids of the workers whose processes have ended, in that order.
func (f *fixture) exited() []string {
	var ids []string
	for _, e := range f.logs.FilterMessage("worker exited").All() {
		id, ok := e.ContextMap()["worker"].(string)
		if !ok {
			f.t.Fatalf("log entry %v", e.ContextMap())
		}
		ids = append(ids, id)
	}
	return ids
}

// Calls that wait start workers, up to max_workers; those that have nothing to do for idle_timeout go again, the least
// recently used first, down to min_workers.
func TestScalesWithLoad(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", func(s *setup) {
		s.MinWorkers, s.PoolSpec.MaxWorkers, s.IdleTimeout = 2, 3, 100*time.Millisecond
	})
	f.settled()
	one, g1 := f.occupy(t)
	two, g2 := f.occupy(t)
	three, g3 := f.occupy(t)
	g4 := newGate(t)
	four := f.run(g4.params()) // waits: there may be no more
	if w := f.d.Pools()[0]; w.Workers != (protocol.PoolWorkers{Busy: 3}) || w.Queued != 1 {
		t.Errorf("pool %+v", w)
	}
	g1.open(t)
	one.succeed(g1.params())
	four.produced(1)
	g2.open(t)
	two.succeed(g2.params())
	g3.open(t)
	three.succeed(g3.params())
	g4.open(t)
	four.succeed(g4.params())
	f.awaitWorkers(protocol.PoolWorkers{Ready: 2})
	f.eventually("an exit", func() bool { return len(f.exited()) > 0 })
	if ids, want := f.exited(), []string{two.at().Worker}; !slices.Equal(ids, want) {
		t.Errorf("ended %q, want %q", ids, want)
	}
}

// A pool that may have no worker has none when it is not used, and starts one again for a call.
func TestScalesToNone(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", func(s *setup) { s.MinWorkers, s.IdleTimeout = 0, 10*time.Millisecond })
	for i := range 3 {
		c := f.run("{}")
		c.succeed("{}")
		if n := c.at().Incarnation; n != uint64(i+1) {
			t.Errorf("call %d ran in incarnation %d", i, n)
		}
		f.awaitWorkers(protocol.PoolWorkers{})
		f.eventually("the exit", func() bool { return len(f.exited()) > i })
		if s := f.d.Pools()[0].State; s != protocol.PoolReady {
			t.Errorf("state %s", s)
		}
	}
}

// More workers than before serve what waits at once; with fewer, those that are too many end their jobs before they go.
func TestScaleByHand(t *testing.T) {
	f := newFixture(t, nil)
	f.add("text", "actor", nil)
	f.settled()
	gates := []gate{newGate(t), newGate(t), newGate(t)}
	var calls []*call
	for _, g := range gates {
		calls = append(calls, f.run(g.params()))
	}
	calls[0].produced(1)
	f.scale(1, 3)
	calls[1].produced(1)
	calls[2].produced(1)
	waiting := f.run("{}")
	f.scale(1, 1)
	for i, c := range calls {
		select {
		case <-c.done:
			t.Fatalf("call %d ended: %v", i, c.err)
		default:
		}
	}
	byWorker := map[string]int{}
	for i, c := range calls {
		byWorker[c.at().Worker] = i
	}
	for _, worker := range []string{"text/2", "text/1"} {
		i := byWorker[worker]
		gates[i].open(t)
		calls[i].succeed(gates[i].params())
	}
	f.eventually("the exits", func() bool { return len(f.exited()) == 2 })
	select {
	case <-waiting.done:
		t.Fatal("a worker that is one too many took a call")
	default:
	}
	i := byWorker["text/0"]
	gates[i].open(t)
	calls[i].succeed(gates[i].params())
	waiting.succeed("{}")
	if a := waiting.at(); a.Worker != "text/0" || a.Incarnation != 1 {
		t.Errorf("the call that waited ran as %+v", a)
	}
	if list := f.d.Workers(); len(list) != 1 {
		t.Errorf("workers %+v", list)
	}
	f.scale(3, 3)
	f.awaitWorkers(protocol.PoolWorkers{Ready: 3})
}

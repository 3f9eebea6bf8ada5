package workers_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"supervisord/internal/outq"
	"supervisord/internal/workers"
	"supervisord/internal/workers/workertest"
	"supervisord/protocol"
)

// chaos is a sink that does whatever it may at any moment, and checks the order of what it is told.
type chaos struct {
	t      *testing.T
	random *rand.Rand

	mu       sync.Mutex
	slots    map[int]*chaosSlot
	rolls    map[uint64]int
	commands int // asked and not answered
	told     int
}

type chaosSlot struct {
	up       []*workers.Incarnation // from up to down
	replaced int                    // successors asked for and not heard of
}

func (c *chaos) slot(i int) *chaosSlot {
	if c.slots[i] == nil {
		c.slots[i] = &chaosSlot{}
	}
	c.told++
	return c.slots[i]
}

func (c *chaos) WorkerUp(inc *workers.Incarnation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slot(inc.Slot())
	if s.up = append(s.up, inc); len(s.up) > 2 {
		c.t.Errorf("slot %d has %d processes", inc.Slot(), len(s.up))
	}
	s.replaced = 0
	for _, old := range s.up[:len(s.up)-1] {
		inc.Pool().Retire(old)
	}
}

func (c *chaos) WorkerDown(inc *workers.Incarnation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slot(inc.Slot())
	for i, up := range s.up {
		if up == inc {
			s.up = append(s.up[:i:i], s.up[i+1:]...)
			return
		}
	}
	c.t.Errorf("%d of slot %d is down and was not up", inc.Number(), inc.Slot())
}

func (c *chaos) WorkerDue(inc *workers.Incarnation, _ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replace(inc.Pool(), inc.Slot())
}

func (c *chaos) replace(p *workers.Pool, slot int) {
	if p.Replace(slot) {
		if c.slot(slot).replaced++; c.slots[slot].replaced > 1 {
			c.t.Errorf("slot %d has two successors", slot)
		}
	}
}

func (c *chaos) WorkerEnded(p *workers.Pool, slot int, fate workers.Fate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.slot(slot); len(s.up) > 0 {
		c.t.Errorf("slot %d has ended with %d processes up", slot, len(s.up))
	}
	if fate == workers.FateFree && c.random.IntN(2) == 0 {
		p.Start(slot)
	}
}

func (c *chaos) WorkerRetired(_ *workers.Pool, slot int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slot(slot).replaced = 0 // where the successor was not ready it is a worker as any other now
}

func (c *chaos) ReplaceFailed(_ *workers.Pool, slot int, _ *workers.Exit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slot(slot).replaced = 0
}

func (c *chaos) Rolled(_ *workers.Pool, generation uint64, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told++
	c.rolls[generation]++
}

// act does one thing at random.
func (c *chaos) act(p *workers.Pool, o workers.Options) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := c.random.IntN(4)
	var inc *workers.Incarnation
	if s := c.slots[slot]; s != nil && len(s.up) > 0 {
		inc = s.up[c.random.IntN(len(s.up))]
	}
	switch n := c.random.IntN(16); {
	case n < 3:
		p.Start(slot)
	case n == 3:
		c.replace(p, slot)
	case n == 4:
		o.MaxWorkers = 2 + c.random.IntN(3)
		if err := p.Tune(o); err != nil {
			c.t.Error(err)
		}
	case n == 5:
		role := []string{"concurrent", "exit-at-start", "never-ready"}[c.random.IntN(3)]
		o.Command, o.Env = workertest.Command(role, "1")
		number, err := p.Roll(o)
		if err != nil {
			c.t.Error(err)
		}
		c.rolls[number] += 0
	case n == 6:
		p.Reset()
	case inc == nil:
	case n == 7:
		p.Retire(inc)
	case n == 8:
		_ = syscall.Kill(inc.PID(), syscall.SIGKILL) // or gone a moment ago
	case n == 9:
		if inc.Ask(workers.Request{Type: protocol.TypeGetState}, func(*workers.Answer, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.commands--
		}) == nil {
			c.commands++
		}
	case n == 10:
		inc.Stall("job")
	default:
		params := []string{"{}", `{"hold":true}`, `{"stubborn":true}`}[c.random.IntN(3)]
		j := &counted{id: fmt.Sprintf("%d.%d.%d", slot, inc.Number(), c.random.Uint64()), ended: make(chan struct{})}
		var set outq.Set
		if inc.Execute(&workers.Execution{LinkID: j.id, Plugin: "echo", Params: []byte(params)}, j, &set) {
			inc.Cancel(j.id, false)
			set.Flush()
		}
	}
}

// Whatever is done in whatever order, what the sink is told makes sense, nothing hangs and nothing is left.
func TestChaos(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := &chaos{t: t, random: rand.New(rand.NewPCG(1, seed)), slots: map[int]*chaosSlot{}, rolls: map[uint64]int{}}
			f := newFixture(t, func(o *workers.Options) {
				o.Sink, o.MaxWorkers, o.Concurrency, o.MaxJobs = c, 4, 8, 3
				o.Policy, o.RestartBackoffMax = workers.PolicyBackoff, 5*time.Millisecond
				o.StopTimeout, o.CancelGrace, o.DrainGrace, o.UnloadTimeout = 5*time.Millisecond, time.Millisecond, time.Millisecond, 20*time.Millisecond
			}, "concurrent")
			for range 400 {
				c.act(f.pool, f.options)
				time.Sleep(time.Duration(c.pause()) * time.Microsecond)
			}
			f.pool.Stop(t.Context())
			c.mu.Lock()
			defer c.mu.Unlock()
			for slot, s := range c.slots {
				if len(s.up) > 0 {
					t.Errorf("slot %d: %d processes are up after the stop", slot, len(s.up))
				}
			}
			for n, times := range c.rolls {
				if times != 1 {
					t.Errorf("generation %d: %d outcomes", n, times)
				}
			}
			if c.commands != 0 {
				t.Errorf("%d commands without an answer", c.commands)
			}
			if c.told < 10 {
				t.Errorf("no more than %d events", c.told)
			}
		})
	}
}

func (c *chaos) pause() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.IntN(10000)
}

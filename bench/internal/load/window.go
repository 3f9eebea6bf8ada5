package load

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

type phase = uint32

const (
	warming phase = iota
	measuring
	draining
)

// window is the clock that all clients of one run share.
type window struct {
	base  time.Time
	phase atomic.Uint32
}

func (w *window) since() time.Duration { return time.Since(w.base) }

// Options are what a run needs besides its case.
type Options struct {
	Socket   string
	Protocol Protocol
	Warm     time.Duration // before counting begins
	Length   time.Duration // counted; a window in which nothing came is lengthened by the same again and again
	Patience time.Duration // how long a window may be lengthened, and how long the last answers may take afterwards
	// Mark is called at both ends of the counted time, close to the clock readings that bound it. nil: nothing is called.
	Mark func() error
}

// Result is what was counted.
type Result struct {
	Units   uint64 // calls, or chunks of streams
	Elapsed time.Duration
	P50     time.Duration // of whole calls that ended within the window; 0 when none did
	P99     time.Duration
	// Slow counts the messages, from first to last, that the generator had to decode whole because their members came in an
	// unusual order. More than a few make the system look slower than it is.
	Slow uint64
}

// Run puts a system under the case's load for the length of a window. Every answer is checked; the first that is wrong, missing
// or an error ends the run with an error that says which case it was.
func Run(c Case, o Options) (Result, error) {
	result, err := run(c, o)
	if err != nil {
		return Result{}, fmt.Errorf("case %s: %w", c.Name, err)
	}
	return result, nil
}

func run(c Case, o Options) (Result, error) {
	w := &window{base: time.Now()}
	clients := make([]*client, 0, c.Conns)
	defer func() {
		for _, client := range clients {
			_ = client.out.Close()
		}
	}()
	for range c.Conns {
		client, err := newClient(w, c, o.Protocol, o.Socket)
		if err != nil {
			return Result{}, fmt.Errorf("connect: %w", err)
		}
		clients = append(clients, client)
	}

	failed := make(chan error, c.Conns)
	var running sync.WaitGroup
	for _, client := range clients {
		running.Go(func() {
			if err := client.run(); err != nil {
				failed <- err
			}
		})
	}
	result, err := measure(w, clients, failed, o)

	w.phase.Store(draining)
	limit := time.Now().Add(o.Patience)
	if err != nil {
		limit = time.Now() // nothing to wait for
	}
	for _, client := range clients {
		_ = client.sock.SetReadDeadline(limit)
	}
	running.Wait()
	close(failed)
	for late := range failed {
		if err == nil {
			err = late
		}
	}
	if err == nil && result.Units == 0 {
		err = errors.New("nothing was answered within the window")
	}
	if err != nil {
		return Result{}, err
	}
	var all histogram
	for _, client := range clients {
		all.merge(&client.hist)
		result.Slow += client.codec.slow()
	}
	result.P50, result.P99 = all.quantile(0.5), all.quantile(0.99)
	return result, nil
}

func measure(w *window, clients []*client, failed <-chan error, o Options) (Result, error) {
	units := func() (n uint64) {
		for _, client := range clients {
			n += client.units.Load()
		}
		return n
	}
	if err := wait(o.Warm, failed); err != nil {
		return Result{}, err
	}
	if err := mark(o); err != nil {
		return Result{}, err
	}
	w.phase.Store(measuring)
	began, before := w.since(), units()
	var result Result
	for result.Units == 0 && result.Elapsed <= o.Patience {
		if err := wait(o.Length, failed); err != nil {
			return Result{}, err
		}
		result = Result{Units: units() - before, Elapsed: w.since() - began}
	}
	w.phase.Store(warming) // what ends from here on is not counted
	return result, mark(o)
}

func wait(d time.Duration, failed <-chan error) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-failed:
		return err
	case <-timer.C:
		return nil
	}
}

func mark(o Options) error {
	if o.Mark == nil {
		return nil
	}
	return o.Mark()
}

// Once makes one small call and checks its answer.
func Once(socket string, protocol Protocol, patience time.Duration) error {
	w := &window{base: time.Now()}
	w.phase.Store(draining)
	client, err := newClient(w, Case{Conns: 1, InFlight: 1, Payload: 100}, protocol, socket)
	if err != nil {
		return err
	}
	defer client.out.Close()
	if err := client.sock.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return client.run()
}

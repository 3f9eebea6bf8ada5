package main

import (
	"sync"
	"testing"
	"time"

	"supervisord/sdk/go/client"
)

// TestRecycleWithSlowStop: workers that take two seconds to stop are replaced every ten jobs, and no call waits for that.
func TestRecycleWithSlowStop(t *testing.T) {
	const stop, calls = 2 * time.Second, 200
	d := newDaemon(t)
	d.configure(nil, d.pool("text", "slow-stop", stop.String()).with(object{"max_jobs_per_worker": 10, "min_workers": 1, "max_workers": 2}))
	d.start()
	d.settle()
	var (
		mu      sync.Mutex
		longest time.Duration
		latest  = map[string]int{} // incarnation by worker
		served  = map[acted]int{}
		callers sync.WaitGroup
	)
	for range 2 {
		c := d.dial()
		callers.Go(func() {
			for range calls / 2 {
				began := time.Now()
				result, err := c.Execute(t.Context(), client.Execute{Plugin: "text", Params: acts{MS: 25}})
				took := time.Since(began)
				var by acted
				if err == nil {
					err = result.Bind(&by)
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				longest = max(longest, took)
				latest[by.Worker] = max(latest[by.Worker], by.Incarnation)
				served[by]++
				mu.Unlock()
			}
		})
	}
	callers.Wait()
	t.Logf("the longest of %d calls took %v; incarnations %v, jobs %v", calls, longest.Round(time.Millisecond), latest, served)
	if longest > stop*3/4 {
		t.Errorf("a call took %v", longest)
	}
	grown := 0
	for worker, n := range latest {
		if worker != "text/0" && worker != "text/1" {
			t.Errorf("worker %s", worker)
		}
		grown += n - 1
	}
	if grown == 0 {
		t.Errorf("incarnations %v", latest)
	}
}

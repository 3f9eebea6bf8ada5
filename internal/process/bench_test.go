package process_test

import (
	"slices"
	"testing"
	"time"

	"supervisord/internal/process"
)

// BenchmarkStart starts a program that ends at once. It reports the medians of what Start takes, of when the program runs,
// and of Reap.
func BenchmarkStart(b *testing.B) {
	h, err := process.Open(process.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	c := &process.Command{Name: "p/0.1", Argv: []string{"echo", "up"}, Directory: "/", Env: []string{path}}
	var starts, runs, reaps []time.Duration
	for b.Loop() {
		began := time.Now()
		p, err := h.Start(c)
		if err != nil {
			b.Fatal(err)
		}
		starts = append(starts, time.Since(began))
		if _, err := readLine(p.Stdout); err != nil {
			b.Fatal(err)
		}
		runs = append(runs, time.Since(began))
		if err := p.WaitExit(); err != nil {
			b.Fatal(err)
		}
		ended := time.Now()
		if _, err := p.Reap(); err != nil {
			b.Fatal(err)
		}
		reaps = append(reaps, time.Since(ended))
		p.Close()
	}
	for name, list := range map[string][]time.Duration{"start": starts, "run": runs, "reap": reaps} {
		slices.Sort(list)
		b.ReportMetric(float64(list[len(list)/2].Microseconds()), name+"-p50-µs")
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is one finished run.
type report struct {
	Began  time.Time `json:"began"`
	CPUs   int       `json:"cpus"`
	Go     string    `json:"go"`
	Rounds int       `json:"rounds"`
	Window string    `json:"window"`
	Rows   []row     `json:"rows"`
}

// row is one system in one case: medians over the rounds. Ratios are medians of each round's ratio to the first system.
type row struct {
	Case   string   `json:"case"`
	Unit   string   `json:"unit"`
	System string   `json:"system"`
	Median sample   `json:"median"`
	Ratios ratios   `json:"ratios"`
	Rounds []sample `json:"rounds"`
}

type ratios struct {
	Rate float64 `json:"per_second"`
	P50  float64 `json:"p50"`
	CPU  float64 `json:"cpu"`
}

func newReport(o options, results samples, began time.Time) report {
	r := report{Began: began, CPUs: runtime.NumCPU(), Go: runtime.Version(), Rounds: o.rounds, Window: o.window.String()}
	for _, c := range o.cases {
		base := results[c.Name][o.systems[0]]
		for _, system := range o.systems {
			own := results[c.Name][system]
			r.Rows = append(r.Rows, row{
				Case: c.Name, Unit: c.Unit(), System: system, Rounds: own,
				Median: sample{
					Rate:   median(own, func(i int) float64 { return own[i].Rate }),
					P50:    time.Duration(median(own, func(i int) float64 { return float64(own[i].P50) })),
					P99:    time.Duration(median(own, func(i int) float64 { return float64(own[i].P99) })),
					CPU:    median(own, func(i int) float64 { return own[i].CPU }),
					Daemon: median(own, func(i int) float64 { return own[i].Daemon }),
					RSS:    int64(median(own, func(i int) float64 { return float64(own[i].RSS) })),
					Others: median(own, func(i int) float64 { return own[i].Others }),
				},
				Ratios: ratios{
					Rate: median(own, func(i int) float64 { return own[i].Rate / base[i].Rate }),
					P50:  median(own, func(i int) float64 { return ratio(own[i].P50, base[i].P50) }),
					CPU:  median(own, func(i int) float64 { return own[i].CPU / base[i].CPU }),
				},
			})
		}
	}
	return r
}

// ratio is 0 where a window was too short for a whole call.
func ratio(a, b time.Duration) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// median returns the median of value(i) over the indexes of own.
func median(own []sample, value func(i int) float64) float64 {
	values := make([]float64, len(own))
	for i := range own {
		values[i] = value(i)
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

func (r report) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

func (r report) writeTable(w io.Writer) error {
	var others []float64
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, strings.Join([]string{"case", "system", "per second", "", "ratio", "p50 us", "p99 us", "p50 ratio", "CPU s/100k", "CPU ratio", "daemon", "RSS MiB", ""}, "\t"))
	for _, row := range r.Rows {
		m := row.Median
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.2f\t%s\t%s\t%.2f\t%s\t%.2f\t%s\t%.1f\t\n", row.Case, row.System, count(m.Rate), row.Unit, row.Ratios.Rate,
			micro(m.P50), micro(m.P99), row.Ratios.P50, digits(m.CPU), row.Ratios.CPU, digits(m.Daemon), float64(m.RSS)/(1<<20))
		for _, s := range row.Rounds {
			others = append(others, s.Others)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	slices.Sort(others)
	_, err := fmt.Fprintf(w, "\n%s, %d CPUs, %s, medians of %d rounds of %s; other work used %.0f %% of the machine (median; highest window %.0f %%)\n",
		r.Began.UTC().Format("2006-01-02 15:04 UTC"), r.CPUs, r.Go, r.Rounds, r.Window, 100*others[len(others)/2], 100*others[len(others)-1])
	return err
}

// count writes a rate with three digits and a unit of thousands or millions.
func count(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2fM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.1fk", v/1e3)
	}
	return fmt.Sprintf("%.0f", v)
}

func micro(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d)/1e3) }

// digits writes small figures with three significant digits.
func digits(v float64) string { return fmt.Sprintf("%.3g", v) }

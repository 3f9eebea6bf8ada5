package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"supervisord/bench/internal/load"
	"supervisord/bench/internal/target"
)

// errUsage says that flag has already told the user what is wrong.
var errUsage = errors.New("usage")

type options struct {
	rounds      int
	window      time.Duration
	warm        time.Duration
	cases       []load.Case
	systems     []string
	binary      string
	concurrency int
	json        bool
}

// sample is one window of one system.
type sample struct {
	Rate   float64       `json:"per_second"`
	P50    time.Duration `json:"p50_ns"`
	P99    time.Duration `json:"p99_ns"`
	CPU    float64       `json:"cpu_seconds_per_100k"` // all processes of the system and the load generator
	Daemon float64       `json:"daemon_cpu_seconds_per_100k"`
	RSS    int64         `json:"daemon_rss_bytes"`
	Others float64       `json:"others"` // share of the machine that anything else used
}

// samples holds one sample a round by case and system.
type samples map[string]map[string][]sample

func runBench(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	targets, err := startAll(o, dir)
	if err != nil {
		return err
	}
	began := time.Now()
	results, err := measureAll(ctx, o, targets, stderr)
	for _, t := range targets {
		if stopped := t.Stop(); stopped != nil && err == nil {
			err = fmt.Errorf("stop %s: %w", t.Name, stopped)
		}
	}
	if err != nil {
		return err
	}
	r := newReport(o, results, began)
	if o.json {
		return r.writeJSON(stdout)
	}
	return r.writeTable(stdout)
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.rounds, "rounds", 9, "windows of each case and system; the table holds medians")
	flags.DurationVar(&o.window, "window", 600*time.Millisecond, "counted time of a window")
	flags.DurationVar(&o.warm, "warm", 100*time.Millisecond, "load before each window")
	quick := flags.Bool("quick", false, "7 rounds of 200ms, for a look")
	cases := flags.String("cases", "", "comma-separated names of cases (default all)")
	systems := flags.String("systems", "floor,product", "comma-separated: floor, product; ratios are to the first")
	flags.StringVar(&o.binary, "binary", "bin/supervisord", "the daemon")
	flags.IntVar(&o.concurrency, "concurrency", 512, "calls that the product's worker takes at once")
	flags.BoolVar(&o.json, "json", false, "print all rounds as JSON")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errUsage
	}
	if *quick {
		o.rounds, o.window = 7, 200*time.Millisecond
	}
	fail := func(format string, args ...any) (options, error) {
		fmt.Fprintf(stderr, "bench: "+format+"\n", args...)
		return o, errUsage
	}
	if flags.NArg() > 0 || o.rounds < 1 || o.window <= 0 || o.warm < 0 || o.concurrency < 1 {
		return fail("no arguments, at least one round, a window and a concurrency above zero; see -help")
	}
	o.cases = load.Cases()
	if *cases != "" {
		o.cases = nil
		for name := range strings.SplitSeq(*cases, ",") {
			i := slices.IndexFunc(load.Cases(), func(c load.Case) bool { return c.Name == name })
			if i < 0 {
				return fail("no case %q; there are %s", name, strings.Join(caseNames(load.Cases()), ", "))
			}
			o.cases = append(o.cases, load.Cases()[i])
		}
	}
	o.systems = strings.Split(*systems, ",")
	for _, name := range o.systems {
		if name != "floor" && name != "product" {
			return fail("no system %q; there are floor and product", name)
		}
	}
	return o, nil
}

func caseNames(cases []load.Case) (names []string) {
	for _, c := range cases {
		names = append(names, c.Name)
	}
	return names
}

func startAll(o options, dir string) (targets []*target.Target, err error) {
	defer func() {
		if err != nil {
			for _, t := range targets {
				_ = t.Stop() // err says more
			}
		}
	}()
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	for _, name := range o.systems {
		own := filepath.Join(dir, name)
		if err := os.Mkdir(own, 0o700); err != nil {
			return targets, err
		}
		var t *target.Target
		if name == "floor" {
			t, err = target.Floor(executable, own)
		} else {
			t, err = target.Product(o.binary, own, o.concurrency)
		}
		if err != nil {
			return targets, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// measureAll runs the rounds. In each, the cases come in a new order, and within a case the systems do, one right after the
// other: what else the machine does then falls on all of them, and a ratio compares neighbours.
func measureAll(ctx context.Context, o options, targets []*target.Target, progress io.Writer) (samples, error) {
	results := samples{}
	for _, c := range o.cases {
		results[c.Name] = map[string][]sample{}
	}
	for round := range o.rounds {
		fmt.Fprintf(progress, "round %d of %d\n", round+1, o.rounds)
		for _, i := range rand.Perm(len(o.cases)) {
			c := o.cases[i]
			for _, j := range rand.Perm(len(targets)) {
				if ctx.Err() != nil {
					return nil, context.Cause(ctx)
				}
				t := targets[j]
				s, slow, err := measure(c, t, o)
				if err != nil {
					return nil, t.Explain(err)
				}
				if slow > 0 {
					fmt.Fprintf(progress, "case %s: %s sent %d messages in an unusual order of members; reading them slowed the load generator\n", c.Name, t.Name, slow)
				}
				results[c.Name][t.Name] = append(results[c.Name][t.Name], s)
			}
		}
	}
	return results, nil
}

// measure puts one window of load on t; slow is load.Result.Slow.
func measure(c load.Case, t *target.Target, o options) (s sample, slow uint64, err error) {
	tree, err := target.Tree(t.Pid())
	if err != nil {
		return s, 0, err
	}
	var marks []usage
	result, err := load.Run(c, load.Options{
		Socket: t.Socket, Protocol: t.Protocol, Warm: o.warm, Length: o.window, Patience: 30 * time.Second,
		Mark: func() error {
			u, err := readUsage(tree, t.Pid())
			marks = append(marks, u)
			return err
		},
	})
	if err != nil {
		return s, 0, err
	}
	after, err := target.Tree(t.Pid())
	if err != nil {
		return s, 0, err
	}
	if !slices.Equal(tree, after) {
		return s, 0, fmt.Errorf("case %s: its processes were %v and are %v now", c.Name, tree, after)
	}
	rss, err := target.RSS(t.Pid())
	if err != nil {
		return s, 0, err
	}
	per100k := 100_000 / float64(result.Units)
	all := marks[1].all - marks[0].all
	machine := result.Elapsed * time.Duration(runtime.NumCPU())
	return sample{
		Rate:   float64(result.Units) / result.Elapsed.Seconds(),
		P50:    result.P50,
		P99:    result.P99,
		CPU:    all.Seconds() * per100k,
		Daemon: (marks[1].daemon - marks[0].daemon).Seconds() * per100k,
		RSS:    rss,
		Others: max(0, float64(marks[1].machine-marks[0].machine-all)/float64(machine)),
	}, result.Slow, nil
}

// usage is processor time used so far.
type usage struct {
	all     time.Duration // the system's processes and this one
	daemon  time.Duration // the one that holds the socket
	machine time.Duration
}

func readUsage(tree []int, daemon int) (u usage, err error) {
	for _, pid := range append([]int{os.Getpid()}, tree...) {
		used, err := target.CPU(pid)
		if err != nil {
			return u, err
		}
		u.all += used
		if pid == daemon {
			u.daemon = used
		}
	}
	u.machine, err = target.Busy()
	return u, err
}

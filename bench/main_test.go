package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"supervisord/bench/internal/load"
)

// TestMain lets the test binary be started in the roles of the real one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "floor") {
		os.Exit(start(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func TestBenchMeasuresTheFloor(t *testing.T) {
	var out bytes.Buffer
	args := []string{"-systems", "floor", "-cases", "u100c16,s64", "-rounds", "2", "-window", "20ms", "-warm", "5ms", "-json"}
	if err := runBench(t.Context(), args, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 2 || r.Rows[0].Unit != "calls" || r.Rows[1].Unit != "chunks" {
		t.Fatalf("rows: %+v", r.Rows)
	}
	for _, row := range r.Rows {
		m := row.Median
		if len(row.Rounds) != 2 || m.Rate <= 0 || m.CPU <= m.Daemon || m.Daemon <= 0 || m.RSS < 1<<20 || row.Ratios.Rate != 1 {
			t.Errorf("%+v", row)
		}
	}
	out.Reset()
	if err := r.writeTable(&out); err != nil || !strings.Contains(out.String(), "u100c16") || !strings.Contains(out.String(), "medians of 2 rounds") {
		t.Errorf("%v, table:\n%s", err, out.String())
	}
}

func TestBenchEndsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := runBench(ctx, []string{"-systems", "floor", "-rounds", "1000"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Fatalf("got %v", err)
	}
}

func TestWrongArguments(t *testing.T) {
	for _, args := range []string{"-cases none", "-systems grpc", "-rounds 0", "-window 0s", "-what", "more"} {
		var stderr bytes.Buffer
		if err := runBench(t.Context(), strings.Fields(args), io.Discard, &stderr); !errors.Is(err, errUsage) || stderr.Len() == 0 {
			t.Errorf("%s: got %v and %q", args, err, stderr.String())
		}
	}
}

// A ratio compares the windows of one round, so a machine that is slow for some rounds does not change it.
func TestRatiosAreOfNeighbours(t *testing.T) {
	row := func(rates ...float64) (list []sample) {
		for _, rate := range rates {
			list = append(list, sample{Rate: rate, CPU: 1 / rate, P50: time.Duration(1000 / rate)})
		}
		return list
	}
	o := options{rounds: 4, cases: []load.Case{{Name: "c"}}, systems: []string{"floor", "product"}}
	r := newReport(o, samples{"c": {"floor": row(100, 10, 40, 2), "product": row(50, 5, 20, 2)}}, time.Time{})
	floor, product := r.Rows[0], r.Rows[1]
	if floor.Median.Rate != 25 || product.Median.Rate != 12.5 || product.Ratios.Rate != 0.5 || product.Ratios.CPU != 2 || math.Abs(product.Ratios.P50-2) > 0.05 {
		t.Errorf("%+v\n%+v", floor, product)
	}
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"supervisord/protocol"
	"supervisord/sdk/go/worker"
)

func newWorkerDemoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "The built-in worker: echo, count, sleep, fail, crash",
		Long: `The built-in worker, to try the daemon with. A pool runs it as [supervisord, worker, demo].

  echo             answers with its params
  count            streams {"i": 0, "pad": ""}, {"i": 1, ...: params count (10), ms between
                   two of them (0), pad: how long the padding is (0)
  sleep            waits for ms (1000) and tells its progress
  fail             fails with the category user_input, transient, resource or fatal
  crash            ends the process by a signal ("SIGKILL", 9) or with the status exit (1)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return newDemoWorker().Serve(cmd.Context()) },
	}
}

func newDemoWorker() *worker.Worker {
	w := worker.New()
	w.Func("echo", demoEcho, worker.Inline(), worker.Describe("answers with its params"))
	w.Stream("count", demoCount, worker.Describe("streams numbered chunks"), worker.Schema(json.RawMessage(
		`{"type":"object","properties":{"count":{"type":"integer","minimum":0},"ms":{"type":"integer","minimum":0},"pad":{"type":"integer","minimum":0}}}`)))
	w.Func("sleep", demoSleep, worker.Describe("waits"), worker.Schema(json.RawMessage(
		`{"type":"object","properties":{"ms":{"type":"integer","minimum":0}}}`)))
	w.Func("fail", demoFail, worker.Describe("fails as told"), worker.Schema(json.RawMessage(
		`{"type":"object","properties":{"category":{"enum":["user_input","transient","resource","fatal"]}}}`)))
	w.Func("crash", demoCrash, worker.Describe("ends its process as told"), worker.Schema(json.RawMessage(
		`{"type":"object","properties":{"signal":{"type":["string","integer"]},"exit":{"type":"integer","minimum":0,"maximum":255}}}`)))
	return w
}

func demoEcho(_ context.Context, job *worker.Job) (any, error) { return job.Params(), nil }

// maxDemoPad bounds what a caller can make the worker allocate.
const maxDemoPad = 64 << 20

func demoCount(ctx context.Context, job *worker.Job) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		params := struct{ Count, MS, Pad int64 }{Count: 10}
		if err := job.Bind(&params); err != nil {
			yield(nil, err)
			return
		}
		if params.Count < 0 || params.MS < 0 || params.Pad < 0 || params.Pad > maxDemoPad {
			yield(nil, worker.Errorf(worker.UserInput, "count, ms and pad are not negative, and pad at most %d", maxDemoPad))
			return
		}
		pad := strings.Repeat("x", int(params.Pad))
		var chunk []byte // encoded, and so copied, by each yield
		for i := range params.Count {
			if i > 0 && params.MS > 0 && !pause(ctx, params.MS) {
				yield(nil, context.Cause(ctx))
				return
			}
			chunk = strconv.AppendInt(append(chunk[:0], `{"i":`...), i, 10)
			chunk = append(append(append(chunk, `,"pad":"`...), pad...), `"}`...)
			if !yield(json.RawMessage(chunk), nil) {
				return
			}
		}
	}
}

func demoSleep(ctx context.Context, job *worker.Job) (any, error) {
	params := struct{ MS int64 }{MS: 1000}
	if err := job.Bind(&params); err != nil {
		return nil, err
	}
	if params.MS < 0 {
		return nil, worker.Errorf(worker.UserInput, "ms is not negative")
	}
	const steps = 10
	for i := range int64(steps) {
		job.Progress(float64(i)/steps, "sleeping")
		if !pause(ctx, params.MS*(i+1)/steps-params.MS*i/steps) {
			return nil, context.Cause(ctx)
		}
	}
	job.Metric("slept_seconds", float64(params.MS)/1000)
	return map[string]int64{"slept_ms": params.MS}, nil
}

// pause waits and reports false when ctx ends before.
func pause(ctx context.Context, ms int64) bool {
	if ms == 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func demoFail(_ context.Context, job *worker.Job) (any, error) {
	params := struct{ Category, Message string }{Category: protocol.CategoryFatal, Message: "failed as told"}
	if err := job.Bind(&params); err != nil {
		return nil, err
	}
	failure := worker.Errorf(worker.Category(params.Category), "%s", params.Message)
	switch params.Category {
	case protocol.CategoryUserInput, protocol.CategoryResource, protocol.CategoryFatal:
	case protocol.CategoryTransient:
		failure.RetryAfter = time.Second
	default:
		failure = worker.Errorf(worker.UserInput, "category is user_input, transient, resource or fatal, not %q", params.Category)
		failure.FieldsInvalid = []string{"category"}
	}
	job.Log(slog.LevelWarn, "failing as told", "category", params.Category)
	return nil, failure
}

func demoCrash(_ context.Context, job *worker.Job) (any, error) {
	params := struct {
		Signal any
		Exit   *int
	}{}
	if err := job.Bind(&params); err != nil {
		return nil, err
	}
	if params.Signal == nil {
		status := 1
		if params.Exit != nil {
			status = *params.Exit
		}
		fmt.Fprintf(os.Stderr, "demo: exit with status %d, as told\n", status)
		syscall.Exit(status)
	}
	number, err := signalNumber(params.Signal)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "demo: end by %s, as told\n", unix.SignalName(number))
	if number == unix.SIGKILL {
		err = unix.Kill(os.Getpid(), number)
	} else {
		// Go's runtime catches most signals. In a program that took this one's place they do what they are known for.
		kill := fmt.Sprintf("ulimit -c 0; kill -%d $$; exec sleep 3600", int(number))
		err = unix.Exec("/bin/sh", []string{"sh", "-c", kill}, os.Environ())
	}
	return nil, worker.Errorf(worker.Fatal, "kill: %w", err)
}

// signalNumber takes a number, or a name with or without SIG.
func signalNumber(signal any) (syscall.Signal, error) {
	switch signal := signal.(type) {
	case float64:
		if number := syscall.Signal(signal); float64(number) == signal && unix.SignalName(number) != "" {
			return number, nil
		}
	case string:
		if number := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(signal), "SIG")); number != 0 {
			return number, nil
		}
	}
	e := worker.Errorf(worker.UserInput, "there is no signal %v", signal)
	e.FieldsInvalid = []string{"signal"}
	return 0, e
}

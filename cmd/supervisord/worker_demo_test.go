package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/protocol"
)

// demo is the built-in worker as a process, as a daemon starts it.
type demo struct {
	t      *testing.T
	cmd    *exec.Cmd
	w, r   *os.File
	frames *protocol.FrameReader
	stderr strings.Builder
	exited chan error
}

// startDemo starts the worker and waits until it is ready.
func startDemo(t *testing.T) (*demo, *protocol.Ready) {
	t.Helper()
	requests, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r, responses, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d := &demo{t: t, cmd: exec.Command("supervisord", "worker", "demo"), w: w, r: r, exited: make(chan error, 1)}
	d.frames = protocol.NewFrameReader(r, 64<<20)
	d.cmd.Env = append(os.Environ(), "SUPERVISORD_PROTOCOL=1", "GORACE=atexit_sleep_ms=0")
	d.cmd.ExtraFiles = []*os.File{requests, responses}
	d.cmd.Stderr = &d.stderr
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	requests.Close()
	responses.Close()
	ended := make(chan struct{})
	go func() { // the cleanup below waits for it
		defer close(ended)
		d.exited <- d.cmd.Wait()
	}()
	t.Cleanup(func() {
		w.Close()
		r.Close()
		_ = d.cmd.Process.Kill() // it may have ended
		<-ended
	})
	for _, f := range []*os.File{w, r} {
		if err := f.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	d.send(&protocol.Init{Protocol: protocol.Version, Pool: "p", Worker: "p/0", Incarnation: 1, MaxMessage: 16 << 20})
	ready, ok := d.next().(*protocol.Ready)
	if !ok {
		t.Fatal("the first message is not ready")
	}
	return d, ready
}

func (d *demo) send(m protocol.Message) {
	d.t.Helper()
	body, err := protocol.Encode(m)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := protocol.WriteFrame(d.w, body); err != nil {
		d.t.Fatal(err)
	}
}

func (d *demo) next() protocol.Message {
	d.t.Helper()
	body, err := d.frames.Next()
	if err != nil {
		d.t.Fatalf("%v; stderr: %s", err, d.stderr.String())
	}
	m, err := protocol.Decode(body)
	if err != nil {
		d.t.Fatal(err)
	}
	return m
}

// run executes a job and returns what came before its result, and the result.
func (d *demo) run(plugin, params string, stream bool) ([]protocol.Message, *protocol.Result) {
	d.t.Helper()
	d.send(&protocol.Execute{JobID: "j", PluginName: plugin, Params: json.RawMessage(params), Stream: stream})
	var before []protocol.Message
	for {
		m := d.next()
		if result, ok := m.(*protocol.Result); ok {
			return before, result
		}
		before = append(before, m)
	}
}

// wait waits for the end of the process.
func (d *demo) wait() syscall.WaitStatus {
	d.t.Helper()
	select {
	case err := <-d.exited:
		if err == nil {
			return 0
		}
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			d.t.Fatal(err)
		}
		return exit.Sys().(syscall.WaitStatus)
	case <-time.After(patience):
		d.t.Fatal("the worker goes on")
		return 0
	}
}

func TestDemoAnnouncesEverything(t *testing.T) {
	t.Parallel()
	_, ready := startDemo(t)
	if !slices.Equal(ready.Features, protocol.Features()) {
		t.Errorf("features %v, want %v", ready.Features, protocol.Features())
	}
	want := []string{"echo", "count", "sleep", "fail", "crash"}
	if !slices.Equal(ready.LoadedPlugins, want) {
		t.Errorf("loaded %v, want %v", ready.LoadedPlugins, want)
	}
	for _, p := range ready.Plugins {
		if p.Streaming != (p.Name == "count") || p.Description == "" {
			t.Errorf("plugin %+v", p)
		}
	}
}

func TestDemoAnswers(t *testing.T) {
	t.Parallel()
	d, _ := startDemo(t)
	for _, test := range []struct {
		plugin, params string
		stream         bool
		chunks         []string
		want           string // data, or error and category
	}{
		{"echo", `{"pad":"xx","n":1.50}`, false, nil, `{"pad":"xx","n":1.50}`},
		{"echo", `{}`, true, nil, `{}`},
		{"count", `{"count":2,"ms":0,"pad":3}`, true, []string{`{"i":0,"pad":"xxx"}`, `{"i":1,"pad":"xxx"}`, `""`}, `{"streamed":true}`},
		{"count", `{"count":2,"ms":1}`, false, nil, `{"chunks":[{"i":0,"pad":""},{"i":1,"pad":""}]}`},
		{"count", `{"count":0}`, true, []string{`""`}, `{"streamed":true}`},
		{"count", `{"pad":-1}`, true, nil, "count, ms and pad are not negative, and pad at most 67108864: user_input"},
		{"count", `{"count":"x"}`, false, nil, "params: json: cannot unmarshal string into Go struct field .Count of type int64: user_input"},
		{"sleep", `{"ms":20}`, false, nil, `{"slept_ms":20}`},
		{"sleep", `{"ms":-1}`, false, nil, "ms is not negative: user_input"},
		{"fail", `{}`, false, nil, "failed as told: fatal"},
		{"fail", `{"category":"transient","message":"later"}`, false, nil, "later: transient retriable"},
		{"fail", `{"category":"resource"}`, false, nil, "failed as told: resource"},
		{"fail", `{"category":"user_input"}`, false, nil, "failed as told: user_input"},
		{"fail", `{"category":"x"}`, false, nil, `category is user_input, transient, resource or fatal, not "x": user_input`},
		{"crash", `{"signal":"NONE"}`, false, nil, "there is no signal NONE: user_input"},
		{"crash", `{"signal":-9}`, false, nil, "there is no signal -9: user_input"},
	} {
		before, result := d.run(test.plugin, test.params, test.stream)
		var chunks []string
		for _, m := range before {
			if c, ok := m.(*protocol.StreamChunk); ok {
				chunks = append(chunks, string(c.Chunk))
			}
		}
		got := string(result.Data)
		if result.Status == protocol.StatusError {
			got = result.Error
			if result.ErrorInfo != nil {
				got += ": " + result.ErrorInfo.Category
				if *result.ErrorInfo.Retriable {
					got += " retriable"
				}
			}
		}
		if got != test.want || !slices.Equal(chunks, test.chunks) {
			t.Errorf("%s %s: got %s after %q, want %s after %q", test.plugin, test.params, got, chunks, test.want, test.chunks)
		}
	}
}

// The extensions that only workers with features have.
func TestDemoTellsProgressMetricsAndLogs(t *testing.T) {
	t.Parallel()
	d, _ := startDemo(t)
	before, _ := d.run("sleep", `{"ms":10}`, false)
	var progress int
	var metric *protocol.Metric
	for _, m := range before {
		switch m := m.(type) {
		case *protocol.Progress:
			progress++
		case *protocol.Metric:
			metric = m
		}
	}
	if progress != 10 || metric == nil || metric.Name != "slept_seconds" || metric.Value != 0.01 || metric.JobID != "j" {
		t.Errorf("got %d progress messages and the metric %+v", progress, metric)
	}
	before, _ = d.run("fail", `{"category":"fatal"}`, false)
	if len(before) != 1 {
		t.Fatalf("got %v", before)
	}
	if l, ok := before[0].(*protocol.Log); !ok || l.Level != protocol.LevelWarn || l.JobID != "j" || string(l.Fields) != `{"category":"fatal"}` {
		t.Errorf("got %+v", before[0])
	}
}

func TestDemoIsCancelled(t *testing.T) {
	t.Parallel()
	d, _ := startDemo(t)
	for plugin, params := range map[string]string{"sleep": `{"ms":3600000}`, "count": `{"count":2,"ms":3600000}`} {
		d.send(&protocol.Execute{JobID: plugin, PluginName: plugin, Params: json.RawMessage(params), Stream: true})
		d.next() // it has begun: a progress, a chunk
		d.send(&protocol.Cancel{JobID: plugin})
		for {
			if result, ok := d.next().(*protocol.Result); ok {
				if result.Status != protocol.StatusCancelled {
					t.Errorf("%s: got %+v", plugin, result)
				}
				break
			}
		}
	}
}

func TestDemoCrashes(t *testing.T) {
	t.Parallel()
	for params, want := range map[string]syscall.WaitStatus{
		`{}`:                   1 << 8,
		`{"exit":0}`:           0,
		`{"exit":125}`:         125 << 8,
		`{"signal":"SIGKILL"}`: syscall.WaitStatus(unix.SIGKILL),
		`{"signal":"segv"}`:    syscall.WaitStatus(unix.SIGSEGV),
		`{"signal":"SIGABRT"}`: syscall.WaitStatus(unix.SIGABRT),
		`{"signal":15}`:        syscall.WaitStatus(unix.SIGTERM),
	} {
		t.Run(params, func(t *testing.T) {
			t.Parallel()
			d, _ := startDemo(t)
			d.send(&protocol.Execute{JobID: "j", PluginName: "crash", Params: json.RawMessage(params)})
			if status := d.wait(); status != want {
				t.Errorf("status %#x, want %#x", status, want)
			}
			if !strings.Contains(d.stderr.String(), "as told") {
				t.Errorf("stderr is %q", d.stderr.String())
			}
			if _, err := d.frames.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("something came before the end: %v", err)
			}
		})
	}
}

func TestDemoEnds(t *testing.T) {
	t.Parallel()
	t.Run("by stop", func(t *testing.T) {
		t.Parallel()
		d, _ := startDemo(t)
		d.send(&protocol.Stop{})
		if status := d.wait(); status != 0 {
			t.Errorf("status %#x", status)
		}
	})
	t.Run("by the end of its daemon", func(t *testing.T) {
		t.Parallel()
		d, _ := startDemo(t)
		d.send(&protocol.Execute{JobID: "j", PluginName: "sleep", Params: json.RawMessage(`{"ms":3600000}`)})
		d.w.Close()
		if status := d.wait(); status != 0 {
			t.Errorf("status %#x", status)
		}
	})
}

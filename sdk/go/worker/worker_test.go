package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"supervisord/protocol"
	"supervisord/sdk/go/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func letters(_ context.Context, job *worker.Job) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		var params struct{ Text string }
		if err := job.Bind(&params); err != nil {
			yield(nil, err)
			return
		}
		for _, letter := range params.Text {
			if !yield(string(letter), nil) {
				return
			}
		}
	}
}

func TestHandshake(t *testing.T) {
	w := worker.New()
	w.Func("echo", echo, worker.Inline(), worker.Describe("says it again"), worker.Schema(json.RawMessage(`{"type":"object"}`)))
	w.Stream("letters", letters)
	w.Func("count", count, worker.Streaming())
	_, ready := start(t, w)
	if ready.Protocol != protocol.Version || !slices.Equal(ready.Features, protocol.Features()) {
		t.Errorf("protocol %d, features %v", ready.Protocol, ready.Features)
	}
	names := []string{"echo", "letters", "count"}
	if !slices.Equal(ready.LoadedPlugins, names) {
		t.Errorf("loaded %v, want %v", ready.LoadedPlugins, names)
	}
	want := []protocol.PluginInfo{
		{Name: "echo", Schema: json.RawMessage(`{"type":"object"}`), Description: "says it again"},
		{Name: "letters", Streaming: true},
		{Name: "count", Streaming: true},
	}
	if !slices.EqualFunc(ready.Plugins, want, func(a, b protocol.PluginInfo) bool {
		return a.Name == b.Name && a.Streaming == b.Streaming && a.Description == b.Description && string(a.Schema) == string(b.Schema)
	}) {
		t.Errorf("plugins %+v, want %+v", ready.Plugins, want)
	}
}

func TestMistakesOfTheProgramPanic(t *testing.T) {
	for name, mistake := range map[string]func(w *worker.Worker){
		"no name":           func(w *worker.Worker) { w.Func("", echo) },
		"name taken":        func(w *worker.Worker) { w.Func("a", echo); w.Stream("a", letters) },
		"schema":            func(w *worker.Worker) { w.Func("a", echo, worker.Schema(json.RawMessage(`{"a":`))) },
		"schema not UTF-8":  func(w *worker.Worker) { w.Func("a", echo, worker.Schema(json.RawMessage("\"\xff\""))) },
		"inline stream":     func(w *worker.Worker) { w.Stream("a", letters, worker.Inline()) },
		"inline and stream": func(w *worker.Worker) { w.Func("a", echo, worker.Inline(), worker.Streaming()) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			mistake(worker.New())
		})
	}
}

func TestServeOutsideOfADaemon(t *testing.T) {
	t.Setenv("SUPERVISORD_PROTOCOL", "")
	if err := worker.New().Serve(t.Context()); !errors.Is(err, worker.ErrNoLink) {
		t.Errorf("got %v, want ErrNoLink", err)
	}
}

// What comes from a later daemon, or from none at all.
func TestMessagesFromTheDaemon(t *testing.T) {
	for name, test := range map[string]struct {
		frame string
		fatal string // what Serve's error says; empty where it goes on
	}{
		"later type":        {`{"type":"later","x":1}`, ""},
		"later member":      {`{"type":"get_state","later":{"x":1}}`, ""},
		"cancel of no job":  {`{"type":"cancel","job_id":"gone"}`, ""},
		"no JSON":           {`{"type":`, "invalid JSON"},
		"no type":           {`{"x":1}`, `member "type" is missing`},
		"no job_id":         {`{"type":"execute","plugin_name":"echo"}`, "execute without job_id"},
		"job_id twice":      {`{"type":"execute","job_id":"a","job_id":"b","plugin_name":"echo"}`, `member "job_id" twice`},
		"unload of nothing": {`{"type":"unload"}`, `member "plugin_name" is missing`},
	} {
		t.Run(name, func(t *testing.T) {
			w := worker.New()
			w.Func("echo", echo)
			d, _ := start(t, w)
			d.write(protocol.AppendFrame(nil, []byte(test.frame)))
			if test.fatal != "" {
				if err := d.ended(); err == nil || !strings.Contains(err.Error(), test.fatal) {
					t.Errorf("got %v, want %s", err, test.fatal)
				}
				return
			}
			d.send(execute("j", "echo", `{}`))
			if r := d.result("j"); r.Status != protocol.StatusSuccess {
				t.Errorf("got %+v", r)
			}
		})
	}
}

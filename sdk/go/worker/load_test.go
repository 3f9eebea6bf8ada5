package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"supervisord/protocol"
	"supervisord/sdk/go/worker"
)

// model is a plugin with a loader that does what its config says.
type model struct {
	name   string
	events []string // of the worker's goroutines, one at a time
}

func (m *model) load(_ context.Context, load *worker.Load) error {
	m.events = append(m.events, "load "+string(load.Config))
	var config struct {
		Fail, Panic, Nil bool
		Progress         bool
	}
	if err := load.Bind(&config); err != nil {
		return err
	}
	switch {
	case config.Fail:
		return errMine
	case config.Panic:
		panic("oh no")
	case config.Nil:
		return typedNil()
	case config.Progress:
		load.Progress(0.5, "half of "+load.Plugin)
		load.Progress(math.Inf(1), "")
	}
	m.name = string(load.Config)
	return nil
}

func (m *model) unload(context.Context) error {
	m.events = append(m.events, "unload "+m.name)
	if strings.Contains(m.name, "stuck") {
		return errMine
	}
	return nil
}

func modelWorker() (*worker.Worker, *model) {
	m := new(model)
	w := worker.New()
	w.Func("echo", echo)
	w.Func("model", func(context.Context, *worker.Job) (any, error) { return m.name, nil }, worker.OnLoad(m.load), worker.OnUnload(m.unload))
	return w, m
}

// initialize sends init with a config of the plugin model and returns all up to ready.
func initialize(t *testing.T, w *worker.Worker, config string) (*daemon, []protocol.Message, *protocol.Ready) {
	t.Helper()
	d := link(t, w)
	configs := map[string]json.RawMessage{}
	if config != "" {
		configs["model"] = json.RawMessage(config)
	}
	d.send(&protocol.Init{Protocol: protocol.Version, PluginConfigs: configs, MaxMessage: 1 << 20})
	var before []protocol.Message
	for {
		m, err := d.next()
		if err != nil {
			t.Fatal(err)
		}
		if ready, ok := m.(*protocol.Ready); ok {
			return d, before, ready
		}
		before = append(before, m)
	}
}

func TestLoaders(t *testing.T) {
	for name, test := range map[string]struct{ config, event, fails string }{
		"without config": {"", "load {}", ""},
		"null":           {"null", "load {}", ""},
		"config":         {`{"N": 1.50}`, `load {"N": 1.50}`, ""},
		"fails":          {`{"fail":true}`, `load {"fail":true}`, "mine"},
		"panics":         {`{"panic":true}`, `load {"panic":true}`, "panic: oh no"},
		"typed nil":      {`{"nil":true}`, `load {"nil":true}`, "panic: runtime error: invalid memory address"},
		"wrong config":   {`{"fail":1}`, `load {"fail":1}`, "config of plugin model: "},
	} {
		t.Run(name, func(t *testing.T) {
			w, m := modelWorker()
			d, before, ready := initialize(t, w, test.config)
			if !slices.Equal(m.events, []string{test.event}) {
				t.Errorf("events %q, want %q", m.events, test.event)
			}
			d.send(execute("j", "model", `{}`))
			r := d.result("j")
			if test.fails == "" {
				if !slices.Equal(ready.LoadedPlugins, []string{"echo", "model"}) || r.Status != protocol.StatusSuccess || len(before) > 0 {
					t.Errorf("loaded %v after %v, then %+v", ready.LoadedPlugins, before, r)
				}
				return
			}
			if !slices.Equal(ready.LoadedPlugins, []string{"echo"}) || r.Status != protocol.StatusError || !strings.Contains(r.Error, "not loaded") {
				t.Errorf("loaded %v, then %+v", ready.LoadedPlugins, r)
			}
			if len(ready.Plugins) != 2 {
				t.Errorf("plugins %+v: what failed to load is still one of them", ready.Plugins)
			}
			l, ok := before[0].(*protocol.Log)
			var fields map[string]string
			if !ok || json.Unmarshal(l.Fields, &fields) != nil || fields["plugin_name"] != "model" || !strings.HasPrefix(fields["error"], test.fails) {
				t.Errorf("log %+v", before[0])
			}
		})
	}
}

func TestLoadProgress(t *testing.T) {
	w, _ := modelWorker()
	_, before, _ := initialize(t, w, `{"progress":true}`)
	if len(before) != 2 {
		t.Fatalf("got %v", before)
	}
	first, _ := before[0].(*protocol.LoadProgress)
	second, _ := before[1].(*protocol.LoadProgress)
	if first == nil || first.PluginName != "model" || *first.Progress != 0.5 || first.Message != "half of model" || second == nil || second.Progress != nil {
		t.Errorf("got %+v, %+v", first, second)
	}
}

func TestReloadUnloadState(t *testing.T) {
	w, m := modelWorker()
	d, _, _ := initialize(t, w, `{"v":1}`)
	state := func(want *protocol.State) {
		t.Helper()
		d.send(&protocol.GetState{RequestID: "s"})
		got := receive[*protocol.State](d)
		if got.CurrentPlugin != want.CurrentPlugin || string(got.CurrentConfig) != string(want.CurrentConfig) ||
			!slices.Equal(got.LoadedPlugins, want.LoadedPlugins) || got.RequestID != "s" {
			t.Errorf("state %+v, want %+v", got, want)
		}
	}
	answer := func(request protocol.Message, kind, status, errorText string) {
		t.Helper()
		d.send(request)
		r := receive[*protocol.Response](d)
		if r.RequestType != kind || r.Status != status || !strings.HasPrefix(r.Error, errorText) || (r.Error == "") != (errorText == "") || r.RequestID != "r" {
			t.Errorf("got %+v", r)
		}
	}
	const ok, failed = protocol.StatusSuccess, protocol.StatusError
	reload := func(plugin, config string) protocol.Message {
		return &protocol.Reload{PluginName: plugin, Config: json.RawMessage(config), RequestID: "r"}
	}
	unload := func(plugin string) protocol.Message {
		return &protocol.Unload{PluginName: plugin, RequestID: "r"}
	}
	both, one := []string{"echo", "model"}, []string{"echo"}

	state(&protocol.State{LoadedPlugins: both})
	answer(reload("model", `{"v":2}`), "reload", ok, "")
	state(&protocol.State{CurrentPlugin: "model", CurrentConfig: json.RawMessage(`{"v":2}`), LoadedPlugins: both})
	answer(unload("model"), "unload", ok, "")
	answer(unload("model"), "unload", ok, "") // it is not loaded
	state(&protocol.State{LoadedPlugins: one})
	answer(reload("model", `{"fail":true}`), "reload", failed, "mine")
	state(&protocol.State{LoadedPlugins: one})
	answer(reload("model", `{"v":"stuck"}`), "reload", ok, "")
	answer(reload("model", `{"v":3}`), "reload", failed, "mine") // it could not be unloaded
	state(&protocol.State{LoadedPlugins: one})
	answer(reload("none", `{}`), "reload", failed, `this worker has no plugin "none"`)
	answer(unload("none"), "unload", failed, `this worker has no plugin "none"`)
	answer(unload("echo"), "unload", ok, "")
	answer(reload("echo", `{"e":1}`), "reload", ok, "")
	state(&protocol.State{CurrentPlugin: "echo", CurrentConfig: json.RawMessage(`{"e":1}`), LoadedPlugins: one})

	want := []string{
		`load {"v":1}`, `unload {"v":1}`, `load {"v":2}`, `unload {"v":2}`, `load {"fail":true}`, `load {"v":"stuck"}`, `unload {"v":"stuck"}`,
	}
	if !slices.Equal(m.events, want) {
		t.Errorf("events %q, want %q", m.events, want)
	}
}

// A base daemon sends no request_id and gets none.
func TestNoRequestID(t *testing.T) {
	w, _ := modelWorker()
	d, _, _ := initialize(t, w, "")
	d.send(&protocol.GetState{}, &protocol.Unload{PluginName: "model"})
	if s := receive[*protocol.State](d); s.RequestID != "" {
		t.Errorf("got %+v", s)
	}
	if r := receive[*protocol.Response](d); r.RequestID != "" || r.Status != protocol.StatusSuccess {
		t.Errorf("got %+v", r)
	}
}

// Loading takes long: meanwhile the end of the link is seen, and the loader's context ends.
func TestEndWhileLoading(t *testing.T) {
	loading := make(chan struct{})
	ended := make(chan error, 1)
	w := worker.New()
	w.Func("slow", echo, worker.OnLoad(func(ctx context.Context, _ *worker.Load) error {
		close(loading)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return fmt.Errorf("gave up: %w", context.Cause(ctx))
	}))
	d := link(t, w)
	d.send(&protocol.Init{Protocol: protocol.Version})
	<-loading
	d.w.Close()
	if err := <-ended; !errors.Is(err, worker.ErrClosed) {
		t.Errorf("the loader's context ended with %v", err)
	}
	if err := d.ended(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

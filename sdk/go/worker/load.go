package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"

	"supervisord/protocol"
)

// Load is what a loader is given.
type Load struct {
	// Plugin is the name of the plugin to load.
	Plugin string
	// Config is the plugin's config as the pool has it, {} without one.
	Config   json.RawMessage
	progress func(fraction float64, message string)
}

// Bind decodes the config into v, as json.Unmarshal does.
func (l *Load) Bind(v any) error {
	if err := json.Unmarshal(l.Config, v); err != nil {
		return fmt.Errorf("config of plugin %s: %w", l.Plugin, err)
	}
	return nil
}

// Progress tells how far loading is, 0 to 1, and on what; a fraction outside means unknown. The daemon gives a worker
// that loads for long more time for each of the first ten of them.
func (l *Load) Progress(fraction float64, message string) { l.progress(fraction, message) }

// control handles the messages that are not about a job. They are rare and decoded whole.
func (s *session) control(ctx context.Context, body []byte) error {
	message, err := protocol.Decode(body)
	if _, unknown := errors.AsType[*protocol.UnknownTypeError](err); unknown {
		return nil // a later version's, which this worker has not asked for
	}
	if err != nil {
		return fmt.Errorf("message from the daemon: %w", err)
	}
	switch m := message.(type) {
	case *protocol.Init:
		if m.MaxMessage > 0 {
			s.maxFrame.Store(m.MaxMessage + protocol.FrameOverhead)
		}
		s.goLoad(func() { s.init(ctx, m) })
	case *protocol.Reload:
		s.goLoad(func() {
			s.respond(protocol.TypeReload, m.PluginName, m.RequestID, s.reload(ctx, m.PluginName, m.Config))
		})
	case *protocol.Unload:
		s.goLoad(func() { s.respond(protocol.TypeUnload, m.PluginName, m.RequestID, s.unload(ctx, m.PluginName)) })
	case *protocol.GetState:
		s.state(m)
	case *protocol.Stop:
		return s.stop()
	}
	return nil
}

// init loads the plugins and says ready.
func (s *session) init(ctx context.Context, m *protocol.Init) {
	for _, p := range s.worker.order {
		if p.load == nil {
			continue
		}
		if err := s.load(ctx, p, m.PluginConfigs[p.name]); err != nil {
			fields, _ := json.Marshal(map[string]string{"plugin_name": p.name, "error": err.Error()}) // strings always can
			s.send(&protocol.Log{Level: protocol.LevelError, Message: "plugin failed to load", Fields: fields}, soon)
		}
	}
	plugins := make([]protocol.PluginInfo, len(s.worker.order))
	for i, p := range s.worker.order {
		plugins[i] = protocol.PluginInfo{Name: p.name, Streaming: p.streaming, Schema: p.schema, Description: p.description}
	}
	s.send(&protocol.Ready{
		LoadedPlugins: s.loadedPlugins(), Protocol: protocol.Version, Features: protocol.Features(), Plugins: plugins,
	}, now)
}

func (s *session) reload(ctx context.Context, plugin string, config json.RawMessage) error {
	p := s.worker.plugins[plugin]
	if p == nil {
		return fmt.Errorf("this worker has no plugin %q", plugin)
	}
	if p.load != nil {
		if err := s.unload(ctx, plugin); err != nil {
			return err
		}
		if err := s.load(ctx, p, config); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current, s.config = plugin, config
	return nil
}

// unload frees a plugin that has a loader and is loaded. Any other is left as it is, for it holds nothing.
func (s *session) unload(ctx context.Context, plugin string) error {
	p := s.worker.plugins[plugin]
	if p == nil {
		return fmt.Errorf("this worker has no plugin %q", plugin)
	}
	if p.load == nil || !s.isLoaded(p) {
		return nil
	}
	s.mu.Lock()
	delete(s.loaded, plugin)
	if s.current == plugin {
		s.current, s.config = "", nil
	}
	s.mu.Unlock()
	if p.unload == nil {
		return nil
	}
	return guard(func() error { return p.unload(ctx) })
}

func (s *session) load(ctx context.Context, p *plugin, config json.RawMessage) error {
	if len(config) == 0 || string(config) == "null" {
		config = json.RawMessage(`{}`)
	}
	load := &Load{Plugin: p.name, Config: config, progress: func(f float64, message string) {
		s.send(&protocol.LoadProgress{PluginName: p.name, Progress: share(f), Message: message}, soon)
	}}
	if err := guard(func() error { return p.load(ctx, load) }); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded[p.name] = true
	return nil
}

// guard turns a panic of a loader into its error.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return spoken(f())
}

// goLoad runs f on a goroutine, so that the end of the link is seen meanwhile, after those that run already.
func (s *session) goLoad(f func()) {
	s.mu.Lock()
	s.running++
	s.mu.Unlock()
	go func() { // awaitIdle waits for it
		defer s.end(nil)
		s.loading <- struct{}{}
		defer func() { <-s.loading }()
		f()
	}()
}

func (s *session) respond(request, plugin, requestID string, err error) {
	m := &protocol.Response{
		RequestType: request, Status: protocol.StatusSuccess, PluginName: plugin, RequestID: requestID,
	}
	if err != nil {
		m.Status, m.Error = protocol.StatusError, err.Error()
	}
	s.send(m, now)
}

func (s *session) state(m *protocol.GetState) {
	loaded := s.loadedPlugins()
	s.mu.Lock()
	current, config := s.current, s.config
	s.mu.Unlock()
	s.send(&protocol.State{
		CurrentPlugin: current, CurrentConfig: config, LoadedPlugins: loaded, RequestID: m.RequestID,
	}, now)
}

// send queues one message that is not spliced.
func (s *session) send(m protocol.Message, when urgency) {
	body, err := protocol.Encode(m)
	if most := s.maxFrame.Load(); err == nil && most > 0 && int64(len(body)) > most && m.MessageType() != protocol.TypeResult {
		// The daemon gives up a job for a long result, and the process for anything else.
		err = fmt.Errorf("%s message of %d bytes is over the limit of %d", m.MessageType(), len(body), most)
	}
	if err != nil {
		// A value that JSON does not have is the plugin's fault and costs this message, not the worker.
		body, err = protocol.Encode(&protocol.Log{Level: protocol.LevelError, Message: err.Error()})
		if err != nil {
			return // cannot be: text can always be encoded
		}
	}
	b, from := beginFrame(s.out.lock())
	s.out.unlock(endFrame(append(b, body...), from), when)
}

func (s *session) isLoaded(p *plugin) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loaded[p.name]
}

func (s *session) loadedPlugins() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.worker.order))
	for _, p := range s.worker.order {
		if p.load == nil || s.loaded[p.name] {
			names = append(names, p.name)
		}
	}
	return names
}

package workers

import (
	"slices"

	"supervisord/protocol"
)

// plugins is what a process has loaded, as far as what it was told and has answered says. Incarnation.mu guards it.
type plugins struct {
	loaded  []string // never changed in place
	current string   // ran last, or was loaded last; may not be loaded
}

// changed takes over the answer to a command, nil for none.
func (p *plugins) changed(r Request, answer *Answer) {
	failed := answer == nil || answer.Error != ""
	switch r.Type {
	case protocol.TypeReload:
		// Whatever came of it, another plugin that was current may have been unloaded first.
		p.remove(p.current)
		p.remove(r.Plugin)
		p.current = ""
		if !failed {
			p.loaded = append(slices.Clip(p.loaded), r.Plugin)
			p.current = r.Plugin
		}
	case protocol.TypeUnload:
		if failed {
			return
		}
		p.remove(r.Plugin)
		if p.current == r.Plugin {
			p.current = ""
		}
	}
}

func (p *plugins) remove(name string) {
	p.loaded = slices.DeleteFunc(slices.Clone(p.loaded), func(s string) bool { return s == name })
}

// Loaded are the plugins that the process has loaded, which the caller must not change. Known from Sink.WorkerUp on.
func (i *Incarnation) Loaded() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.plugins.loaded
}

// CurrentPlugin is the plugin that ran last or was loaded last, empty for none.
func (i *Incarnation) CurrentPlugin() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.plugins.current
}

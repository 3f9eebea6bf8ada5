package dispatch_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"supervisord/internal/jobs"
	"supervisord/internal/workers/workertest"
	"supervisord/protocol"
)

// models are workers with plugins that are loaded and unloaded.
var models = map[string]workertest.Role{
	// model behaves as its argument, a manner, says.
	"model": func(l *workertest.Link, args []string) {
		m := &model{Link: l}
		if len(args) > 0 {
			if err := json.Unmarshal([]byte(args[0]), &m.manner); err != nil {
				panic(err)
			}
		}
		m.serve()
	},
	// answers-and-exits answers a job and exits when the next one has been sent, which it does not read.
	"answers-and-exits": func(l *workertest.Link, _ []string) {
		l.Ready()
		l.Succeed(l.Job(), "{}")
		awaitFrame()
		unix.Exit(0)
	},
	// never-reads exits when a job has been sent, which it does not read, in the incarnations up to that of its argument.
	"never-reads": func(l *workertest.Link, args []string) {
		l.Ready()
		if last, err := strconv.Atoi(args[0]); err == nil && incarnation() <= last {
			awaitFrame()
			unix.Exit(0)
		}
		l.Serve(func(job *protocol.Execute) { l.Succeed(job, "{}") })
	},
}

// manner is how a model behaves.
type manner struct {
	Tag      string   // is part of its answers
	Features []string // that it tells of
	Without  []string // configured plugins that it does not load at its start
	From     int      // in the incarnations from this on, 0 is none:
	Wait     string   // it waits at its start until there is such a file
	Missing  string   // it exits then while there is no such file
	StopGate []string // at which it waits when it is told to stop, by slot
}

// arg is the manner as the argument of a model.
func (m *manner) arg() []string {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return []string{string(b)}
}

// setting is a plugin's config.
type setting struct {
	Value  string
	Note   string   // a file to which a line is written when it is loaded
	Gates  []string // at which a load waits, by slot
	Stderr string   // is said by a load
	Fail   string   // by which a load fails
	Exit   int      // by which it ends the process
	Hang   bool     // it never ends
}

// what a model answers to the params whoParams.
type whoAnswer struct{ Tag, Worker, Plugin, Value string }

const whoParams = `{"who":true}`

type model struct {
	*workertest.Link
	manner

	settings map[string]json.RawMessage
	current  string
}

func (m *model) serve() {
	init, ok := m.Next().(*protocol.Init)
	if !ok {
		panic("no init")
	}
	if m.From > 0 && incarnation() >= m.From {
		if m.Wait != "" {
			workertest.WaitForFile(m.Wait)
		}
		if _, err := os.Stat(m.Missing); m.Missing != "" && err != nil {
			_, _ = os.Stderr.WriteString("no weights yet\n")
			unix.Exit(3)
		}
	}
	m.settings = init.PluginConfigs
	names := slices.Sorted(maps.Keys(init.PluginConfigs))
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(m.Without, name) })
	if len(init.PluginConfigs) == 0 {
		names = []string{"echo"}
	}
	m.Send(&protocol.Ready{Protocol: protocol.Version, LoadedPlugins: names, Features: m.Features})
	for {
		switch message := m.Next().(type) {
		case *protocol.Execute:
			m.execute(message)
		case *protocol.Reload:
			m.load(message)
		case *protocol.Unload:
			m.Send(&protocol.Response{
				RequestType: protocol.TypeUnload, Status: protocol.StatusSuccess, PluginName: message.PluginName, RequestID: message.RequestID,
			})
		case *protocol.GetState:
			m.Send(&protocol.State{CurrentPlugin: m.current, CurrentConfig: m.settings[m.current], LoadedPlugins: names, RequestID: message.RequestID})
		case *protocol.Stop:
			if slot := slotNumber(); slot < len(m.StopGate) {
				waitAt(m.StopGate[slot])
			}
			return
		}
	}
}

func (m *model) execute(job *protocol.Execute) {
	m.current = job.PluginName
	if string(job.Params) != whoParams {
		act(m.Link, job)
		return
	}
	b, err := json.Marshal(whoAnswer{m.Tag, os.Getenv(protocol.EnvWorker), job.PluginName, m.setting(job.PluginName).Value})
	if err != nil {
		panic(err)
	}
	m.Succeed(job, string(b))
}

func (m *model) setting(plugin string) setting {
	var s setting
	if raw := m.settings[plugin]; len(raw) > 0 {
		if err := json.Unmarshal(raw, &s); err != nil {
			panic(err)
		}
	}
	return s
}

func (m *model) load(message *protocol.Reload) {
	m.settings[message.PluginName] = message.Config
	s := m.setting(message.PluginName)
	answer := protocol.Response{
		RequestType: protocol.TypeReload, Status: protocol.StatusSuccess, PluginName: message.PluginName, RequestID: message.RequestID,
	}
	if s.Note != "" {
		note(s.Note)
	}
	if s.Stderr != "" {
		_, _ = os.Stderr.WriteString(s.Stderr + "\n")
	}
	if slot := slotNumber(); slot < len(s.Gates) {
		waitAt(s.Gates[slot])
	}
	switch {
	case s.Hang:
		workertest.Forever()
	case s.Exit > 0:
		unix.Exit(s.Exit)
	case s.Fail != "":
		answer.Status, answer.Error = protocol.StatusError, s.Fail
	}
	m.current = message.PluginName
	m.Send(&answer)
}

func slotNumber() int {
	n, err := strconv.Atoi(os.Getenv(protocol.EnvSlot))
	if err != nil {
		panic(err)
	}
	return n
}

// awaitFrame waits until there is something to be read.
func awaitFrame() {
	fds := []unix.PollFd{{Fd: protocol.FDRequests, Events: unix.POLLIN}}
	for {
		if n, err := unix.Poll(fds, -1); n > 0 && err == nil {
			return
		}
	}
}

// who calls a plugin of a model and returns who has answered.
func (f *fixture) who(plugin string) whoAnswer {
	f.t.Helper()
	c := f.start(jobs.Spec{Plugin: plugin, Params: []byte(whoParams)})
	return c.who()
}

func (c *call) who() whoAnswer {
	c.f.t.Helper()
	if err := c.wait(); err != nil {
		c.f.t.Fatalf("job %s: error %v of %+v", c.job.ID, err, err.Data)
	}
	var a whoAnswer
	if err := json.Unmarshal([]byte(c.data), &a); err != nil {
		c.f.t.Fatal(err)
	}
	return a
}

// at is the last attempt of a call that has begun.
func (c *call) at() protocol.Attempt {
	c.f.t.Helper()
	a := c.job.Record().Attempts
	if len(a) == 0 {
		c.f.t.Fatalf("job %s was not tried", c.job.ID)
	}
	return a[len(a)-1]
}

package dispatch_test

import (
	"encoding/json"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/internal/workers/workertest"
	"supervisord/protocol"
)

// roles are those that only the tests of this package need.
var roles = map[string]workertest.Role{
	// actor does what a job's params say; see acts.
	"actor": func(l *workertest.Link, args []string) {
		l.Ready(args...)
		l.Serve(func(job *protocol.Execute) { act(l, job) })
	},
	// named says which pool and plugin a job came to. Its arguments are the plugins that it has loaded and those that it
	// tells of, separated by commas; without any it is all that init names.
	"named": func(l *workertest.Link, args []string) {
		init, ok := l.Next().(*protocol.Init)
		if !ok {
			panic("no init")
		}
		ready := &protocol.Ready{Protocol: protocol.Version}
		if len(args) == 0 {
			for name := range init.PluginConfigs {
				ready.LoadedPlugins = append(ready.LoadedPlugins, name)
			}
		} else {
			ready.LoadedPlugins = strings.Split(args[0], ",")
			for name := range strings.SplitSeq(args[1], ",") {
				ready.Plugins = append(ready.Plugins, protocol.PluginInfo{Name: name, Streaming: true, Description: "about " + name})
			}
		}
		l.Send(ready)
		l.Serve(func(job *protocol.Execute) { l.Succeed(job, strconv.Quote(init.Pool+" "+job.PluginName)) })
	},
	// late takes many jobs at once and answers them when they are cancelled, after the time of its argument.
	"late": func(l *workertest.Link, args []string) {
		after, err := time.ParseDuration(args[0])
		if err != nil {
			panic(err)
		}
		l.Ready(protocol.FeatureCancel, protocol.FeatureConcurrent)
		for {
			switch m := l.Next().(type) {
			case *protocol.Cancel:
				time.AfterFunc(after, func() {
					l.Send(&protocol.Result{JobID: m.JobID, Status: protocol.StatusCancelled})
				})
			case *protocol.Stop:
				return
			}
		}
	},
	// needs-file exits at start with status 1 until there is the file of its argument, then it is an actor.
	"needs-file": func(l *workertest.Link, args []string) {
		if _, err := os.Stat(args[0]); err != nil {
			_, _ = os.Stderr.WriteString("no weights yet\n")
			unix.Exit(1)
		}
		l.Ready()
		l.Serve(func(job *protocol.Execute) { act(l, job) })
	},
}

// acts are the params of a job of an actor, in the order in which it does them. It answers with its params.
type acts struct {
	Deaf   bool   // ignores SIGTERM from now on
	Note   string // writes a line to this file
	Stderr string // says a line
	Grow   int    // takes so many bytes of memory
	Chunks int    // sends so many
	Pad    int    // and makes each so much longer
	Gate   string // waits until the gate of this path is opened
	Upto   int    // does the rest only in the incarnations up to this; 0: in all
	Hang   bool   // does nothing more
	Signal int    // kills itself
	Exit   int    // exits
	Raw    string // sends a frame
	Every  string // sends it every 20 ms
	Times  int    // so often
	Big    int    // answers with so many bytes
}

func act(l *workertest.Link, job *protocol.Execute) {
	var a acts
	if err := json.Unmarshal(job.Params, &a); err != nil {
		panic(err)
	}
	if a.Deaf {
		signal.Ignore(syscall.SIGTERM)
	}
	if a.Note != "" {
		note(a.Note)
	}
	if a.Stderr != "" {
		_, _ = os.Stderr.WriteString(a.Stderr + "\n")
	}
	if a.Grow > 0 {
		_, _ = unix.Mmap(-1, 0, a.Grow, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	}
	for i := range a.Chunks {
		l.Chunk(job, strconv.Quote(strconv.Itoa(i)+strings.Repeat("x", a.Pad)))
	}
	if a.Gate != "" {
		waitAt(a.Gate)
	}
	for range a.Times {
		time.Sleep(20 * time.Millisecond)
		l.Frame([]byte(strings.ReplaceAll(a.Every, "ID", job.JobID)))
	}
	switch {
	case a.Upto > 0 && incarnation() > a.Upto:
	case a.Hang:
		workertest.Forever()
	case a.Signal > 0:
		_ = syscall.Kill(os.Getpid(), syscall.Signal(a.Signal))
		workertest.Forever()
	case a.Exit > 0:
		unix.Exit(a.Exit)
	case a.Raw != "":
		l.Frame([]byte(strings.ReplaceAll(a.Raw, "ID", job.JobID)))
	case a.Big > 0:
		l.Succeed(job, strconv.Quote(strings.Repeat("x", a.Big)))
		return
	}
	l.Succeed(job, string(job.Params))
}

// note writes a line to a file.
func note(path string) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	_, _ = f.WriteString("here\n")
	_ = f.Close()
}

// incarnation is the number of this process.
func incarnation() int {
	n, err := strconv.Atoi(os.Getenv(protocol.EnvIncarnation))
	if err != nil {
		panic(err)
	}
	return n
}

// waitAt waits until a gate is opened.
func waitAt(path string) {
	f, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, f)
	_ = f.Close()
}

// gate is a fifo at which a job waits until somebody opens it.
type gate string

func newGate(t *testing.T) gate {
	t.Helper()
	dir, err := os.MkdirTemp("", "sv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := dir + "/gate"
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return gate(path)
}

// params are those of a job that waits at the gate, and has said so by a chunk before.
func (g gate) params() string { return `{"chunks":1,"gate":"` + string(g) + `"}` }

// open lets the process that waits, or is going to, go on.
func (g gate) open(t *testing.T) {
	t.Helper()
	g.reached(t)()
}

// reached waits until a process waits at the gate, which go lets go on.
func (g gate) reached(t *testing.T) (goOn func()) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		f, err := os.OpenFile(string(g), os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			return func() { _ = f.Close() }
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody waits at the gate: %v", err)
		}
	}
}

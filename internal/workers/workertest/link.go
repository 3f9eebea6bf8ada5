package workertest

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"sync"

	"supervisord/protocol"
)

// Link is the worker's side of a link. Send and Write are safe for concurrent use.
type Link struct {
	// In and Out are the file descriptors 3 and 4.
	In, Out *os.File
	frames  *protocol.FrameReader
	mu      sync.Mutex
}

func newLink() *Link {
	in, out := os.NewFile(protocol.FDRequests, "requests"), os.NewFile(protocol.FDResponses, "responses")
	if in == nil || out == nil {
		fail(os.ErrInvalid)
	}
	return &Link{In: in, Out: out, frames: protocol.NewFrameReader(in, math.MaxInt32)}
}

// Next is the next message. When the daemon has closed the link, the process exits with status 0.
func (l *Link) Next() protocol.Message {
	frame, err := l.frames.Next()
	if err != nil {
		exit(0)
	}
	m, err := protocol.Decode(frame)
	if err != nil {
		fail(err)
	}
	return m
}

// Send sends a message.
func (l *Link) Send(m protocol.Message) {
	body, err := protocol.Encode(m)
	if err != nil {
		fail(err)
	}
	l.Frame(body)
}

// Frame sends a frame with any payload.
func (l *Link) Frame(payload []byte) { l.Write(protocol.AppendFrame(nil, payload)) }

// Write writes bytes that need be no frame.
func (l *Link) Write(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.Out.Write(b); err != nil {
		exit(0) // nobody reads any more
	}
}

// Ready takes init and answers it.
func (l *Link) Ready(features ...string) *protocol.Init {
	init, ok := l.Next().(*protocol.Init)
	if !ok {
		fail(errors.New("the first message is not init"))
	}
	l.Send(ready(init, features...))
	return init
}

// ready says that the plugins of init are loaded, or the plugin "echo" where it names none.
func ready(init *protocol.Init, features ...string) *protocol.Ready {
	names := slices.Sorted(maps.Keys(init.PluginConfigs))
	if len(names) == 0 {
		names = []string{"echo"}
	}
	return &protocol.Ready{LoadedPlugins: names, Protocol: protocol.Version, Features: features}
}

// Serve calls execute for each job, one after the other, until it is told to stop.
func (l *Link) Serve(execute func(*protocol.Execute)) {
	for {
		switch m := l.Next().(type) {
		case *protocol.Execute:
			execute(m)
		case *protocol.Reload:
			l.Send(&protocol.Response{RequestType: protocol.TypeReload, Status: protocol.StatusError, PluginName: m.PluginName, Error: "cannot load it"})
		case *protocol.Stop:
			exit(0)
		}
	}
}

// Job is the next execute message; others are passed over, and stop ends the process.
func (l *Link) Job() *protocol.Execute {
	for {
		switch m := l.Next().(type) {
		case *protocol.Execute:
			return m
		case *protocol.Stop:
			exit(0)
		}
	}
}

// Succeed answers a job with data.
func (l *Link) Succeed(job *protocol.Execute, data string) {
	l.Send(&protocol.Result{JobID: job.JobID, Status: protocol.StatusSuccess, Data: []byte(data)})
}

// Chunk sends a piece of a job's stream.
func (l *Link) Chunk(job *protocol.Execute, chunk string) {
	l.Send(&protocol.StreamChunk{JobID: job.JobID, Chunk: []byte(chunk)})
}

// Forever never returns; only a signal ends the process.
func Forever() {
	select {}
}

// fail ends a process that cannot play its role.
func fail(err error) {
	fmt.Fprintln(os.Stderr, "role:", err)
	exit(2)
}

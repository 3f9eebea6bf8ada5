package workers_test

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/internal/workers/workertest"
	"supervisord/protocol"
)

// roles are those that only the tests of this package need.
var roles = map[string]workertest.Role{
	// mirror answers with the text of the frame itself.
	"mirror":      func(l *workertest.Link, _ []string) { mirror(l, protocol.FeatureMeta) },
	"mirror-base": func(l *workertest.Link, _ []string) { mirror(l, protocol.FeatureConcurrent) },
	"surroundings": func(l *workertest.Link, _ []string) {
		l.Ready()
		job := l.Job()
		dir, err := os.Getwd()
		if err != nil {
			panic(err)
		}
		env := slices.DeleteFunc(os.Environ(), func(s string) bool {
			return strings.HasPrefix(s, "SUPERVISORD_TEST_") || strings.HasPrefix(s, "GORACE=")
		})
		slices.Sort(env)
		blocking := []bool{isBlocking(protocol.FDRequests), isBlocking(protocol.FDResponses)}
		data, err := json.Marshal(map[string]any{
			"dir": dir, "env": env, "group_leader": unix.Getpgrp() == os.Getpid(), "blocking": blocking,
		})
		if err != nil {
			panic(err)
		}
		l.Succeed(job, string(data))
		l.Job()
	},
	// echo-nothing takes jobs and answers none.
	"echo-nothing": func(l *workertest.Link, _ []string) {
		l.Ready()
		l.Serve(func(*protocol.Execute) {})
	},
	// deaf-concurrent takes many jobs and reads none: it stops itself.
	"deaf-concurrent": func(l *workertest.Link, _ []string) { reads(l, 0, 0) },
	// reads reads as many jobs as the first argument says and as many bytes more as the second, and not one byte beyond;
	// then it stops itself.
	"reads": func(l *workertest.Link, args []string) {
		jobs, err := strconv.Atoi(args[0])
		if err != nil {
			panic(err)
		}
		more, err := strconv.Atoi(args[1])
		if err != nil {
			panic(err)
		}
		reads(l, jobs, more)
	},
	// heir leaves a process in a session of its own that holds all pipes, whose pid is its first chunk, and dies.
	"heir": func(l *workertest.Link, _ []string) {
		readFrame(l)
		l.Send(&protocol.Ready{LoadedPlugins: []string{"echo"}, Features: []string{protocol.FeatureCancel, protocol.FeatureConcurrent}})
		m, err := protocol.Decode(readFrame(l))
		if err != nil {
			panic(err)
		}
		l.Chunk(m.(*protocol.Execute), strconv.Itoa(workertest.Heir(true)))
		unix.Exit(3)
	},
	// grows holds 200 MiB more after a job with the param "grow".
	"grows": func(l *workertest.Link, _ []string) {
		var hoard []byte
		l.Ready()
		l.Serve(func(job *protocol.Execute) {
			if strings.Contains(string(job.Params), "grow") {
				hoard = make([]byte, 200<<20)
				for i := 0; i < len(hoard); i += os.Getpagesize() {
					hoard[i] = 1
				}
			}
			l.Succeed(job, string(job.Params))
		})
		_ = hoard
	},
	// pieces answers its first job with the bytes of the arguments, one after the other with a pause, and then serves.
	"pieces": func(l *workertest.Link, args []string) {
		l.Ready()
		job := l.Job()
		for _, arg := range args {
			time.Sleep(5 * time.Millisecond)
			l.Write([]byte(strings.NewReplacer("{id}", job.JobID, "{mebi}", strings.Repeat("x", 1<<20)).Replace(arg)))
		}
		l.Serve(func(job *protocol.Execute) { l.Succeed(job, "{}") })
	},
	// late-reader takes its time before it reads init.
	"late-reader": func(l *workertest.Link, _ []string) {
		time.Sleep(500 * time.Millisecond)
		l.Ready()
		l.Job()
	},
	// commands answers commands as the plugin's name says: with an error for "fails", never for "hangs", for another plugin
	// for "wrong", as to unload for "unloaded", after late answers for "late", after 15 load_progress within 1.5 s for "slow",
	// load_progress for ever for "loads", and when there is a file of that name if it begins with "/"; "dies" exits.
	"commands": func(l *workertest.Link, features []string) {
		l.Ready(features...)
		for {
			commands(l, slices.Contains(features, protocol.FeatureRequestID))
		}
	},
	// torn closes its end inside a frame and lives on; torn-death dies there.
	"torn": func(l *workertest.Link, _ []string) {
		l.Ready()
		l.Job()
		l.Write([]byte("\x00\x00\x01\x00{\"type\":"))
		_ = unix.Close(protocol.FDResponses)
		workertest.Forever()
	},
	"torn-death": func(l *workertest.Link, _ []string) {
		l.Ready()
		l.Job()
		l.Write([]byte("\x00\x00\x01\x00{\"type\":"))
		unix.Exit(4)
	},
	"garbage-death": func(l *workertest.Link, _ []string) {
		l.Ready()
		l.Job()
		l.Write([]byte("Traceback (most recent call last):\n"))
		unix.Exit(1)
	},
	// needs-file exits at start with status 1 until there is a file.
	"needs-file": func(l *workertest.Link, args []string) {
		if _, err := os.Stat(args[0]); err != nil {
			_, _ = os.Stderr.WriteString(err.Error())
			unix.Exit(1)
		}
		l.Ready()
		l.Job()
	},
}

// readFrame reads one frame from the pipe and not a byte more.
func readFrame(l *workertest.Link) []byte {
	header := make([]byte, protocol.HeaderSize)
	if _, err := io.ReadFull(l.In, header); err != nil {
		panic(err)
	}
	payload := make([]byte, binary.BigEndian.Uint32(header))
	if _, err := io.ReadFull(l.In, payload); err != nil {
		panic(err)
	}
	return payload
}

func reads(l *workertest.Link, jobs, more int) {
	readFrame(l) // init
	l.Send(&protocol.Ready{LoadedPlugins: []string{"echo"}, Features: []string{protocol.FeatureCancel, protocol.FeatureConcurrent}})
	for range jobs {
		readFrame(l)
	}
	if _, err := io.ReadFull(l.In, make([]byte, more)); err != nil {
		panic(err)
	}
	_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
	workertest.Forever()
}

func commands(l *workertest.Link, ids bool) {
	answer := protocol.Response{Status: protocol.StatusSuccess}
	switch m := l.Next().(type) {
	case *protocol.Execute:
		l.Succeed(m, "{}")
		return
	case *protocol.GetState:
		l.Send(&protocol.State{CurrentPlugin: "b", LoadedPlugins: []string{"what is configured"}, RequestID: m.RequestID})
		return
	case *protocol.Reload:
		answer.RequestType, answer.PluginName, answer.RequestID = protocol.TypeReload, m.PluginName, m.RequestID
	case *protocol.Unload:
		answer.RequestType, answer.PluginName, answer.RequestID = protocol.TypeUnload, m.PluginName, m.RequestID
	case *protocol.Stop:
		unix.Exit(0)
	}
	if ids != (answer.RequestID != "") {
		panic("request_id where it is not wanted, or none")
	}
	switch name := answer.PluginName; {
	case name == "fails":
		answer.Status, answer.Error = protocol.StatusError, "cannot"
	case name == "hangs":
		return
	case name == "wrong":
		answer.PluginName = "other"
	case name == "unloaded":
		answer.RequestType = protocol.TypeUnload
	case name == "late":
		l.Send(&protocol.Response{RequestType: protocol.TypeReload, Status: protocol.StatusError, PluginName: "late", RequestID: "0"})
		l.Send(&protocol.State{RequestID: "0"})
	case name == "dies":
		unix.Exit(3)
	case name == "slow", name == "loads":
		for i := 0; i < 15 || name == "loads"; i++ {
			l.Send(&protocol.LoadProgress{PluginName: name})
			time.Sleep(100 * time.Millisecond)
		}
	case strings.HasPrefix(name, "/"):
		workertest.WaitForFile(name)
	}
	l.Send(&answer)
}

func mirror(l *workertest.Link, features ...string) {
	l.Ready(features...)
	frames := protocol.NewFrameReader(l.In, math.MaxInt32)
	for {
		frame, err := frames.Next()
		if err != nil {
			return
		}
		m, err := protocol.Decode(frame)
		if err != nil {
			panic(err)
		}
		job, ok := m.(*protocol.Execute)
		if !ok {
			return // stop
		}
		l.Succeed(job, strconv.Quote(string(frame)))
	}
}

func isBlocking(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_NONBLOCK == 0
}

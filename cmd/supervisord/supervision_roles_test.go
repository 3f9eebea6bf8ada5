package main

import (
	"encoding/json"
	"os"
	"os/exec"
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

// workerMain runs the role of a process that a daemon under test has started as a worker, and returns at once in others.
func workerMain(m *testing.M) {
	if _, ok := os.LookupEnv("SUPERVISORD_TEST_ROLE"); ok {
		workertest.Main(m, daemonRoles)
	}
}

// daemonRoles are the workers of the daemons under test, beside those of workertest.
var daemonRoles = map[string]workertest.Role{
	// actor does what a job's params say; see acts. Its arguments are its features.
	"actor": func(l *workertest.Link, args []string) {
		l.Ready(args...)
		l.Serve(func(job *protocol.Execute) { act(l, job) })
	},
	// tree is an actor with descendants: in its group, in sessions of their own, and with no living parent.
	"tree": func(l *workertest.Link, args []string) {
		for _, script := range []string{"exec sleep 1000", "setsid sleep 1000 & setsid setsid sleep 1000 & exit", "trap '' TERM HUP; sleep 1000; sleep 1000"} {
			for _, session := range []bool{false, true} {
				c := exec.Command("/bin/sh", "-c", script)
				c.SysProcAttr = &syscall.SysProcAttr{Setsid: session}
				if err := c.Start(); err != nil {
					panic(err)
				}
			}
		}
		l.Ready(args...)
		l.Serve(func(job *protocol.Execute) { act(l, job) })
	},
	// slow-stop is an actor that takes the time of its argument to stop.
	"slow-stop": func(l *workertest.Link, args []string) {
		signal.Ignore(syscall.SIGTERM)
		after, err := time.ParseDuration(args[0])
		if err != nil {
			panic(err)
		}
		l.Ready()
		for {
			switch m := l.Next().(type) {
			case *protocol.Execute:
				act(l, m)
			case *protocol.Stop:
				time.Sleep(after)
				unix.Exit(0)
			}
		}
	},
	// deaf-to-reload is an actor that never answers a reload.
	"deaf-to-reload": func(l *workertest.Link, _ []string) {
		l.Ready()
		for {
			switch m := l.Next().(type) {
			case *protocol.Execute:
				act(l, m)
			case *protocol.Stop:
				unix.Exit(0)
			}
		}
	},
	// needs-file exits with status 1 at its start until there is the file of its argument; then it is an actor.
	"needs-file": func(l *workertest.Link, args []string) {
		if _, err := os.Stat(args[0]); err != nil {
			_, _ = os.Stderr.WriteString("looking for the weights\nno weights yet\n")
			unix.Exit(1)
		}
		l.Ready()
		l.Serve(func(job *protocol.Execute) { act(l, job) })
	},
}

// acts are the params of a job of an actor, in the order in which it does them.
type acts struct {
	Deaf    bool   `json:"deaf,omitzero"`    // ignores SIGTERM from now on
	Chunks  int    `json:"chunks,omitzero"`  // sends so many, their numbers
	Pad     int    `json:"pad,omitzero"`     // and makes each so much longer
	Begun   string `json:"begun,omitzero"`   // makes this file
	WaitFor string `json:"waitFor,omitzero"` // waits for this file
	Hang    bool   `json:"hang,omitzero"`    // does nothing more
	MS      int    `json:"ms,omitzero"`      // takes so long
}

// acted is what an actor answers.
type acted struct {
	Worker      string
	Incarnation int
	Generation  string // the variable GENERATION
}

func act(l *workertest.Link, job *protocol.Execute) {
	var a acts
	if err := json.Unmarshal(job.Params, &a); err != nil {
		panic(err)
	}
	if a.Deaf {
		signal.Ignore(syscall.SIGTERM)
	}
	for i := range a.Chunks {
		l.Chunk(job, strconv.Quote(strconv.Itoa(i)+strings.Repeat("x", a.Pad)))
	}
	if a.Begun != "" {
		if err := os.WriteFile(a.Begun, nil, 0o600); err != nil {
			panic(err)
		}
	}
	if a.WaitFor != "" {
		workertest.WaitForFile(a.WaitFor)
	}
	if a.Hang {
		workertest.Forever()
	}
	time.Sleep(time.Duration(a.MS) * time.Millisecond)
	incarnation, err := strconv.Atoi(os.Getenv(protocol.EnvIncarnation))
	if err != nil {
		panic(err)
	}
	answer, err := json.Marshal(acted{os.Getenv(protocol.EnvWorker), incarnation, os.Getenv("GENERATION")})
	if err != nil {
		panic(err)
	}
	l.Succeed(job, string(answer))
}

package workers_test

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

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

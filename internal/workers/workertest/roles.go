package workertest

import (
	"bytes"
	"encoding/json"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"supervisord/protocol"
)

// builtin are the roles that every test binary has.
var builtin = map[string]Role{
	// echo answers each job with its params.
	"echo": func(l *Link, _ []string) { echo(l) },
	// gated is echo, but from the incarnation of the first argument on it waits for a file, the second, before it is
	// ready; then, with a third, it exits with that status instead.
	"gated": func(l *Link, args []string) {
		if incarnation() >= number(args, 0) {
			WaitForFile(args[1])
			if len(args) > 2 {
				exit(number(args, 2))
			}
		}
		echo(l)
	},
	// concurrent does so for many jobs at once, unless their params hold a member of these: "hold" ends when it is
	// cancelled, "stubborn" never, "late" does not heed its cancel, "exit" ends the process. On SIGHUP "late" and then
	// "hold" are answered with success.
	"concurrent": concurrent,
	// stream sends as many chunks as the param "count" says, {"i":0} and on, as the param "pad" makes them long.
	"stream": func(l *Link, _ []string) {
		l.Ready()
		l.Serve(func(job *protocol.Execute) { stream(l, job) })
	},
	// slow-start is ready only after as many load_progress messages as the argument says, 100 ms apart.
	"slow-start": func(l *Link, args []string) {
		init, ok := l.Next().(*protocol.Init)
		if !ok {
			exit(2)
		}
		for range number(args, 0) {
			l.Send(&protocol.LoadProgress{PluginName: "echo", Message: "loading"})
			time.Sleep(100 * time.Millisecond)
		}
		l.Send(ready(init, protocol.FeatureLoadProgress))
		l.Serve(func(job *protocol.Execute) { l.Succeed(job, "{}") })
	},
	// exit-at-start says something on stderr and exits with the status of the argument.
	"exit-at-start": func(_ *Link, args []string) {
		_, _ = os.Stderr.WriteString("cannot load the model\nout of luck")
		exit(number(args, 0))
	},
	// never-ready reads and says nothing.
	"never-ready": func(l *Link, _ []string) {
		for {
			l.Next()
		}
	},
	// crash kills itself with the signal of the first argument in the middle of its first job, after as many chunks as
	// the second says.
	"crash": func(l *Link, args []string) {
		l.Ready()
		job := l.Job()
		_, _ = os.Stderr.WriteString("about to crash")
		for i := range number(args, 1) {
			l.Chunk(job, strconv.Itoa(i))
		}
		_ = syscall.Kill(os.Getpid(), syscall.Signal(number(args, 0)))
		Forever()
	},
	// exit ends itself in the middle of its first job with the status of the argument.
	"exit": func(l *Link, args []string) {
		l.Ready()
		l.Job()
		exit(number(args, 0))
	},
	// last-words answers its first job and exits at once.
	"last-words": func(l *Link, _ []string) {
		l.Ready()
		l.Succeed(l.Job(), `{"last":true}`)
		exit(1)
	},
	// reason tells of a fatal error and exits with status 1 in the middle of its first job.
	"reason": func(l *Link, _ []string) {
		l.Ready()
		l.Job()
		l.Send(&protocol.ErrorMessage{Error: "CUDA out of\nmemory"})
		exit(1)
	},
	// deaf ignores SIGTERM and everything that it is told, jobs too.
	"deaf": func(l *Link, args []string) {
		signal.Ignore(syscall.SIGTERM)
		l.Ready(args...)
		Forever()
	},
	// frozen stops itself with SIGSTOP when a job comes, after a chunk.
	"frozen": func(l *Link, _ []string) {
		l.Ready()
		l.Chunk(l.Job(), "0")
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		Forever()
	},
	// polite answers the job it has with status cancelled when SIGTERM comes, and exits.
	"polite": func(l *Link, _ []string) {
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		l.Ready()
		job := l.Job()
		<-term
		l.Send(&protocol.Result{JobID: job.JobID, Status: protocol.StatusCancelled})
		exit(0)
	},
	// write answers its first job with the bytes of the arguments as they are, then reads on. "{id}" stands for the job's
	// id, "{mebi}" for a mebibyte of the letter x.
	"write": func(l *Link, args []string) {
		l.Ready()
		writeFor(l, l.Job(), args)
	},
	// frame does so with each argument as one frame.
	"frame": func(l *Link, args []string) {
		l.Ready()
		job := l.Job()
		for _, arg := range args {
			l.Frame(fill(job, arg))
		}
		l.Serve(func(job *protocol.Execute) { l.Succeed(job, "{}") })
	},
	// frame-first sends the arguments as frames before it says that it is ready.
	"frame-first": func(l *Link, args []string) {
		for _, arg := range args {
			l.Frame([]byte(arg))
		}
		l.Ready()
		l.Serve(func(job *protocol.Execute) { l.Succeed(job, "{}") })
	},
	// close closes the descriptor of the first argument and lives on: when its first job comes, with the second argument
	// "hup" when SIGHUP does.
	"close": func(l *Link, args []string) {
		hup := make(chan os.Signal, 1)
		signal.Notify(hup, syscall.SIGHUP)
		l.Ready()
		if slices.Contains(args, "hup") {
			<-hup
		} else {
			l.Job()
		}
		_ = syscall.Close(number(args, 0))
		Forever()
	},
	// grandchild leaves a process behind that holds all pipes, with the argument "session" in a session of its own, and
	// dies in the middle of its first job. The pid of that process is its first chunk.
	"grandchild": grandchild,
	// flood takes many jobs at once. One with the param "flood" sends chunks until it is cancelled; others are answered.
	"flood": flood,
	// forever does nothing until a signal ends it.
	"forever": func(*Link, []string) { Forever() },
	// noise writes as many lines as the argument says to stdout and stderr, then a long one without an end, and then
	// serves as echo does.
	"noise": func(l *Link, args []string) {
		l.Ready()
		l.Serve(func(job *protocol.Execute) {
			for range number(args, 0) {
				_, _ = os.Stdout.WriteString("a line on stdout\n")
				_, _ = os.Stderr.WriteString("a line on stderr\n")
			}
			_, _ = os.Stdout.Write(bytes.Repeat([]byte("x"), 1<<20))
			l.Succeed(job, string(job.Params))
		})
	},
}

// number is an argument as a number, 0 for none.
func number(args []string, i int) int {
	if i >= len(args) {
		return 0
	}
	n, err := strconv.Atoi(args[i])
	if err != nil {
		fail(err)
	}
	return n
}

func echo(l *Link) {
	l.Ready(protocol.FeatureMeta)
	l.Serve(func(job *protocol.Execute) { l.Succeed(job, string(job.Params)) })
}

// incarnation is the number of this process.
func incarnation() int {
	n, err := strconv.Atoi(os.Getenv(protocol.EnvIncarnation))
	if err != nil {
		fail(err)
	}
	return n
}

// WaitForFile returns once there is such a file. No event of the link tells a process to go on.
func WaitForFile(path string) {
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func fill(job *protocol.Execute, arg string) []byte {
	return []byte(strings.NewReplacer("{id}", job.JobID, "{mebi}", strings.Repeat("x", 1<<20)).Replace(arg))
}

func writeFor(l *Link, job *protocol.Execute, args []string) {
	for _, arg := range args {
		l.Write(fill(job, arg))
	}
	l.Serve(func(job *protocol.Execute) { l.Succeed(job, "{}") })
}

func params(job *protocol.Execute, into any) {
	if err := json.Unmarshal(job.Params, into); err != nil {
		fail(err)
	}
}

func stream(l *Link, job *protocol.Execute) {
	var p struct{ Count, Pad int }
	params(job, &p)
	pad := strings.Repeat("x", p.Pad)
	for i := range p.Count {
		l.Chunk(job, `{"i":`+strconv.Itoa(i)+`,"pad":"`+pad+`"}`)
	}
	l.Succeed(job, `{"streamed":true}`)
}

func concurrent(l *Link, _ []string) {
	var (
		mu        sync.Mutex
		held      []*protocol.Execute
		late      *protocol.Execute
		released  = make(chan os.Signal, 1)
		cancelled = func(id string) bool {
			mu.Lock()
			defer mu.Unlock()
			n := len(held)
			held = slices.DeleteFunc(held, func(m *protocol.Execute) bool { return m.JobID == id })
			return len(held) < n
		}
	)
	signal.Notify(released, syscall.SIGHUP)
	go func() {
		for range released {
			mu.Lock()
			if late != nil {
				l.Succeed(late, `{"late":true}`)
			}
			for _, m := range held {
				l.Succeed(m, "{}")
			}
			late, held = nil, nil
			mu.Unlock()
		}
	}()
	l.Ready(protocol.FeatureCancel, protocol.FeatureConcurrent)
	for {
		switch m := l.Next().(type) {
		case *protocol.Execute:
			var p struct{ Hold, Stubborn, Late, Exit bool }
			params(m, &p)
			mu.Lock()
			switch {
			case p.Exit:
				exit(1)
			case p.Late:
				late = m
			case p.Hold:
				held = append(held, m)
			case !p.Stubborn:
				l.Succeed(m, string(m.Params))
			}
			mu.Unlock()
		case *protocol.Cancel:
			if cancelled(m.JobID) {
				l.Send(&protocol.Result{JobID: m.JobID, Status: protocol.StatusCancelled})
			}
		case *protocol.Stop:
			exit(0)
		}
	}
}

func grandchild(l *Link, args []string) {
	l.Ready()
	job := l.Job()
	l.Chunk(job, strconv.Itoa(Heir(slices.Contains(args, "session"))))
	exit(3)
}

// Heir starts a process that does nothing and holds all pipes of this one, in a session of its own or not. It returns its
// pid.
func Heir(session bool) int {
	argv, env := Command("forever")
	attr := &syscall.ProcAttr{
		Env: env, Files: []uintptr{0, 1, 2, protocol.FDRequests, protocol.FDResponses}, Sys: &syscall.SysProcAttr{Setsid: session},
	}
	pid, err := syscall.ForkExec(argv[0], argv, attr) //nolint:gosec // this program itself
	if err != nil {
		fail(err)
	}
	return pid
}

func flood(l *Link, _ []string) {
	l.Ready(protocol.FeatureCancel, protocol.FeatureConcurrent)
	stops := map[string]chan struct{}{}
	for {
		switch m := l.Next().(type) {
		case *protocol.Execute:
			if !strings.Contains(string(m.Params), "flood") {
				l.Succeed(m, string(m.Params))
				continue
			}
			stop := make(chan struct{})
			stops[m.JobID] = stop
			go func() {
				for {
					select {
					case <-stop:
						l.Send(&protocol.Result{JobID: m.JobID, Status: protocol.StatusCancelled})
						return
					default:
						l.Chunk(m, strconv.Quote(strings.Repeat("x", 1000)))
					}
				}
			}()
		case *protocol.Cancel:
			close(stops[m.JobID])
		case *protocol.Stop:
			exit(0)
		}
	}
}

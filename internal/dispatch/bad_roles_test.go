package dispatch_test

import (
	"bytes"
	"encoding/json"
	"fmt"
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

// badRoles are the workers of TestBadWorkers, one for each kind. Where a frame is given as text, ID stands for the job's
// id.
var badRoles = map[string]workertest.Role{
	// Bad at their start.

	"exits 0 at start": atStart(func(*workertest.Link) { unix.Exit(0) }),
	"exits 3 at start": atStart(func(*workertest.Link) {
		say("loading\ncannot load the model\n")
		unix.Exit(3)
	}),
	"asks not to be restarted": atStart(func(*workertest.Link) { unix.Exit(protocol.ExitDoNotRestart) }),
	"crashes at start":         atStart(func(*workertest.Link) { die(unix.SIGSEGV) }),
	"is never ready":           atStart(func(*workertest.Link) { workertest.Forever() }),
	"is stopped at start":      atStart(func(*workertest.Link) { freeze() }),
	"hangs at start":           atStart(func(*workertest.Link) { workertest.Forever() }),
	"is not there":             atStart(nil),
	"is not executable":        atStart(nil),
	"has no directory":         atStart(nil),
	"garbage at start":         atStart(func(l *workertest.Link) { l.Write([]byte{0, 0, 1, 0, 0xff, 0xfe, 0x80}) }),
	"text at start":            atStart(func(l *workertest.Link) { l.Write([]byte("Loading checkpoint shards: 50%\n")) }),
	"result before ready":      atStart(frames(`{"type":"result","job_id":"1","status":"success","data":{}}`)),
	"chunk before ready":       atStart(frames(`{"type":"stream_chunk","job_id":"1","chunk":"a"}`)),
	"ready is ill-typed":       atStart(frames(`{"type":"ready","loaded_plugins":"bad"}`)),
	"ready is incomplete":      atStart(frames(`{"type":"ready"}`)),
	"ready is torn": atStart(func(l *workertest.Link) {
		l.Write([]byte("\x00\x00\x01\x00" + `{"type":"ready","loaded_`))
		unix.Exit(1)
	}),
	"has loaded nothing": atStart(loadNothing(func(l *workertest.Link, m *protocol.Reload) {
		l.Send(&protocol.Response{RequestType: protocol.TypeReload, Status: protocol.StatusError, PluginName: m.PluginName, Error: "no weights"})
	})),
	"exits in a reload": atFirst(loadNothing(func(*workertest.Link, *protocol.Reload) { unix.Exit(6) })),
	"hangs in a reload": atFirst(loadNothing(func(*workertest.Link, *protocol.Reload) { workertest.Forever() })),
	"closes its answers at start": atStart(func(*workertest.Link) {
		_ = unix.Close(protocol.FDResponses)
		workertest.Forever()
	}),

	// End themselves in a job.

	"exits 0":   inJob(func(*workertest.Link, *protocol.Execute) { unix.Exit(0) }),
	"exits 7":   inJob(func(*workertest.Link, *protocol.Execute) { unix.Exit(7) }),
	"SIGKILL":   inJob(func(*workertest.Link, *protocol.Execute) { die(unix.SIGKILL) }),
	"SIGSEGV":   inJob(func(*workertest.Link, *protocol.Execute) { die(unix.SIGSEGV) }),
	"SIGABRT":   inJob(func(*workertest.Link, *protocol.Execute) { die(unix.SIGABRT) }),
	"its group": inJob(func(*workertest.Link, *protocol.Execute) { killGroup() }),
	"exits in mid stream": inJob(func(l *workertest.Link, job *protocol.Execute) {
		chunks(l, job, 3)
		unix.Exit(0)
	}),
	"SIGKILL in mid stream": inJob(func(l *workertest.Link, job *protocol.Execute) {
		chunks(l, job, 100)
		die(unix.SIGKILL)
	}),
	"SIGSEGV in mid stream": inJob(func(l *workertest.Link, job *protocol.Execute) {
		chunks(l, job, 3)
		die(unix.SIGSEGV)
	}),
	"exits inside a frame": inJob(func(l *workertest.Link, job *protocol.Execute) {
		frame := success(job)
		l.Write(frame[:len(frame)/2])
		unix.Exit(4)
	}),
	"exits after its result": inJob(func(l *workertest.Link, job *protocol.Execute) {
		l.Write(success(job))
		unix.Exit(5)
	}),
	"says why and exits": inJob(func(l *workertest.Link, _ *protocol.Execute) {
		l.Send(&protocol.ErrorMessage{Error: "CUDA out of\nmemory"})
		unix.Exit(1)
	}),
	"last words without a newline": inJob(func(*workertest.Link, *protocol.Execute) {
		say("first\nlast words")
		die(unix.SIGKILL)
	}),
	"floods stderr and crashes": inJob(func(*workertest.Link, *protocol.Execute) {
		say(strings.Repeat("a line of a very long trace\n", 20_000) + "the final line\n")
		die(unix.SIGABRT)
	}),
	"leaks memory and exits": inJob(func(*workertest.Link, *protocol.Execute) {
		_, _ = unix.Mmap(-1, 0, 64<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
		unix.Exit(9)
	}),

	// Break the protocol in a job.

	"nonsense":           inJob(answers(`{nonsense}`)),
	"two objects":        inJob(answers(`{"type":"result","job_id":"ID","status":"success"}{}`)),
	"array":              inJob(answers(`[]`)),
	"empty frame":        inJob(answers(``)),
	"no type":            inJob(answers(`{"job_id":"ID"}`)),
	"second ready":       inJob(answers(`{"type":"ready","loaded_plugins":["bad"]}`)),
	"unknown status":     inJob(answers(`{"type":"result","job_id":"ID","status":"perhaps"}`)),
	"no status":          inJob(answers(`{"type":"result","job_id":"ID"}`)),
	"no chunk":           inJob(answers(`{"type":"stream_chunk","job_id":"ID"}`)),
	"job_id is a number": inJob(answers(`{"type":"result","job_id":7,"status":"success"}`)),
	"no job_id":          inJob(answers(`{"type":"stream_chunk","chunk":"a"}`)),
	"duplicate member":   inJob(answers(`{"type":"result","job_id":"other","job_id":"ID","status":"success"}`)),
	"invalid UTF-8":      inJob(answers("{\"type\":\"stream_chunk\",\"job_id\":\"ID\",\"chunk\":\"\xff\xfe\"}")),
	"NaN":                inJob(answers(`{"type":"result","job_id":"ID","status":"success","data":{"loss":NaN}}`)),
	"too deep": inJob(func(l *workertest.Link, job *protocol.Execute) {
		deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
		answers(`{"type":"result","job_id":"ID","status":"success","data":`+deep+`}`)(l, job)
	}),
	"text": inJob(func(l *workertest.Link, _ *protocol.Execute) { l.Write([]byte("Epoch 1/10: loss=0.25\n")) }),
	"lines instead of frames": inJob(func(l *workertest.Link, job *protocol.Execute) {
		l.Write(append(success(job)[protocol.HeaderSize:], '\n'))
	}),
	"frame of 2 GiB": inJob(func(l *workertest.Link, _ *protocol.Execute) {
		l.Write([]byte("\x80\x00\x00\x00{" + strings.Repeat(" ", 5000)))
	}),
	"says that its answer is 2 GiB": inJob(func(l *workertest.Link, job *protocol.Execute) {
		l.Write([]byte(fill(job, "\x80\x00\x00\x00"+`{"type":"result","job_id":"ID","status":"success","data":"`) + strings.Repeat("x", 5000)))
	}),
	"result too large": inJob(func(l *workertest.Link, job *protocol.Execute) {
		l.Succeed(job, strconv.Quote(strings.Repeat("x", 3<<20)))
	}),
	"chunk too large": inJob(func(l *workertest.Link, job *protocol.Execute) {
		l.Chunk(job, strconv.Quote(strings.Repeat("x", 3<<20)))
		l.Write(success(job))
	}),

	// Close what they need.

	"closes its answers": inJob(func(*workertest.Link, *protocol.Execute) { closeAndLive(protocol.FDResponses) }),
	"closes both pipes": inJob(func(*workertest.Link, *protocol.Execute) {
		closeAndLive(protocol.FDRequests, protocol.FDResponses)
	}),
	"closes its answers inside a frame": inJob(func(l *workertest.Link, job *protocol.Execute) {
		l.Write(success(job)[:9])
		closeAndLive(protocol.FDResponses)
	}),
	"closes its requests": inJob(func(l *workertest.Link, job *protocol.Execute) {
		_ = unix.Close(protocol.FDRequests)
		l.Write(success(job))
		workertest.Forever()
	}),
	"closes its requests and hangs": inJob(func(l *workertest.Link, job *protocol.Execute) {
		_ = unix.Close(protocol.FDRequests)
		hang(l, job)
	}),

	// Odd, but no worse for it.

	"closes stdout and stderr": inJob(func(l *workertest.Link, job *protocol.Execute) {
		_, _ = unix.Close(1), unix.Close(2)
		l.Write(success(job))
	}),
	"sets O_NONBLOCK": inJob(func(l *workertest.Link, job *protocol.Execute) {
		_, _ = unix.SetNonblock(2, true), unix.SetNonblock(protocol.FDResponses, true)
		say("a line\n")
		l.Write(success(job))
	}),
	"slow frame": inJob(func(l *workertest.Link, job *protocol.Execute) {
		l.Chunk(job, "0")
		frame := success(job)
		for i := range frame {
			if i == len(frame)/2 {
				waitAtGate(job)
			}
			l.Write(frame[i : i+1])
		}
	}),
	"answers twice": inJob(func(l *workertest.Link, job *protocol.Execute) {
		l.Write(append(success(job), success(job)...))
	}),
	"answers an unknown job": inJob(answers(`{"type":"result","job_id":"unknown","status":"success","data":1}`,
		`{"type":"result","job_id":"","status":"error","error":"it"}`, `{"type":"result","job_id":"ID","status":"success","data":{}}`)),
	"goes on after its result": inJob(answers(`{"type":"result","job_id":"ID","status":"success","data":{}}`,
		`{"type":"stream_chunk","job_id":"ID","chunk":"a"}`, `{"type":"progress","job_id":"ID","progress":1}`)),
	"progress is ill-typed": inJob(answers(`{"type":"progress","job_id":"ID","progress":"much","message":7}`,
		`{"type":"progress","job_id":"ID","progress":1e999}`, `{"type":"result","job_id":"ID","status":"success","data":{}}`)),
	"error is ill-typed": inJob(answers(`{"type":"result","job_id":"ID","status":"error","error":{"a":1},"error_info":"no"}`)),
	"unknown messages": inJob(func(l *workertest.Link, job *protocol.Execute) {
		l.Write(bytes.Repeat(frame(`{"type":"telemetry","job_id":7,"data":{"a":[1]}}`), 100_000))
		l.Write(success(job))
	}),
	"chunks of unknown jobs": inJob(func(l *workertest.Link, job *protocol.Execute) {
		l.Write(bytes.Repeat(frame(`{"type":"stream_chunk","job_id":"unknown","chunk":"a"}`), 100_000))
		l.Write(success(job))
	}),
	"log messages": inJob(func(l *workertest.Link, job *protocol.Execute) {
		l.Write(bytes.Repeat(frame(`{"type":"log","level":"error","message":"it\nfailed"}`), 20_000))
		l.Write(success(job))
	}),
	"the daemon's messages": inJob(answers(`{"type":"init","plugin_configs":{}}`, `{"type":"execute","job_id":"ID","plugin_name":"bad"}`,
		`{"type":"cancel","job_id":"ID"}`, `{"type":"stop"}`, `{"type":"result","job_id":"ID","status":"success","data":{}}`)),
	"says that it dies and lives": inJob(answers(`{"type":"error","error":"fatal"}`, `{"type":"error","error":""}`,
		`{"type":"result","job_id":"ID","status":"success","data":{}}`)),
	"binary on stdout": inJob(func(l *workertest.Link, job *protocol.Execute) {
		_, _ = os.Stdout.WriteString("\x1b[2J\x1b]0;title\x07\x00\xff\xfe\r\r\n{\"level\":\"fatal\"}\n" + strings.Repeat("\x00", 100_000))
		l.Write(success(job))
	}),
	"floods stdout with lines": inJob(func(l *workertest.Link, job *protocol.Execute) { flooding(l, job, "a line\n") }),
	"floods stdout without a newline": inJob(func(l *workertest.Link, job *protocol.Execute) {
		flooding(l, job, "no newline, not now and not ever ")
	}),
	"leaves a child and lives": inJob(func(l *workertest.Link, job *protocol.Execute) {
		child(nil)
		l.Write(success(job))
	}),

	// Hang in a job.

	"hangs":             inJob(hang),
	"overruns its time": inJob(func(*workertest.Link, *protocol.Execute) { workertest.Forever() }),
	"goes silent":       inJob(hang),
	"ignores SIGTERM": inJob(func(l *workertest.Link, job *protocol.Execute) {
		signal.Ignore(unix.SIGTERM)
		hang(l, job)
	}),
	"ignores its cancel": inJob(hang, protocol.FeatureCancel),
	"stops itself": inJob(func(l *workertest.Link, job *protocol.Execute) {
		l.Chunk(job, "0")
		freeze()
	}),
	"never reads": atFirst(func(l *workertest.Link) {
		l.Ready()
		workertest.Forever()
	}),
	"hangs inside a frame": inJob(func(l *workertest.Link, job *protocol.Execute) {
		l.Chunk(job, "0")
		l.Write(success(job)[:20])
		workertest.Forever()
	}),
	"hangs after a header of 2 GiB": inJob(func(l *workertest.Link, job *protocol.Execute) {
		l.Chunk(job, "0")
		l.Write([]byte("\x80\x00\x00\x00{"))
		workertest.Forever()
	}),
	"fork storm": inJob(func(l *workertest.Link, job *protocol.Execute) {
		for range 50 {
			child(nil)
		}
		hang(l, job)
	}),

	// Leave processes behind.

	"a child holds the pipes": inJob(func(*workertest.Link, *protocol.Execute) {
		child(nil)
		unix.Exit(3)
	}),
	"a child in its own group": inJob(func(*workertest.Link, *protocol.Execute) {
		child(&syscall.SysProcAttr{Setpgid: true})
		unix.Exit(3)
	}),
	"a child in its own session": inJob(func(*workertest.Link, *protocol.Execute) {
		child(&syscall.SysProcAttr{Setsid: true})
		unix.Exit(3)
	}),
	"a daemon": inJob(func(*workertest.Link, *protocol.Execute) {
		child(&syscall.SysProcAttr{Setsid: true}, "/bin/sh", "-c", "/bin/sleep 1000 &")
		unix.Exit(3)
	}),
	"a daemon, and lives": inJob(func(l *workertest.Link, job *protocol.Execute) {
		child(&syscall.SysProcAttr{Setsid: true}, "/bin/sh", "-c", "/bin/sleep 1000 &")
		l.Write(success(job))
	}),

	// Do not stop as they should.

	"exits 1 on stop": func(l *workertest.Link, _ []string) {
		l.Ready()
		untilStop(l)
		unix.Exit(1)
	},
	"takes its time to stop": func(l *workertest.Link, _ []string) {
		l.Ready()
		untilStop(l)
		time.Sleep(1000 * shortStop)
	},
}

// atStart is bad from its start, until there is the file of its argument; from then on it is a good worker.
func atStart(bad func(*workertest.Link)) workertest.Role {
	return func(l *workertest.Link, args []string) {
		if _, err := os.Stat(args[0]); err != nil && bad != nil {
			bad(l)
			workertest.Forever()
		}
		l.Ready()
		serve(l)
	}
}

// atFirst is bad in a worker's first process.
func atFirst(bad func(*workertest.Link)) workertest.Role {
	return func(l *workertest.Link, _ []string) {
		if isFirst() {
			bad(l)
		}
		l.Ready()
		serve(l)
	}
}

// inJob is bad in the first job of a worker's first process. It is a good worker after that.
func inJob(bad func(*workertest.Link, *protocol.Execute), features ...string) workertest.Role {
	return func(l *workertest.Link, _ []string) {
		l.Ready(features...)
		if isFirst() {
			bad(l, l.Job())
		}
		serve(l)
	}
}

// isFirst reports whether this is the first process of its worker.
func isFirst() bool { return os.Getenv(protocol.EnvIncarnation) == "1" }

func serve(l *workertest.Link) {
	l.Serve(func(job *protocol.Execute) { l.Write(success(job)) })
}

// untilStop serves until the message stop.
func untilStop(l *workertest.Link) {
	for {
		switch m := l.Next().(type) {
		case *protocol.Execute:
			l.Write(success(m))
		case *protocol.Stop:
			return
		}
	}
}

// loadNothing is ready without a plugin, and does reload when it is told to load one.
func loadNothing(reload func(*workertest.Link, *protocol.Reload)) func(*workertest.Link) {
	return func(l *workertest.Link) {
		l.Next()
		l.Send(&protocol.Ready{LoadedPlugins: []string{}, Protocol: protocol.Version})
		for {
			switch m := l.Next().(type) {
			case *protocol.Reload:
				reload(l, m)
			case *protocol.Stop:
				unix.Exit(0)
			}
		}
	}
}

// success is the frame of a right answer.
func success(job *protocol.Execute) []byte {
	return frame(fill(job, `{"type":"result","job_id":"ID","status":"success","data":{}}`))
}

func frame(payload string) []byte { return protocol.AppendFrame(nil, []byte(payload)) }

func fill(job *protocol.Execute, text string) string {
	return strings.ReplaceAll(text, "ID", job.JobID)
}

// frames sends frames.
func frames(payloads ...string) func(*workertest.Link) {
	return func(l *workertest.Link) {
		for _, p := range payloads {
			l.Write(frame(p))
		}
	}
}

// answers sends frames to a job.
func answers(payloads ...string) func(*workertest.Link, *protocol.Execute) {
	return func(l *workertest.Link, job *protocol.Execute) {
		for _, p := range payloads {
			l.Write(frame(fill(job, p)))
		}
	}
}

func chunks(l *workertest.Link, job *protocol.Execute, n int) {
	for i := range n {
		l.Chunk(job, strconv.Itoa(i))
	}
}

// hang says that it begins, and does.
func hang(l *workertest.Link, job *protocol.Execute) {
	l.Chunk(job, "0")
	workertest.Forever()
}

func waitAtGate(job *protocol.Execute) {
	var p struct{ Gate string }
	if json.Unmarshal(job.Params, &p) != nil {
		unix.Exit(2)
	}
	if f, err := os.Open(p.Gate); err == nil {
		_ = f.Close()
	}
}

func say(text string) { _, _ = os.Stderr.WriteString(text) }

// die ends the process by a signal, also by one that Go's runtime would turn into a status.
func die(s syscall.Signal) {
	argv := []string{"/bin/sh", "-c", "kill -" + strconv.Itoa(int(s)) + " $$"}
	_ = syscall.Exec(argv[0], argv, os.Environ())
}

func killGroup() {
	_ = syscall.Kill(0, unix.SIGTERM)
	workertest.Forever()
}

func freeze() {
	_ = syscall.Kill(os.Getpid(), unix.SIGSTOP)
	workertest.Forever()
}

func closeAndLive(fds ...int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	workertest.Forever()
}

// flooding writes to stdout for ever, and answers when it may.
func flooding(l *workertest.Link, job *protocol.Execute, text string) {
	block := strings.Repeat(text, 1000)
	go func() {
		for {
			_, _ = os.Stdout.WriteString(block)
		}
	}()
	l.Chunk(job, "0")
	waitAtGate(job)
	l.Write(success(job))
}

// child starts a process that has all the pipes: one that sleeps, unless argv is given.
func child(attr *syscall.SysProcAttr, argv ...string) {
	if len(argv) == 0 {
		argv = []string{"/bin/sleep", "1000"}
	}
	files := []uintptr{0, 1, 2, protocol.FDRequests, protocol.FDResponses}
	_, _, err := syscall.StartProcess(argv[0], argv, &syscall.ProcAttr{Env: os.Environ(), Files: files, Sys: attr})
	if err != nil {
		say(err.Error())
		unix.Exit(2)
	}
}

// mark is a variable by which all processes of a test are known, whatever they do.
type mark string

var marks int

func newMark() mark {
	marks++
	return mark(fmt.Sprintf("BAD_WORKER=%d.%d.", os.Getpid(), marks))
}

// nothingLeft waits until no process has the mark. Those that the kernel is about to end need a moment.
func (m mark) nothingLeft(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		left := m.processes(t)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("left behind: processes %v", left)
			for _, pid := range left {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			return
		}
	}
}

// processes are those that have the mark. A zombie has no environment.
func (m mark) processes(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		if err == nil && bytes.Contains(env, []byte(m)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

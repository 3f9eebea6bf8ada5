package workers_test

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"supervisord/internal/workers"
	"supervisord/protocol"
)

// The ways in which a process may end or break the protocol in the middle of a job: what the job and the sink are told,
// and what the exit says.
func TestEndings(t *testing.T) {
	for _, c := range []struct {
		name   string
		role   string
		args   []string
		params string
		change func(*workers.Options)
		events []string
		cause  protocol.Cause
		code   int // -1: none
		signal string
		text   string // in the message
		stderr string // its last line
	}{
		{
			name: "killed", role: "crash", args: []string{"9", "0"},
			events: []string{"down 1", "j1 lost signal"},
			cause:  protocol.CauseSignal, code: -1, signal: "SIGKILL", text: "killed by SIGKILL", stderr: "about to crash",
		},
		{
			name: "killed in mid stream", role: "crash", args: []string{"15", "3"},
			events: []string{"j1 chunk 0 {} false", "j1 chunk 1 {} false", "j1 chunk 2 {} false", "down 1", "j1 lost signal"},
			cause:  protocol.CauseSignal, code: -1, signal: "SIGTERM", text: "killed by SIGTERM", stderr: "about to crash",
		},
		{
			name: "exit 0", role: "exit", args: []string{"0"},
			events: []string{"down 1", "j1 lost exit"},
			cause:  protocol.CauseExit, code: 0, text: "exited with status 0",
		},
		{
			name: "exit 3", role: "exit", args: []string{"3"},
			events: []string{"down 1", "j1 lost exit"},
			cause:  protocol.CauseExit, code: 3, text: "exited with status 3",
		},
		{
			name: "reason", role: "reason",
			events: []string{"down 1", "j1 lost exit"},
			cause:  protocol.CauseExit, code: 1, text: "exited with status 1: CUDA out of memory",
		},
		{
			name: "answer, then exit", role: "last-words",
			events: []string{`j1 success {"last":true}`, "down 1"},
		},
		{
			name: "text on fd 4", role: "write", args: []string{"Loading the model...\n"},
			events: []string{"down 1", "j1 lost protocol"},
			cause:  protocol.CauseProtocol, code: -1, text: `worker wrote text where a frame should begin: "Loading the model...\n"`,
		},
		{
			name: "garbage", role: "write", args: []string{"\xff\xfe\xfd\xfc\x00\x01" + strings.Repeat("\x00", 5000)},
			events: []string{"down 1", "j1 lost protocol"},
			cause:  protocol.CauseProtocol, code: -1, text: "reserved for packed",
		},
		{
			name: "frame of no bytes", role: "frame", args: []string{""},
			events: []string{"down 1", "j1 lost protocol"},
			cause:  protocol.CauseProtocol, code: -1, text: "frame of no bytes",
		},
		{
			name: "no JSON", role: "frame", args: []string{`{"type":"result","job_id":"{id}","status":"success","data":NaN}`},
			events: []string{"down 1", "j1 lost protocol"},
			cause:  protocol.CauseProtocol, code: -1, text: `invalid JSON at byte 57: syntax error: "{\"type\":\"result\"`,
		},
		{
			name: "raw newline in a string", role: "frame", args: []string{"{\"type\":\"stream_chunk\",\"job_id\":\"{id}\",\"chunk\":\"a\nb\"}"},
			events: []string{"down 1", "j1 lost protocol"},
			cause:  protocol.CauseProtocol, code: -1, text: "control character in string",
		},
		{
			name: "no chunk", role: "frame", args: []string{`{"type":"stream_chunk","job_id":"{id}"}`},
			events: []string{"down 1", "j1 lost protocol"},
			cause:  protocol.CauseProtocol, code: -1, text: `member "chunk" is missing`,
		},
		{
			name: "member twice", role: "frame", args: []string{`{"type":"result","job_id":"{id}","job_id":"j9","status":"success"}`},
			events: []string{"down 1", "j1 lost protocol"},
			cause:  protocol.CauseProtocol, code: -1, text: `member "job_id" stands twice`,
		},
		{
			name: "second ready", role: "frame", args: []string{`{"type":"ready","loaded_plugins":[]}`},
			events: []string{"down 1", "j1 lost protocol"},
			cause:  protocol.CauseProtocol, code: -1, text: "second ready message",
		},
		{
			name: "huge frame without an envelope", role: "write", args: []string{"\x7f\xff\xff\xff{" + strings.Repeat(" ", 5000)},
			events: []string{"down 1", "j1 lost protocol"},
			cause:  protocol.CauseProtocol, code: -1, text: "frame of 2147483647 bytes is over the limit",
		},
		{
			name: "closed responses", role: "close", args: []string{"4"},
			events: []string{"down 1", "j1 lost protocol"},
			cause:  protocol.CauseProtocol, code: -1, text: "closed its response pipe and did not exit",
		},
		{
			name: "closed inside a frame", role: "torn",
			events: []string{"down 1", "j1 lost protocol"},
			cause:  protocol.CauseProtocol, code: -1, text: "closed its response pipe inside a frame and did not exit",
		},
		{
			name: "closed requests", role: "close", args: []string{"3"},
			events: []string{"down 1", "j1 lost protocol"},
			cause:  protocol.CauseProtocol, code: -1, text: "closed its request pipe and did not exit",
		},
		{
			name: "torn by death", role: "torn-death",
			events: []string{"down 1", "j1 lost exit"},
			cause:  protocol.CauseExit, code: 4, text: "exited with status 4",
		},
		{
			name: "garbage, then exit", role: "garbage-death",
			events: []string{"down 1", "j1 lost protocol"},
			cause:  protocol.CauseProtocol, code: -2, text: "worker wrote text where a frame should begin",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, c.change, c.role, c.args...)
			inc := f.up(0)
			params := c.params
			if params == "" {
				params = "{}"
			}
			j := f.run(inc, params)
			f.expectMixed(c.events...)
			f.expect("ended gone")
			if j.exit == nil {
				return
			}
			code := -1
			if j.exit.Code != nil {
				code = *j.exit.Code
			}
			if j.exit.Cause != c.cause || c.code != -2 && code != c.code || j.exit.Signal != c.signal || !strings.Contains(j.exit.Message, c.text) {
				t.Errorf("exit %+v, code %d", j.exit, code)
			}
			if tail := j.exit.Stderr; c.stderr != "" && (len(tail) == 0 || tail[len(tail)-1] != c.stderr) {
				t.Errorf("stderr %q, want %q last", tail, c.stderr)
			}
			err := j.exit.Error(inc.WorkerID())
			if err.Code != protocol.CodeWorkerDied || err.Data.Cause != c.cause || !strings.Contains(err.Message, "worker p/0 died: ") {
				t.Errorf("error %+v", err)
			}
			if last := f.pool.List()[0]; last.State != protocol.WorkerFailed || last.LastExit == nil || last.PID != 0 ||
				last.LastExit.Cause != string(c.cause) {
				t.Errorf("worker %+v", last)
			}
		})
	}
}

// Frames that look odd and are right, or concern nobody.
func TestTolerance(t *testing.T) {
	result := `{"type":"result","job_id":"{id}","status":"success","data":{}}`
	for _, c := range []struct {
		name   string
		frames []string
		events []string
		stats  workers.Stats
	}{
		{
			name:   "newlines between tokens",
			frames: []string{"{\n \"type\":\r\n\"stream_chunk\",\"job_id\":\"{id}\",\"chunk\":{\r\n\"a\":\n\"\\n\"},\"metadata\":{\n}\n}", result},
			events: []string{`j1 chunk {  "a": "\n"} { } false`, "j1 success {}"},
		},
		{
			name: "escapes in names and values",
			frames: []string{
				`{"\u0074ype":"stream_chunk","job_id":"{id}","ch\u0075nk":1,"is_final":true}`,
				`{"type":"stream\u005fchunk","job_id":"\u006a1","chunk":2}`, `{"type":"result","job_id":"\u006a1","status":"\u0073uccess","data":3}`,
			},
			events: []string{"j1 chunk 1 {} true", "j1 chunk 2 {} false", "j1 success 3"},
		},
		{
			name: "unknown and unneeded members",
			frames: []string{
				`{"x":{"y":[1]},"type":"stream_chunk","job_id":"{id}","chunk":null,"metadata":7,"is_final":"yes","data":1,"data":2,"STATUS":3}`,
				`{"type":"result","job_id":"{id}","status":"success","data":null,"chunk":1,"chunk":2,"error":"ignored"}`,
			},
			events: []string{"j1 chunk null {} false", "j1 success null"},
		},
		{
			name:   "unknown types",
			frames: []string{`{"type":"hello"}`, `{"type":"hello","job_id":7}`, `{"type":"execute","job_id":"a","plugin_name":"b"}`, result},
			events: []string{"j1 success {}"}, stats: workers.Stats{IgnoredMessages: 3},
		},
		{
			name: "answers for jobs that are not held",
			frames: []string{
				`{"type":"stream_chunk","job_id":"j7","chunk":1}`, `{"type":"result","job_id":"","status":"success"}`,
				`{"type":"progress","job_id":"j7","progress":1}`, `{"type":"state"}`,
				`{"type":"response","request_type":"reload","status":"success"}`, result, result, `{"type":"stream_chunk","job_id":"{id}","chunk":1}`,
			},
			events: []string{"j1 success {}"}, stats: workers.Stats{DroppedAnswers: 7},
		},
		{
			name: "progress",
			frames: []string{
				`{"type":"progress","job_id":"{id}","progress":0.50,"message":"half \u00e9"}`, `{"type":"progress","job_id":"{id}","progress":2}`,
				`{"type":"progress","job_id":"{id}","progress":null,"message":5}`, result,
			},
			events: []string{`j1 progress 0.50 "half \u00e9"`, `j1 progress null ""`, `j1 progress null ""`, "j1 success {}"},
		},
		{
			name:   "error",
			frames: []string{`{"type":"result","job_id":"{id}","status":"error","error":"bad \"input\"","error_info":{"category":"user_input"}}`},
			events: []string{`j1 error bad "input"`},
		},
		{
			name: "chunks after the final one, and none with it",
			frames: []string{
				`{"type":"stream_chunk","job_id":"{id}","chunk":"","is_final":true}`, `{"type":"stream_chunk","job_id":"{id}","chunk":"x"}`, result,
			},
			events: []string{`j1 chunk "" {} true`, `j1 chunk "x" {} false`, "j1 success {}"},
		},
		{
			name: "a result over the limit",
			frames: []string{
				`{"type":"result","job_id":"{id}","status":"success","data":"{mebi}{mebi}"}`, result,
			},
			events: []string{"j1 too large 1048576"}, stats: workers.Stats{DroppedAnswers: 1},
		},
		{
			name: "a chunk over the limit",
			frames: []string{
				`{"type":"stream_chunk","job_id":"{id}","chunk":"1"}`,
				`{"type":"stream_chunk","job_id":"{id}","chunk":"{mebi}{mebi}"}`,
				`{"type":"stream_chunk","job_id":"{id}","chunk":"3"}`, result,
			},
			events: []string{`j1 chunk "1" {} false`, "j1 oversized 1048576", `j1 chunk "3" {} false`, "j1 success {}"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil, "frame", c.frames...)
			inc := f.up(0)
			f.run(inc, "{}")
			f.expect(c.events...)
			f.run(inc, "{}") // the worker lives on
			f.expect("j2 success {}")
			if got := f.pool.Stats(); got != c.stats {
				t.Errorf("stats %+v, want %+v", got, c.stats)
			}
		})
	}
}

// Starts that fail: nobody hears of the process but of its end.
func TestFailedStarts(t *testing.T) {
	for _, c := range []struct {
		name   string
		role   string
		args   []string
		change func(*workers.Options)
		text   string
		state  protocol.PoolState
	}{
		{
			name: "program missing", change: func(o *workers.Options) { o.Command = []string{"no-such-program"} },
			text: `start: exec no-such-program: no such file or directory in PATH `,
		},
		{
			name: "directory missing", change: func(o *workers.Options) { o.Directory = "/no/such/directory" },
			text: "start: working directory /no/such/directory: no such file or directory",
		},
		{name: "exit", role: "exit-at-start", args: []string{"3"}, text: "exited with status 3 before it was ready"},
		{name: "exit 125", role: "exit-at-start", args: []string{"125"}, text: "exited with status 125 (asks not to be restarted) before it was ready"},
		{
			name: "too slow", role: "never-ready", change: func(o *workers.Options) { o.StartTimeout = 50 * time.Millisecond },
			text: "not ready within 50ms",
		},
		{
			name: "reads nothing", role: "forever", change: func(o *workers.Options) {
				o.StartTimeout = 50 * time.Millisecond
				o.Plugins = []workers.Plugin{{Name: "echo", Config: []byte(`"` + strings.Repeat("x", 1<<20) + `"`)}}
			},
			text: "not ready within 50ms",
		},
		{
			name: "answer before ready", role: "frame-first", args: []string{`{"type":"stream_chunk","job_id":"a","chunk":1}`},
			text: `protocol error: stream_chunk message before ready: "{\"type\":`,
		},
		{
			name: "huge answer before ready", role: "frame-first",
			args:   []string{`{"type":"result","job_id":"a","status":"success","data":"` + strings.Repeat("x", 100<<10) + `"}`},
			change: func(o *workers.Options) { o.MaxMessage = 1024 },
			text:   "protocol error: frame of 102",
		},
		{
			name: "ready without plugins", role: "frame-first", args: []string{`{"type":"ready"}`},
			text: `protocol error: ready message: member "loaded_plugins" is missing`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, c.change, c.role, c.args...)
			f.pool.Start(0)
			f.expect("ended gone")
			w := f.pool.List()[0]
			if w.LastExit.Cause != string(protocol.CauseStartFailed) || !strings.HasPrefix(w.LastExit.Message, c.text) {
				t.Errorf("last exit %+v, want %s", w.LastExit, c.text)
			}
			err := f.pool.Unavailable()
			if err.Code != protocol.CodePoolUnavailable || err.Data.State != protocol.PoolStopped || !strings.Contains(err.Data.Reason, c.text) {
				t.Errorf("unavailable %+v", err)
			}
			if tail := strings.Join(err.Data.StderrTail, "|"); c.role == "exit-at-start" && tail != "cannot load the model|out of luck" {
				t.Errorf("stderr %q", tail)
			}
			if s := f.pool.Status(); s.State != protocol.PoolStopped || s.Workers.Failed != 1 || s.Reason == "" {
				t.Errorf("status %+v", s)
			}
			if f.logs.FilterMessage("worker exited").FilterLevelExact(zap.ErrorLevel).Len() != 1 {
				t.Error("an operator was not told")
			}
			f.pool.Start(0) // tries again
			f.expect("ended gone")
		})
	}
}

// Each load_progress gives a start its time anew, ten times.
func TestLoadProgress(t *testing.T) {
	second := func(o *workers.Options) { o.StartTimeout = time.Second }
	t.Run("enough", func(t *testing.T) {
		newFixture(t, second, "slow-start", "12").up(0)
	})
	t.Run("for ever", func(t *testing.T) {
		f := newFixture(t, second, "slow-start", "100000")
		f.pool.Start(0)
		f.expect("ended gone")
	})
}

// Processes that a worker has started end with it; one that has left its group and holds the pipes delays nothing for
// long.
func TestGrandchild(t *testing.T) {
	begin := func(t *testing.T, args ...string) (pid int) {
		f := newFixture(t, nil, "grandchild", args...)
		f.run(f.up(0), "{}")
		var chunk string
		events := []string{f.next(), f.next(), f.next()}
		for _, e := range events {
			if s, ok := strings.CutPrefix(e, "j1 chunk "); ok {
				chunk, _, _ = strings.Cut(s, " ")
			}
		}
		f.expect("ended gone")
		pid, err := strconv.Atoi(chunk)
		if err != nil {
			t.Fatalf("events %q: %v", events, err)
		}
		return pid
	}
	t.Run("in its group", func(t *testing.T) {
		waitForState(t, begin(t), "Z")
	})
	t.Run("in another session", func(t *testing.T) {
		if err := syscall.Kill(begin(t, "session"), syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	})
}

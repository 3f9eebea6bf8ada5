package workers_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"supervisord/internal/outq"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

func TestEcho(t *testing.T) {
	f := newFixture(t, nil, "echo")
	inc := f.up(0)
	if inc.WorkerID() != "p/0" || inc.Slot() != 0 || inc.Number() != 1 || inc.Pool() != f.pool || inc.Capacity() != 1 {
		t.Errorf("worker %s slot %d number %d capacity %d", inc.WorkerID(), inc.Slot(), inc.Number(), inc.Capacity())
	}
	if got := inc.Ready().LoadedPlugins; len(got) != 1 || got[0] != "echo" {
		t.Errorf("loaded plugins %q", got)
	}
	f.run(inc, `{"a":1}`)
	f.expect(`j1 success {"a":1}`)
	f.pool.Stop(t.Context())
	f.expect("down 1", "ended gone")
	var set outq.Set
	if inc.Execute(&workers.Execution{LinkID: "x", Plugin: "echo"}, &job{f: f, id: "x"}, &set) {
		t.Error("a stopped incarnation took a job")
	}
	f.pool.Start(0) // does nothing
	f.pool.Stop(t.Context())
}

// Params and what stands before them reach the worker as they are, small and by reference.
func TestExecuteFrame(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) {
		o.Plugins = []workers.Plugin{{Name: `a "quoted" <name>`, Config: []byte(`{"A":1}`)}, {Name: "none"}}
	}, "mirror")
	inc := f.up(0)
	if got := fmt.Sprint(inc.Ready().LoadedPlugins); got != `[a "quoted" <name> none]` {
		t.Errorf("plugins %s", got)
	}
	large := strings.Repeat("x", 100<<10)
	for _, c := range []struct {
		e    workers.Execution
		want string
	}{
		{
			workers.Execution{Plugin: "echo"},
			`{"type":"execute","job_id":"ID","plugin_name":"echo"}`,
		},
		{
			workers.Execution{Plugin: "echo", Params: []byte(" { } "), Stream: true},
			`{"type":"execute","job_id":"ID","plugin_name":"echo","stream":true}`,
		},
		{
			workers.Execution{Plugin: `a "quoted" <name>`, Params: []byte(`{"a" : {"b":[1,2]}, "c":"\u0041"}`)},
			`{"type":"execute","job_id":"ID","plugin_name":"a \"quoted\" <name>","a" : {"b":[1,2]}, "c":"\u0041"}`,
		},
		{
			workers.Execution{Plugin: "echo", DeadlineMS: new(int64(1500)), Metadata: []byte(`{"k":"v"}`), Params: []byte(`{"a":1}`)},
			`{"type":"execute","job_id":"ID","plugin_name":"echo","$meta":{"deadline_ms":1500,"metadata":{"k":"v"}},"a":1}`,
		},
		{
			workers.Execution{Plugin: "echo", Metadata: []byte(`{}`)},
			`{"type":"execute","job_id":"ID","plugin_name":"echo","$meta":{"metadata":{}}}`,
		},
		{
			workers.Execution{Plugin: "echo", Params: []byte(`{"a":"` + large + `"}`)},
			`{"type":"execute","job_id":"ID","plugin_name":"echo","a":"` + large + `"}`,
		},
	} {
		f.jobs++
		j := &keeper{job: job{f: f, id: "k" + strconv.Itoa(f.jobs)}}
		e := c.e
		e.LinkID = j.id
		var set outq.Set
		if !inc.Execute(&e, j, &set) {
			t.Fatal("not taken")
		}
		set.Flush()
		f.expect(j.id + " kept")
		want := strconv.Quote(strings.Replace(c.want, "ID", j.id, 1))
		if j.data != want {
			t.Errorf("the worker read %.300s, want %.300s", j.data, want)
		}
	}
}

// keeper keeps the data of its result.
type keeper struct {
	job
	data string
}

func (k *keeper) Result(r *workers.Result, _ *outq.Set) {
	k.data = string(r.Data)
	k.f.say("%s kept", k.id)
}

// A worker with less than the features gets nothing of what they add.
func TestBaseProfile(t *testing.T) {
	f := newFixture(t, func(o *workers.Options) { o.Concurrency = 8 }, "mirror-base")
	inc := f.up(0)
	if inc.Capacity() != 1 {
		t.Errorf("capacity %d", inc.Capacity())
	}
	j := &keeper{job: job{f: f, id: "k"}}
	var set outq.Set
	inc.Execute(&workers.Execution{LinkID: "k", Plugin: "echo", DeadlineMS: new(int64(1)), Metadata: []byte(`{}`)}, j, &set)
	set.Flush()
	f.expect("k kept")
	if want := strconv.Quote(`{"type":"execute","job_id":"k","plugin_name":"echo"}`); j.data != want {
		t.Errorf("the worker read %s, want %s", j.data, want)
	}
}

func TestStream(t *testing.T) {
	f := newFixture(t, nil, "stream")
	inc := f.up(0)
	f.run(inc, `{"count":1000}`)
	for i := range 1000 {
		f.expect(fmt.Sprintf(`j1 chunk {"i":%d,"pad":""} {} false`, i))
	}
	f.expect(`j1 success {"streamed":true}`)
}

// What a process is and gets: its own group, a working directory, an environment from a list, and blocking pipes.
func TestSurroundings(t *testing.T) {
	t.Setenv("SV_INHERITED", "yes")
	t.Setenv("SV_OTHER", "no")
	f := newFixture(t, func(o *workers.Options) {
		o.Directory = "/usr"
		o.Env = append(o.Env, "SV_SLOT=gpu{slot}", "CaseMatters=1")
		o.InheritEnv = []string{"SV_INHERITED", "SV_MISSING"}
		o.MaxWorkers = 2
	}, "surroundings")
	inc := f.up(1)
	f.run(inc, "{}")
	f.expect(`j1 success {"blocking":[true,true],"dir":"/usr","env":["CaseMatters=1","SUPERVISORD_INCARNATION=1",` +
		`"SUPERVISORD_POOL=p","SUPERVISORD_PROTOCOL=1","SUPERVISORD_SLOT=1","SUPERVISORD_WORKER=p/1","SV_INHERITED=yes",` +
		`"SV_SLOT=gpu1"],"group_leader":true}`)
}

func TestRestarts(t *testing.T) {
	t.Run("after a crash", func(t *testing.T) {
		f := newFixture(t, func(o *workers.Options) { o.Policy = workers.PolicyBackoff }, "exit", "3")
		inc := f.up(0)
		f.run(inc, "{}")
		f.expect("down 1", "j1 lost exit", "ended coming")
		inc = f.nextUp()
		if inc.Number() != 2 {
			t.Errorf("incarnation %d", inc.Number())
		}
		if w := f.pool.List()[0]; w.Restarts != 1 || w.State != protocol.WorkerReady || w.PID != inc.PID() || w.RSSBytes == 0 {
			t.Errorf("worker %+v", w)
		}
	})
	t.Run("spent, and healed by a probe", func(t *testing.T) {
		flag := t.TempDir() + "/healed"
		f := newFixture(t, func(o *workers.Options) {
			o.Policy = workers.PolicyAlways
			o.MaxRestartAttempts = 2
			o.RestartBackoffMax = time.Millisecond
		}, "needs-file", flag)
		f.pool.Start(0)
		f.expect("ended coming", "ended coming", "ended gone", "ended gone")
		err := f.pool.Unavailable()
		if err.Data.State != protocol.PoolFailed || err.Data.StderrTail == nil {
			t.Errorf("unavailable %+v", err)
		}
		if err := os.WriteFile(flag, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for {
			e := f.next()
			if strings.HasPrefix(e, "up ") {
				break
			}
			if e != "ended gone" {
				t.Fatalf("event %q", e)
			}
		}
		if s := f.pool.Status(); s.State != protocol.PoolReady || s.Workers.Ready != 1 || s.Reason != "" {
			t.Errorf("status %+v", s)
		}
	})
	t.Run("backoff", func(t *testing.T) {
		f := newFixture(t, func(o *workers.Options) {
			o.Policy = workers.PolicyBackoff
			o.RestartBackoffBase, o.RestartBackoffMax = 1000*time.Hour, 1000*time.Hour
		}, "exit-at-start", "1")
		f.pool.Start(0)
		f.expect("ended coming", "ended coming")
		err := f.pool.Unavailable()
		if err.Data.State != protocol.PoolBackoff || err.Data.RetryAfterMS == nil || *err.Data.RetryAfterMS <= 0 {
			t.Errorf("unavailable %+v", err)
		}
		if w := f.pool.List()[0]; w.State != protocol.WorkerBackoff {
			t.Errorf("worker %+v", w)
		}
		f.pool.Stop(t.Context())
		f.expect("ended gone")
	})
	t.Run("asked not to", func(t *testing.T) {
		f := newFixture(t, func(o *workers.Options) { o.Policy = workers.PolicyAlways }, "exit", "125")
		inc := f.up(0)
		f.run(inc, "{}")
		f.expect("down 1", "j1 lost exit", "ended gone")
		if s := f.pool.Status(); s.State != protocol.PoolStopped {
			t.Errorf("status %+v", s)
		}
	})
}

// Much output, and a line without an end, neither block the worker nor flood the log.
func TestNoise(t *testing.T) {
	f := newFixture(t, nil, "noise", "20000")
	f.run(f.up(0), "{}")
	f.expect("j1 success {}")
	f.pool.Stop(t.Context())
	lines := f.logs.FilterMessage("worker output").Len()
	dropped := 0
	for _, e := range f.logs.FilterMessage("worker output dropped").All() {
		dropped += int(e.ContextMap()["lines"].(int64))
	}
	if lines+dropped != 40001 || dropped < 20000 {
		t.Errorf("%d lines logged, %d dropped", lines, dropped)
	}
}

// A pool is stopped at any moment of a start.
func TestStopWhileStarting(t *testing.T) {
	for i := range 20 {
		f := newFixture(t, func(o *workers.Options) { o.MaxWorkers = 3 }, "echo")
		for slot := range 3 {
			f.pool.Start(slot)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
		<-ctx.Done()
		cancel()
		f.pool.Stop(ctx)
		for _, w := range f.pool.List() {
			if w.State != protocol.WorkerStopped || w.PID != 0 {
				t.Errorf("worker %+v", w)
			}
		}
		if s := f.pool.Status(); s.State != protocol.PoolStopped {
			t.Errorf("status %+v", s)
		}
	}
}

// What a worker says for the log.
func TestWorkerLog(t *testing.T) {
	f := newFixture(t, nil, "frame",
		`{"type":"log","level":"warn","message":"low\nmemory","job_id":"{id}","fields":{"free":1}}`,
		`{"type":"metric","name":"tokens","value":12.5,"job_id":"{id}"}`, `{"type":"log","message":"m","job_id":"another"}`,
		`{"type":"error","error":"first"}`, `{"type":"error","error":"second"}`,
		`{"type":"result","job_id":"{id}","status":"success"}`)
	f.run(f.up(0), "{}")
	f.expect("j1 logged", "j1 success ")
	var got []string
	for _, e := range f.logs.All() {
		m := e.ContextMap()
		if e.Message == "worker log" || e.Message == "worker metric" || e.Message == "worker reports a fatal error" {
			got = append(got, fmt.Sprintf("%s %s %q %v %v %v %v", e.Level, e.Message, m["text"], m["fields"], m["name"], m["value"], m["job"]))
		}
	}
	want := []string{
		`warn worker log "low\nmemory" {"free":1} <nil> <nil> j1`, `debug worker metric %!q(<nil>) <nil> tokens 12.5 j1`,
		`info worker log "m" <nil> <nil> <nil> <nil>`, `warn worker reports a fatal error "first" <nil> <nil> <nil> <nil>`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("logged %q, want %q", got, want)
	}
}

// What ignores everything is killed when the time to stop is over, and its job is lost.
func TestStopLadder(t *testing.T) {
	for _, c := range []struct {
		name    string
		timeout time.Duration
		ctx     func(context.Context) (context.Context, context.CancelFunc)
	}{
		{"rung by rung", time.Millisecond, context.WithCancel},
		{"cut", time.Hour, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Millisecond)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(o *workers.Options) { o.StopTimeout = c.timeout }, "deaf")
			j := f.run(f.up(0), `{"unread":"`+strings.Repeat("x", 1<<20)+`"}`)
			ctx, cancel := c.ctx(t.Context())
			defer cancel()
			f.pool.Stop(ctx)
			f.expect("down 1", "j1 lost stopped", "ended gone")
			if j.exit.How != protocol.HowKilled || j.exit.Signal != "SIGKILL" {
				t.Errorf("exit %+v", j.exit)
			}
		})
	}
}

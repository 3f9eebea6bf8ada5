package rpc_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"supervisord/internal/rpc"
	"supervisord/protocol"
)

// TestExecutionOf: what reaches the backend of params that are right.
func TestExecutionOf(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	before := time.Now()
	for _, e := range []struct {
		name, members string
		want          func(*rpc.Execution)
	}{
		{"nothing", ``, nil},
		{"null is absent", `"params":null,"pool":null,"stream":null,"job_id":null,"timeout_ms":null,"max_wait_ms":null,"priority":null,` +
			`"affinity_key":null,"supersede_key":null,"keep_alive_ms":null,"on_disconnect":null,"partialResultToken":null,"metadata":null`, nil},
		{"unknown members", `"job":1,"Params":2,"PLUGIN_NAME":[],"x":{"plugin_name":"y"}`, nil},
		{"params", `"params":{"a":[1, 2.50,"\u00e9"],"b":{}}`, func(x *rpc.Execution) { x.Params = []byte(`{"a":[1, 2.50,"\u00e9"],"b":{}}`) }},
		{"params over lines", "\"params\":{\n\"a\":\r\n1}", func(x *rpc.Execution) { x.Params = []byte(`{ "a":  1}`) }},
		{"empty params", `"params":{}`, func(x *rpc.Execution) { x.Params = []byte(`{}`) }},
		{"metadata", `"metadata":{"page":7}`, func(x *rpc.Execution) { x.Metadata = []byte(`{"page":7}`) }},
		{"both", `"metadata":{"m":1},"params":{"p":2}`, func(x *rpc.Execution) { x.Params, x.Metadata = []byte(`{"p":2}`), []byte(`{"m":1}`) }},
		{"pool", `"pool":"gpt-4.1"`, func(x *rpc.Execution) { x.Pool = "gpt-4.1" }},
		{"escaped name", `"p\u006fol":"a\u00e9"`, func(x *rpc.Execution) { x.Pool = "aé" }},
		{"stream", `"stream":true`, func(x *rpc.Execution) { x.Stream = true }},
		{"no stream", `"stream":false`, nil},
		{"token is a stream", `"partialResultToken":7`, func(x *rpc.Execution) { x.Stream = true }},
		{"token is a stream whatever stands beside it", `"partialResultToken":"t","stream":false`, func(x *rpc.Execution) { x.Stream = true }},
		{"job_id", `"job_id":"A.z_0:9-"`, func(x *rpc.Execution) { x.JobID = "A.z_0:9-" }},
		{"longest job_id", `"job_id":"` + strings.Repeat("j", 128) + `"`, func(x *rpc.Execution) { x.JobID = strings.Repeat("j", 128) }},
		{"timeout", `"timeout_ms":1`, func(x *rpc.Execution) { x.Timeout = time.Millisecond }},
		{"longest timeout", `"timeout_ms":9223372036854`, func(x *rpc.Execution) { x.Timeout = 9223372036854 * time.Millisecond }},
		{"no wait", `"max_wait_ms":0`, func(x *rpc.Execution) { x.HasMaxWait = true }},
		{"wait", `"max_wait_ms":1500`, func(x *rpc.Execution) { x.HasMaxWait, x.MaxWait = true, 1500*time.Millisecond }},
		{"priority", `"priority":-100`, func(x *rpc.Execution) { x.Priority = -100 }},
		{"highest priority", `"priority":100`, func(x *rpc.Execution) { x.Priority = 100 }},
		{"on_disconnect continue", `"on_disconnect":"continue"`, func(x *rpc.Execution) { x.Continue = true }},
		{"on_disconnect cancel", `"on_disconnect":"cancel"`, nil},
		{"without effect yet", `"affinity_key":"a","keep_alive_ms":0`, nil},
	} {
		t.Run(e.name, func(t *testing.T) {
			c.t = t
			c.send(run("1", "hold", e.members))
			j := d.hold(t)
			want := rpc.Execution{Plugin: "hold", UID: uint32(os.Geteuid()), PID: os.Getpid(), Created: j.x.Created}
			if e.want != nil {
				e.want(&want)
			}
			// Nil and empty are not the same: nil is none.
			if got, want := fmt.Sprintf("%#v", j.x), fmt.Sprintf("%#v", want); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if j.x.Created.Before(before) || j.x.Created.After(time.Now()) {
				t.Errorf("created at %v", j.x.Created)
			}
			j.end("{}", nil)
			c.wantLike(`{"id":1,"result":{"status":"success"}}`)
		})
	}
}

// TestInvalidParams: what is wrong, all of it, with path and reason.
func TestInvalidParams(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	const notAJobID = "is not 1 to 128 of A-Z a-z 0-9 . _ : -"
	const notAToken = "is neither a string nor an integer of at most 1024 bytes"
	for _, e := range []struct {
		params string
		fields []string // path and reason
	}{
		{`{}`, []string{"plugin_name", "is missing"}},
		{`{"plugin_name":null}`, []string{"plugin_name", "is missing"}},
		{`{"plugin_name":""}`, []string{"plugin_name", "is not a name"}},
		{`{"plugin_name":7}`, []string{"plugin_name", "is not a name"}},
		{`{"plugin_name":{"a":1}}`, []string{"plugin_name", "is not a name"}},
		{`{"plugin_name":"echo","plugin_name":"echo"}`, []string{"plugin_name", "stands twice"}},
		{`{"plugin_name":"echo","plugin\u005fname":"x"}`, []string{"plugin_name", "stands twice"}},
		{`{"plugin_name":"echo","pool":null,"pool":"a"}`, []string{"pool", "stands twice"}},
		{`{"plugin_name":"echo","pool":""}`, []string{"pool", "is not a name"}},
		{`{"plugin_name":"echo","pool":["a"]}`, []string{"pool", "is not a name"}},
		{`{"plugin_name":"echo","params":[1]}`, []string{"params", "is not an object"}},
		{`{"plugin_name":"echo","params":"x"}`, []string{"params", "is not an object"}},
		{`{"plugin_name":"echo","params":{"type":1}}`, []string{"params.type", "has a reserved name"}},
		{`{"plugin_name":"echo","params":{"JOB_ID":1}}`, []string{"params.JOB_ID", "has a reserved name"}},
		{`{"plugin_name":"echo","params":{"str\u0065am":1}}`, []string{"params.stream", "has a reserved name"}},
		{`{"plugin_name":"echo","params":{"$x":1}}`, []string{"params.$x", "has a reserved name"}},
		{`{"plugin_name":"echo","params":{"a":1,"a":2}}`, []string{"params.a", "stands twice"}},
		{`{"plugin_name":"echo","stream":1}`, []string{"stream", "is not a boolean"}},
		{`{"plugin_name":"echo","stream":"true"}`, []string{"stream", "is not a boolean"}},
		{`{"plugin_name":"echo","job_id":""}`, []string{"job_id", notAJobID}},
		{`{"plugin_name":"echo","job_id":7}`, []string{"job_id", notAJobID}},
		{`{"plugin_name":"echo","job_id":"a b"}`, []string{"job_id", notAJobID}},
		{`{"plugin_name":"echo","job_id":"\u0022"}`, []string{"job_id", notAJobID}},
		{`{"plugin_name":"echo","job_id":"` + strings.Repeat("j", 129) + `"}`, []string{"job_id", notAJobID}},
		{`{"plugin_name":"echo","timeout_ms":0}`, []string{"timeout_ms", "is not an integer above 0"}},
		{`{"plugin_name":"echo","timeout_ms":-1}`, []string{"timeout_ms", "is not an integer above 0"}},
		{`{"plugin_name":"echo","timeout_ms":1.5}`, []string{"timeout_ms", "is not an integer above 0"}},
		{`{"plugin_name":"echo","timeout_ms":1e3}`, []string{"timeout_ms", "is not an integer above 0"}},
		{`{"plugin_name":"echo","timeout_ms":"5"}`, []string{"timeout_ms", "is not an integer above 0"}},
		{`{"plugin_name":"echo","timeout_ms":9223372036855}`, []string{"timeout_ms", "is not an integer above 0"}},
		{`{"plugin_name":"echo","timeout_ms":99999999999999999999}`, []string{"timeout_ms", "is not an integer above 0"}},
		{`{"plugin_name":"echo","max_wait_ms":-1}`, []string{"max_wait_ms", "is not an integer from 0 on"}},
		{`{"plugin_name":"echo","priority":101}`, []string{"priority", "is not an integer from -100 to 100"}},
		{`{"plugin_name":"echo","priority":-101}`, []string{"priority", "is not an integer from -100 to 100"}},
		{`{"plugin_name":"echo","priority":1.0}`, []string{"priority", "is not an integer from -100 to 100"}},
		{`{"plugin_name":"echo","affinity_key":1}`, []string{"affinity_key", "is not a string"}},
		{`{"plugin_name":"echo","supersede_key":"k"}`, []string{"supersede_key", "is not served by this version"}},
		{`{"plugin_name":"echo","keep_alive_ms":-5}`, []string{"keep_alive_ms", "is not an integer from 0 on"}},
		{`{"plugin_name":"echo","on_disconnect":"detach"}`, []string{"on_disconnect", `is neither "cancel" nor "continue"`}},
		{`{"plugin_name":"echo","on_disconnect":true}`, []string{"on_disconnect", `is neither "cancel" nor "continue"`}},
		{`{"plugin_name":"echo","partialResultToken":1.5}`, []string{"partialResultToken", notAToken}},
		{`{"plugin_name":"echo","partialResultToken":[]}`, []string{"partialResultToken", notAToken}},
		{`{"plugin_name":"echo","partialResultToken":true}`, []string{"partialResultToken", notAToken}},
		{`{"plugin_name":"echo","partialResultToken":"` + strings.Repeat("t", 1023) + `"}`, []string{"partialResultToken", notAToken}},
		{`{"plugin_name":"echo","metadata":[]}`, []string{"metadata", "is not an object"}},
		{
			`{"plugin_name":1,"pool":2,"stream":3,"params":{"$":4}}`,
			[]string{"plugin_name", "is not a name", "pool", "is not a name", "stream", "is not a boolean", "params.$", "has a reserved name"},
		},
		{
			`{"priority":"high","timeout_ms":0}`,
			[]string{"priority", "is not an integer from -100 to 100", "timeout_ms", "is not an integer above 0", "plugin_name", "is missing"},
		},
	} {
		fields := ""
		for i := 0; i < len(e.fields); i += 2 {
			fields += fmt.Sprintf(`,{"path":%q,"reason":%q}`, e.fields[i], e.fields[i+1])
		}
		c.send(call(`"a"`, "execute", e.params))
		c.want(fmt.Sprintf(`{"jsonrpc":"2.0","id":"a","error":{"code":-32602,"message":%q,"data":{"kind":"invalid_params","retryable":false,"fields":[%s]}}}`,
			"invalid params: "+e.fields[0]+" "+e.fields[1], fields[1:]))
	}
	if made, _, _ := d.counts(); made != 0 {
		t.Errorf("%d jobs were made", made)
	}
}

// TestResult: the shape of a result, byte for byte, and of the errors of the job and of the backend.
func TestResult(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	c.send(run(`"\u00e9"`, "echo", `"job_id":"mine","params":{"text":"<é> \u00e9", "n":1.50}`))
	c.want(`{"jsonrpc":"2.0","id":"\u00e9","result":{"job_id":"mine","status":"success","data":{"text":"<é> \u00e9", "n":1.50},"chunks":0}}`)
	c.send(run("-0", "echo", ""))
	c.want(`{"jsonrpc":"2.0","id":-0,"result":{"job_id":"job-2","status":"success","data":{},"chunks":0}}`)
	c.send(run("null", "echo", `"metadata":{"a":1}`))
	c.want(`{"jsonrpc":"2.0","id":null,"result":{"job_id":"job-3","status":"success","data":{},"chunks":0}}`)
	c.send(run("1E2", "spell", ""))
	c.want(`{"jsonrpc":"2.0","id":1E2,"result":{"job_id":"job-4","status":"success","data":{},"chunks":0}}`)
	c.send(run("1", "fail", ""))
	c.want(`{"jsonrpc":"2.0","id":1,"error":{"code":1002,"message":"bad <input>","data":{"kind":"job_failed","retryable":false,"job_id":"job-5"}}}`)
	c.send(run("1", "nobody", ""))
	c.want(`{"jsonrpc":"2.0","id":1,"error":{"code":1004,"message":"no pool offers this plugin","data":{"kind":"unknown_plugin","retryable":false,"known":["echo"]}}}`)
	c.ping()
}

// TestNotificationRuns: without an id a job runs, and nothing is said about it.
func TestNotificationRuns(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	c.send(run("", "hold", ""), run("", "hold", ""), run("", "nobody", ""), call("", "execute", "{}"), call("", "execute", "[]"),
		call("", "daemon.info", ""), call("", "job.cancel", `{"job_id":"none"}`))
	first, second := d.hold(t), d.hold(t)
	first.end("{}", nil)
	second.end("", protocol.NewError(protocol.CodeJobFailed, "x"))
	c.ping()
}

// TestIDsInFlight: an id that is in flight is refused, by its bytes; null names nobody, and may stand often.
func TestIDsInFlight(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	c.send(run("1", "hold", ""))
	j := d.hold(t)
	refused := `{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"invalid request: a request with this id is in flight",` +
		`"data":{"kind":"invalid_request","retryable":false,"reason":"a request with this id is in flight"}}}`
	c.send(run("1", "hold", ""))
	c.want(refused)
	c.send(call("1", "daemon.ping", ""))
	c.want(refused)
	var others []*job
	for _, other := range []string{`"1"`, "1.0", "null", "null", "null"} {
		c.send(run(other, "hold", ""))
		others = append(others, d.hold(t))
	}
	other := d.dial(t)
	other.send(call("1", "daemon.ping", ""))
	other.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	j.end("{}", nil)
	c.wantLike(`{"id":1,"result":{}}`)
	for _, j := range others {
		j.end("{}", nil)
		c.wantLike(`{"result":{}}`)
	}
	// As soon as it is answered an id may be used again, whoever was faster.
	for range 200 {
		c.send(run("1", "hold", ""))
		j := d.hold(t)
		go j.end("{}", nil)
		c.wantLike(`{"id":1,"result":{}}`)
	}
}

// TestInFlightLimits: the limit of a connection and that of a user, batch elements and notifications counted.
func TestInFlightLimits(t *testing.T) {
	d := start(t, func(o *rpc.Options) { o.MaxInFlight, o.MaxInFlightPerUID = 3, 4 })
	overloaded := func(id string) string {
		return `{"jsonrpc":"2.0","id":` + id + `,"error":{"code":1000,"message":"too many requests in flight",` +
			`"data":{"kind":"overloaded","retryable":true,"limit":"in_flight","retry_after_ms":100}}}`
	}
	a, b := d.dial(t), d.dial(t)
	a.send("[" + run("1", "hold", "") + "," + run("2", "hold", "") + "]" + run("", "hold", ""))
	jobs := []*job{d.hold(t), d.hold(t), d.hold(t)}
	a.send(run("4", "hold", ""), call("5", "daemon.ping", ""))
	a.want(overloaded("4"), overloaded("5"))
	b.send(run("1", "hold", ""))
	jobs = append(jobs, d.hold(t))
	b.send(run("2", "hold", ""))
	b.want(overloaded("2"))
	jobs[2].end("{}", nil) // the notification
	b.send(run("3", "hold", ""))
	jobs = append(jobs, d.hold(t))
	a.send(run("6", "hold", ""))
	a.want(overloaded("6"))
	for _, j := range jobs {
		j.end("{}", nil)
	}
	a.wantLike(`[{"id":1,"result":{}},{"id":2,"result":{}}]`)
	b.wantLike(`{"id":1}`, `{"id":3}`)
	// Nothing is left over: as much as before has room again, also after a connection that left with jobs.
	for range 3 {
		c := d.dial(t)
		c.send(run("1", "hold", ""), run("2", "hold", ""), run("3", "hold", ""))
		for range 3 {
			d.hold(t)
		}
		c.close()
		for range 6 { // leave and cancel
			receive(t, d.events, "end of a job")
		}
	}
	a.ping()
}

// TestCancelRequest: effective in the same write as its request, within a batch, as a request of its own; the request is
// answered once.
func TestCancelRequest(t *testing.T) {
	d := start(t)
	cancelled := func(id, job string) string {
		return `{"jsonrpc":"2.0","id":` + id + `,"error":{"code":-32800,"message":"job cancelled by caller",` +
			`"data":{"kind":"cancelled","retryable":false,"job_id":"` + job + `","how":"queued","by":"caller"}}}`
	}
	c := d.dial(t)
	c.send(run("1", "hold", "")+cancel("1"), run(`"1"`, "hold", "")+cancel("1")+cancel(`"1"`))
	c.want(cancelled("1", "job-1"), cancelled(`"1"`, "job-2"))
	c.send("[" + run("1", "hold", "") + "," + run("2", "hold", "") + "]" + cancel("2") + call("3", "$/cancelRequest", `{"id":1}`))
	c.want("["+cancelled("1", "job-3")+","+cancelled("2", "job-4")+"]", `{"jsonrpc":"2.0","id":3,"result":true}`)
	c.send("[" + run("1", "hold", "") + "," + cancel("1") + "," + call("2", "$/cancelRequest", `{"id":1}`) + "]")
	c.want("[" + cancelled("1", "job-5") + `,{"jsonrpc":"2.0","id":2,"result":false}]`)
	c.send(cancel("1"), cancel("null"), call("1", "$/cancelRequest", `{}`), call("1", "$/cancelRequest", `{"id":null}`))
	c.want(`{"jsonrpc":"2.0","id":1,"result":false}`, `{"jsonrpc":"2.0","id":1,"result":false}`)
	other := d.dial(t)
	c.send(run("1", "hold", ""))
	for range 5 {
		d.hold(t)
	}
	j := d.hold(t)
	other.send(call("9", "$/cancelRequest", `{"id":1}`)) // ids are a connection's own
	other.want(`{"jsonrpc":"2.0","id":9,"result":false}`)
	j.end("{}", nil)
	c.wantLike(`{"id":1,"result":{}}`)
	c.ping()
}

// TestBatchOrder: the answers of a batch come together, in the order of its requests, however the jobs end.
func TestBatchOrder(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	c.send("[" + run("1", "hold", "") + "," + run("2", "hold", `"stream":true`) + "," + run("", "hold", "") + ",7," + call("3", "daemon.ping", "") + "]")
	a, b, n := d.hold(t), d.hold(t), d.hold(t)
	b.push(`"x"`)
	c.wantLike(`{"method":"stream.chunk","params":{"request_id":2,"seq":0,"chunk":"x"}}`)
	b.end("2", nil)
	n.end("3", nil)
	c.ping()
	a.end("1", nil)
	c.wantLike(`[{"id":1,"result":{"data":1}},{"id":2,"result":{"data":2,"chunks":1}},{"id":null,"error":{"code":-32600}},{"id":3,"result":{}}]`)
	c.ping()
}

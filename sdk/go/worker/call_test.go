package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"supervisord/protocol"
	"supervisord/sdk/go/worker"
)

func TestParamsKeepTheirBytes(t *testing.T) {
	for frame, want := range map[string]string{
		`{"type":"execute","job_id":"j","plugin_name":"echo"}`:                                           `{}`,
		`{"type":"execute","job_id":"j","plugin_name":"echo","a":1.50,"b":{"type":"x"}}`:                 `{"a":1.50,"b":{"type":"x"}}`,
		`{"type":"execute","job_id":"j","plugin_name":"echo","stream":false,"$meta":{},"a":"\u00e4"}`:    `{"a":"\u00e4"}`,
		`{"type":"execute","job_id":"j","plugin_name":"echo","a":"$x","b":"\u0024"}`:                     `{"a":"$x","b":"\u0024"}`,
		`{"a":1,"type":"execute","job_id":"j","b":[2],"plugin_name":"echo"}`:                             `{"a":1,"b":[2]}`,
		`{ "type": "execute", "job_id": "j", "plugin_name": "echo", "a": 1 }`:                            `{"a":1}`,
		`{"type":"execute","job_id":"j","plugin_name":"echo","$later":1,"a":1}`:                          `{"a":1}`,
		`{"type":"execute","job_id":"j","plugin_name":"echo","a":1,"\u0024later":1}`:                     `{"a":1}`,
		`{"type":"execute","job_id":"j","plugin_name":"echo","$later":1}`:                                `{}`,
		`{"\u0074ype":"execute","job_id":"j","plugin_name":"echo","a":1}`:                                `{"a":1}`,
		`{"type":"\u0065xecute","job_id":"\u006a","plugin_name":"\u0065cho","a":1}`:                      `{"a":1}`,
		`{"type":"execute","job_id":"j","plugin_name":"echo","a b":"}","":0,"plugin":{"plugin_name":1}}`: `{"a b":"}","":0,"plugin":{"plugin_name":1}}`,
	} {
		for _, options := range [][]worker.Option{nil, {worker.Inline()}} {
			w := worker.New()
			w.Func("echo", echo, options...)
			d, _ := start(t, w)
			d.write(protocol.AppendFrame(nil, []byte(frame)))
			if r := d.result("j"); string(r.Data) != want {
				t.Errorf("%s with %d options: params %s, want %s", frame, len(options), r.Data, want)
			}
		}
	}
}

// typedNil is the mistake of returning a nil *Error as an error.
func typedNil() error {
	var e *worker.Error
	return e
}

var errMine = errors.New("mine")

func TestResults(t *testing.T) {
	deep := json.RawMessage(strings.Repeat("[", 300) + strings.Repeat("]", 300))
	for name, test := range map[string]struct {
		result any
		err    error
		want   string // data, or else what the error begins with
	}{
		"nothing":        {nil, nil, `{}`},
		"map":            {map[string]int{"n": 1}, nil, `{"n":1}`},
		"text":           {"plain", nil, `"plain"`},
		"text, escaped":  {"a\"b\nä\x00", nil, `"a\"b\nä\u0000"`},
		"raw":            {json.RawMessage(`{"n": 1.50}`), nil, `{"n": 1.50}`},
		"raw, nothing":   {json.RawMessage(nil), nil, `null`},
		"raw, wrong":     {json.RawMessage(`{"n":`), nil, "the plugin gave a value that cannot be sent: invalid JSON"},
		"raw, two":       {json.RawMessage(`1 2`), nil, "the plugin gave a value that cannot be sent: invalid JSON"},
		"raw, no UTF-8":  {json.RawMessage("\"\xff\""), nil, "the plugin gave a value that cannot be sent: invalid JSON"},
		"hidden UTF-8":   {[]any{json.RawMessage("\"\xff\"")}, nil, "the plugin gave a value that cannot be sent: invalid JSON"},
		"too deep":       {deep, nil, "the plugin gave a value that cannot be sent: invalid JSON"},
		"hidden depth":   {[]any{deep}, nil, "the plugin gave a value that cannot be sent: invalid JSON"},
		"NaN":            {math.NaN(), nil, "the plugin gave a value that is not JSON"},
		"channel":        {make(chan int), nil, "the plugin gave a value that is not JSON"},
		"error":          {nil, errMine, "mine"},
		"result ignored": {1, errMine, "mine"},
		"typed nil":      {nil, typedNil(), "panic: runtime error: invalid memory address"},
		"own cancel":     {nil, fmt.Errorf("no: %w", worker.ErrCancelled), "no: worker: the job was cancelled"},
	} {
		for _, options := range [][]worker.Option{nil, {worker.Inline()}} {
			t.Run(fmt.Sprintf("%s %d", name, len(options)), func(t *testing.T) {
				w := worker.New()
				w.Func("f", func(context.Context, *worker.Job) (any, error) { return test.result, test.err }, options...)
				w.Func("echo", echo)
				d, _ := start(t, w)
				d.send(execute("j", "f", `{}`), execute("next", "echo", `{"still":"there"}`))
				r := d.result("j")
				switch r.Status {
				case protocol.StatusSuccess:
					if string(r.Data) != test.want {
						t.Errorf("data %s, want %s", r.Data, test.want)
					}
				case protocol.StatusError:
					if !strings.HasPrefix(r.Error, test.want) {
						t.Errorf("error %q, want %q", r.Error, test.want)
					}
				default:
					t.Errorf("status %s", r.Status)
				}
				if len(options) > 0 { // else the answer may have come before
					d.result("next")
				}
			})
		}
	}
}

func TestErrorInfo(t *testing.T) {
	failing := func(err error) *protocol.Result {
		w := worker.New()
		w.Func("f", func(context.Context, *worker.Job) (any, error) { return nil, err })
		d, _ := start(t, w)
		d.send(execute("j", "f", `{}`))
		return d.result("j")
	}
	r := failing(fmt.Errorf("outside: %w", &worker.Error{
		Category: worker.Transient, Message: "busy", Retriable: true, RetryAfter: 1500 * time.Millisecond, Traceback: "here", FieldsInvalid: []string{"a"}, Err: errMine,
	}))
	want := &protocol.Result{JobID: "j", Status: protocol.StatusError, Error: "outside: busy", ErrorInfo: &protocol.ErrorInfo{
		Category: "transient", Retriable: new(true), RetryAfterSeconds: new(1.5), Traceback: "here", FieldsInvalid: json.RawMessage(`["a"]`),
	}}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v with %+v", r, r.ErrorInfo)
	}
	if r := failing(errMine); r.ErrorInfo != nil || r.Error != "mine" {
		t.Errorf("plain error: got %+v", r)
	}
	for _, test := range []struct {
		err       *worker.Error
		text      string
		retriable bool
	}{
		{worker.Errorf(worker.Transient, "a: %w", errMine), "a: mine", true},
		{worker.Errorf(worker.UserInput, "b"), "b", false},
		{&worker.Error{Category: worker.Resource, Err: errMine}, "mine", false},
		{&worker.Error{Category: worker.Resource}, "resource error", false},
	} {
		r := failing(test.err)
		if r.Error != test.text || r.ErrorInfo.Category != string(test.err.Category) || *r.ErrorInfo.Retriable != test.retriable {
			t.Errorf("%+v: got %+v with %+v", test.err, r, r.ErrorInfo)
		}
	}
	if !errors.Is(worker.Errorf(worker.Fatal, "a: %w", errMine), errMine) {
		t.Error("Errorf hides its cause")
	}
}

func TestPanicCostsTheJobAlone(t *testing.T) {
	for _, options := range [][]worker.Option{nil, {worker.Inline()}} {
		w := worker.New()
		w.Func("f", func(context.Context, *worker.Job) (any, error) { panic("oh no") }, options...)
		w.Func("echo", echo)
		d, _ := start(t, w)
		d.send(execute("j", "f", `{}`))
		r := d.result("j")
		if r.Status != protocol.StatusError || r.Error != "panic: oh no" || r.ErrorInfo.Category != protocol.CategoryFatal ||
			!strings.Contains(r.ErrorInfo.Traceback, "TestPanicCostsTheJobAlone") {
			t.Errorf("got %+v with %+v", r, r.ErrorInfo)
		}
		d.send(execute("next", "echo", `{}`))
		d.result("next")
	}
}

func TestWrongParamsAreTheCallers(t *testing.T) {
	w := worker.New()
	w.Func("f", func(_ context.Context, job *worker.Job) (any, error) {
		var params struct {
			Text string
			N    int `json:"n"`
		}
		return nil, job.Bind(&params)
	})
	d, _ := start(t, w)
	d.send(execute("j", "f", `{"text":"a","n":"b"}`))
	r := d.result("j")
	if r.Status != protocol.StatusError || r.ErrorInfo.Category != protocol.CategoryUserInput || *r.ErrorInfo.Retriable ||
		string(r.ErrorInfo.FieldsInvalid) != `["n"]` || !strings.HasPrefix(r.Error, "params: ") {
		t.Errorf("got %+v with %+v", r, r.ErrorInfo)
	}
}

func TestUnknownPlugin(t *testing.T) {
	d, _ := start(t, worker.New())
	d.send(execute("j", "none", `{}`))
	if r := d.result("j"); r.Status != protocol.StatusError || !strings.Contains(r.Error, `no plugin "none"`) {
		t.Errorf("got %+v", r)
	}
}

func TestMeta(t *testing.T) {
	type seen struct {
		ID, Plugin, Traceparent, Metadata string
		Streaming, Deadline               bool
	}
	w := worker.New()
	look := func(ctx context.Context, job *worker.Job) (any, error) {
		until, ok := ctx.Deadline()
		if left := time.Until(until); ok && (left > time.Hour || left < time.Hour-deadline) {
			return nil, fmt.Errorf("%s are left", left)
		}
		return seen{job.ID(), job.Plugin(), job.Traceparent(), string(job.Metadata()), job.Streaming(), ok}, nil
	}
	w.Func("look", look)
	w.Func("glance", look, worker.Inline())
	d, _ := start(t, w)
	meta := json.RawMessage(`{"deadline_ms":3600000,"traceparent":"00-a-b-01","metadata":{"k":[1]},"later":1}`)
	for _, test := range []struct {
		execute *protocol.Execute
		want    seen
	}{
		{&protocol.Execute{JobID: "a", PluginName: "look"}, seen{"a", "look", "", "{}", false, false}},
		{&protocol.Execute{JobID: "b", PluginName: "look", Stream: true, Meta: meta}, seen{"b", "look", "00-a-b-01", `{"k":[1]}`, true, true}},
		{&protocol.Execute{JobID: "c", PluginName: "look", Meta: json.RawMessage(`{"deadline_ms":"soon","traceparent":1}`)}, seen{"c", "look", "", "{}", false, false}},
		{&protocol.Execute{JobID: "d", PluginName: "glance", Meta: meta}, seen{"d", "glance", "00-a-b-01", `{"k":[1]}`, false, false}},
	} {
		d.send(test.execute)
		r := d.result(test.execute.JobID)
		var got seen
		if err := json.Unmarshal(r.Data, &got); err != nil || got != test.want {
			t.Errorf("got %+v, %s, want %+v", got, r.Error, test.want)
		}
	}
}

// A context of the job, and those made of it, know the deadline, and leave it to the daemon to end the job then.
func TestDeadlineOfTheJob(t *testing.T) {
	waiting := make(chan error)
	w := worker.New()
	w.Func("wait", func(ctx context.Context, _ *worker.Job) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		if until, ok := ctx.Deadline(); !ok || time.Until(until) > 0 {
			return nil, fmt.Errorf("the deadline is %s", until)
		}
		waiting <- ctx.Err()
		<-ctx.Done()
		return nil, ctx.Err()
	})
	d, _ := start(t, w)
	d.send(&protocol.Execute{JobID: "j", PluginName: "wait", Meta: json.RawMessage(`{"deadline_ms":0}`)})
	if err := <-waiting; err != nil {
		t.Errorf("the context has ended: %v", err)
	}
	d.send(&protocol.Cancel{JobID: "j"})
	if r := d.result("j"); r.Status != protocol.StatusCancelled {
		t.Errorf("got %+v", r)
	}
}

func TestProgressMetricLog(t *testing.T) {
	for _, options := range [][]worker.Option{nil, {worker.Inline()}} {
		w := worker.New()
		w.Func("tell", func(_ context.Context, job *worker.Job) (any, error) {
			job.Progress(0.5, "half")
			job.Progress(math.NaN(), "")
			job.Progress(2, "more")
			job.Metric("seconds", 1.5)
			job.Metric("seconds", math.Inf(1))
			job.Log(slog.LevelDebug-1, "debug")
			job.Log(slog.LevelInfo, "info", "took", time.Second, "err", errMine, slog.Group("g", "n", 1), "bad", func() {})
			job.Log(slog.LevelWarn, "warn", "n", 1, "err", errMine, "took", 2*time.Second, slog.Group("g", "d", time.Minute))
			job.Log(slog.LevelError+1, "error \xff", "odd")
			job.Log(slog.LevelInfo, strings.Repeat("x", 17<<20))
			return nil, nil
		}, options...)
		d, _ := start(t, w)
		d.send(execute("j", "tell", `{}`))
		var got []string
		for {
			m, err := d.next()
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := m.(*protocol.Result); ok {
				break
			}
			body, err := protocol.Encode(m)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(body))
		}
		want := []string{
			`{"type":"progress","job_id":"j","progress":0.5,"message":"half"}`,
			`{"type":"progress","job_id":"j","progress":null}`,
			`{"type":"progress","job_id":"j","progress":null,"message":"more"}`,
			`{"type":"metric","name":"seconds","value":1.5,"job_id":"j"}`,
			`{"type":"log","level":"error","message":"encode metric message: value: json: unsupported value: +Inf"}`,
			`{"type":"log","level":"debug","message":"debug","job_id":"j"}`,
			`{"type":"log","level":"info","message":"info","job_id":"j","fields":{"unencodable":"json: unsupported type: func()"}}`,
			`{"type":"log","level":"warn","message":"warn","job_id":"j","fields":{"err":"mine","g":{"d":"1m0s"},"n":1,"took":"2s"}}`,
			`{"type":"log","level":"error","message":"error ` + "\ufffd" + `","job_id":"j","fields":{"!BADKEY":"odd"}}`,
			`{"type":"log","level":"error","message":"log message of 17825847 bytes is over the limit of 16842752"}`,
		}
		if len(got) != len(want) {
			t.Fatalf("got %d messages, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("got %s\nwant %s", got[i], want[i])
			}
		}
	}
}

func TestBigFrames(t *testing.T) {
	for _, options := range [][]worker.Option{nil, {worker.Inline()}} {
		w := worker.New()
		w.Func("echo", echo, options...)
		d, _ := start(t, w)
		want := `{"text":"` + strings.Repeat("x", 16<<20) + `"}`
		var writing sync.WaitGroup
		for range 2 {
			writing.Go(func() { d.send(execute("big", "echo", want)) })
			if r := d.result("big"); string(r.Data) != want {
				t.Errorf("got %d bytes back, want %d", len(r.Data), len(want))
			}
			writing.Wait()
		}
	}
}

// Many jobs at once, of every kind, over one link; each gets its own answer.
func TestConcurrentJobs(t *testing.T) {
	w := worker.New()
	w.Func("inline", echo, worker.Inline())
	w.Func("echo", echo)
	w.Stream("letters", letters)
	d, _ := start(t, w)
	const jobs = 600
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := range jobs {
			id := fmt.Sprintf("j%d", i)
			switch i % 3 {
			case 0:
				d.send(execute(id, "inline", fmt.Sprintf(`{"n":%d}`, i)))
			case 1:
				d.send(execute(id, "echo", fmt.Sprintf(`{"n":%d}`, i)))
			case 2:
				d.send(stream(id, "letters", fmt.Sprintf(`{"text":"%d"}`, i)))
			}
		}
	})
	texts := map[string]string{}
	for answered := 0; answered < jobs; {
		m, err := d.next()
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *protocol.StreamChunk:
			texts[m.JobID] += strings.Trim(string(m.Chunk), `"`)
		case *protocol.Result:
			answered++
			var i int
			if _, err := fmt.Sscanf(m.JobID, "j%d", &i); err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf(`{"n":%d}`, i)
			if i%3 == 2 {
				want = `{"streamed":true}`
				if texts[m.JobID] != fmt.Sprint(i) {
					t.Errorf("job %d streamed %q", i, texts[m.JobID])
				}
			}
			if string(m.Data) != want {
				t.Errorf("job %d: got %s, want %s", i, m.Data, want)
			}
		default:
			t.Errorf("got %+v", m)
		}
	}
	writing.Wait()
}

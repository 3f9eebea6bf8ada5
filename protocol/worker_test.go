package protocol_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"supervisord/protocol"
)

// proseWorker starts the worker that PROTOCOL.md shows. Its pipes are fds 3 and 4, as the daemon gives them.
func proseWorker(t *testing.T) (requests *os.File, answers *protocol.FrameReader, wait func() error) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	text, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	source := regexp.MustCompile("(?s)\n```python worker\n(.*?)\n```\n").FindSubmatch(text)
	if source == nil {
		t.Fatal("PROTOCOL.md shows no worker")
	}
	if lines := strings.Count(string(source[1]), "\n"); lines > 45 {
		t.Errorf("the minimal worker has %d lines", lines)
	}
	script := filepath.Join(t.TempDir(), "worker.py")
	if err := os.WriteFile(script, source[1], 0o600); err != nil {
		t.Fatal(err)
	}
	theirRequests, requests := pipe(t)
	ourAnswers, theirAnswers := pipe(t)
	cmd := exec.CommandContext(t.Context(), python, script)
	cmd.ExtraFiles = []*os.File{theirRequests, theirAnswers}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var waited bool
	wait = func() error {
		waited = true
		return cmd.Wait()
	}
	t.Cleanup(func() {
		if !waited {
			_ = cmd.Wait() // killed by the context of the test
		}
	})
	// Only the worker holds its ends from here on, so that its end is seen.
	for _, f := range cmd.ExtraFiles {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(time.Minute) // only ends what hangs
	if err := errors.Join(requests.SetWriteDeadline(deadline), ourAnswers.SetReadDeadline(deadline)); err != nil {
		t.Fatal(err)
	}
	return requests, protocol.NewFrameReader(ourAnswers, 1<<20), wait
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = r.Close(), w.Close() // the worker's ends are closed already
	})
	return r, w
}

func send(t *testing.T, to *os.File, m protocol.Message) {
	t.Helper()
	payload, err := protocol.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := protocol.WriteFrame(to, payload); err != nil {
		t.Fatal(err)
	}
}

// TestProseWorker: the worker of PROTOCOL.md lives through everything that the daemon sends.
func TestProseWorker(t *testing.T) {
	requests, answers, wait := proseWorker(t)
	large := strings.Repeat("ß", 200<<10) // more than a pipe holds
	for _, step := range []struct {
		send protocol.Message
		want protocol.Message
	}{
		{
			&protocol.Init{PluginConfigs: nil, Protocol: 1, Pool: "p", Worker: "p/0", Incarnation: 1, MaxMessage: 1 << 20},
			&protocol.Ready{LoadedPlugins: []string{"shout"}},
		},
		{
			&protocol.Execute{JobID: "1", PluginName: "shout", Params: []byte(`{"text":"hé","times":2}`)},
			&protocol.Result{JobID: "1", Status: protocol.StatusSuccess, Data: []byte(`{"text": "H\u00c9H\u00c9"}`)},
		},
		{
			&protocol.Execute{JobID: "2", PluginName: "shout", Stream: true, Params: []byte(`{"text":"` + large + `"}`)},
			&protocol.Result{JobID: "2", Status: protocol.StatusSuccess, Data: []byte(`{"text": "` + strings.Repeat("SS", 200<<10) + `"}`)},
		},
		{
			&protocol.Execute{JobID: "3", PluginName: "shout", Params: []byte(`{"text":7}`)},
			&protocol.Result{JobID: "3", Status: protocol.StatusError, Error: "AttributeError: 'int' object has no attribute 'upper'"},
		},
		{
			&protocol.Execute{JobID: "4", PluginName: "whisper"},
			&protocol.Result{JobID: "4", Status: protocol.StatusError, Error: "KeyError: 'whisper'"},
		},
		{
			&protocol.Reload{PluginName: "shout", Config: []byte(`{}`)},
			&protocol.Response{RequestType: protocol.TypeReload, Status: protocol.StatusSuccess, PluginName: "shout"},
		},
		{
			&protocol.Unload{PluginName: "shout"},
			&protocol.Response{RequestType: protocol.TypeUnload, Status: protocol.StatusSuccess, PluginName: "shout"},
		},
		{&protocol.GetState{}, &protocol.State{LoadedPlugins: []string{"shout"}}},
	} {
		send(t, requests, step.send)
		payload, err := answers.Next()
		if err != nil {
			t.Fatalf("after %s: %v", step.send.MessageType(), err)
		}
		got, err := protocol.Decode(payload)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, step.want) {
			t.Fatalf("after %s: %.300q\nwant %+v", step.send.MessageType(), payload, step.want)
		}
	}
	send(t, requests, &protocol.Stop{})
	if err := wait(); err != nil {
		t.Errorf("after stop: %v", err)
	}
}

func TestProseWorkerLeavesAtTheEnd(t *testing.T) {
	requests, _, wait := proseWorker(t)
	if err := requests.Close(); err != nil {
		t.Fatal(err)
	}
	if err := wait(); err != nil {
		t.Errorf("after the end of fd 3: %v", err)
	}
}

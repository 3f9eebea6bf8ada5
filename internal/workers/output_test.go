package workers

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"supervisord/protocol"
)

// What a worker writes can make no second line in any encoding, and no bytes that a terminal obeys.
func TestOutputCannotForgeLines(t *testing.T) {
	evil := "a\r\x1b[2J\tb\x00\u2028{\"level\":\"error\"}"
	for name, encoder := range map[string]zapcore.Encoder{
		"console": zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()),
		"json":    zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()),
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			o := &output{log: zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&b), zap.DebugLevel)), job: func() string { return "j1" }}
			o.line("stdout", evil, false)
			o.message(protocol.LevelError, "x\ny"+evil, "j\n1", json.RawMessage("{\n\"a\":1}"))
			o.metric("n\n"+evil, 1.5, "")
			if lines := strings.Count(b.String(), "\n"); lines != 3 {
				t.Errorf("%d lines: %q", lines, b.String())
			}
			if strings.ContainsAny(b.String(), "\r\x1b\x00") {
				t.Errorf("raw control characters: %q", b.String())
			}
		})
	}
}

// Lines are cut, and the last one counts without its newline.
func TestOutputLines(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	o := &output{log: zap.New(core), job: func() string { return "" }}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.read(r, "stderr")
	}()
	long := strings.Repeat("x", 3*maxLine)
	for _, s := range []string{"one\r\n", "\n", long + "\n", long[:maxLine] + "\n", "bad \xff\n", "last"} {
		if _, err := w.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	<-done
	var got []string
	for _, e := range logs.All() {
		m := e.ContextMap()
		text := m["text"].(string)
		if len(text) > 100 {
			text = text[:1] + "..."
		}
		if m["truncated"] == true {
			text += " truncated"
		}
		got = append(got, text)
	}
	if want := "one||x... truncated|x...|bad \ufffd|last"; strings.Join(got, "|") != want {
		t.Errorf("lines %q, want %s", got, want)
	}
	tail := o.stderrTail()
	if len(tail) == 0 || tail[len(tail)-1] != "last" {
		t.Errorf("tail %.50q", tail)
	}
}

func TestStderrTailIsBounded(t *testing.T) {
	o := &output{}
	for range 100 {
		o.keep("short")
	}
	if n := len(o.stderrTail()); n != tailLines {
		t.Errorf("%d lines", n)
	}
	o.keep(strings.Repeat("é", tailBytes))
	if tail := o.stderrTail(); len(tail) != 1 || len(tail[0]) > tailBytes || strings.Trim(tail[0], "é") != "" {
		t.Errorf("%d lines, %d bytes", len(tail), len(tail[0]))
	}
}

// Over the rate, lines are counted instead of logged, and the count is told.
func TestOutputRate(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	o := &output{log: zap.New(core), job: func() string { return "" }, window: time.Now()}
	for range lineRate + 7 {
		o.line("stdout", "x", false)
	}
	o.close()
	if n := logs.FilterMessage("worker output").Len(); n > lineRate {
		t.Errorf("%d lines", n)
	}
	told := logs.FilterMessage("worker output dropped").All()
	if len(told) != 1 {
		t.Errorf("told %d times", len(told))
	}
}

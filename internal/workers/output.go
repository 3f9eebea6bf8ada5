package workers

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"supervisord/internal/outq"
	"supervisord/protocol"
)

const (
	maxLine   = 8 << 10 // longer lines are cut
	tailBytes = 4 << 10
	tailLines = 20
	lineRate  = 200 // lines a second for each worker; the rest is counted
)

// output turns what a process says, on stdout and stderr or in log messages, into log lines, and keeps the last lines of
// stderr. What it said stands in fields alone: encoders escape those, and not all escape the message.
type output struct {
	log *zap.Logger
	job func() string // the id of the one job that runs now, else ""

	mu      sync.Mutex
	tail    []string
	size    int
	window  time.Time
	lines   int
	dropped int
}

// read logs the lines of one stream until it ends. It never stops reading before: a worker must not block on its output.
func (o *output) read(f *os.File, stream string) {
	source := outq.NewSource(f, func() error { return nil })
	source.Rest(maxPipe) // the last line counts, however late it is read
	r := bufio.NewReaderSize(source, 2*maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			line = bytes.TrimRight(line, "\r\n")
			long := len(line) > maxLine
			if long {
				line = line[:maxLine]
			}
			o.line(stream, strings.ToValidUTF8(string(line), "\ufffd"), long)
		}
		for errors.Is(err, bufio.ErrBufferFull) { // pass over the rest of the line
			_, err = r.ReadSlice('\n')
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, os.ErrClosed) {
				o.log.Warn("reading worker output", zap.String("stream", stream), zap.Error(err))
			}
			return
		}
	}
}

func (o *output) line(stream, text string, long bool) {
	if stream == "stderr" {
		o.keep(text)
	}
	if !o.allow() {
		return
	}
	fields := []zap.Field{zap.String("stream", stream), zap.String("text", text)}
	if job := o.job(); job != "" {
		fields = append(fields, zap.String("job", job))
	}
	if long {
		fields = append(fields, zap.Bool("truncated", true))
	}
	o.log.Info("worker output", fields...)
}

// message logs a log message. Its fields are shown as the JSON text that they are.
func (o *output) message(level, text, job string, extra json.RawMessage) {
	if !o.allow() {
		return
	}
	fields := []zap.Field{zap.String("text", cut(text, maxLine))}
	if job != "" {
		fields = append(fields, zap.String("job", job))
	}
	if len(extra) > 0 && len(extra) <= maxLine {
		fields = append(fields, zap.ByteString("fields", extra))
	}
	if len(text) > maxLine || len(extra) > maxLine {
		fields = append(fields, zap.Bool("truncated", true))
	}
	o.log.Log(zapLevel(level), "worker log", fields...)
}

func (o *output) metric(name string, value float64, job string) {
	if !o.log.Core().Enabled(zapcore.DebugLevel) || !o.allow() {
		return
	}
	o.log.Debug("worker metric", zap.String("name", cut(name, maxReason)), zap.Float64("value", value), zap.String("job", job))
}

// zapLevel is info for what is no level of the protocol.
func zapLevel(level string) zapcore.Level {
	switch level {
	case protocol.LevelDebug:
		return zapcore.DebugLevel
	case protocol.LevelWarn:
		return zapcore.WarnLevel
	case protocol.LevelError:
		return zapcore.ErrorLevel
	}
	return zapcore.InfoLevel
}

// allow takes one line from the rate. It reports false, and counts, when there is none left.
func (o *output) allow() bool {
	now := time.Now()
	o.mu.Lock()
	dropped := 0
	if now.Sub(o.window) >= time.Second {
		dropped = o.dropped
		o.window, o.lines, o.dropped = now, 0, 0
	}
	o.lines++
	ok := o.lines <= lineRate
	if !ok {
		o.dropped++
	}
	o.mu.Unlock()
	o.logDropped(dropped)
	return ok
}

func (o *output) logDropped(lines int) {
	if lines > 0 {
		o.log.Warn("worker output dropped", zap.Int("lines", lines))
	}
}

// close logs what was counted and not yet told.
func (o *output) close() {
	o.mu.Lock()
	dropped := o.dropped
	o.dropped = 0
	o.mu.Unlock()
	o.logDropped(dropped)
}

func (o *output) keep(text string) {
	if over := len(text) - tailBytes; over > 0 {
		text = strings.ToValidUTF8(text[over:], "")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = append(o.tail, text)
	o.size += len(text)
	for len(o.tail) > tailLines || o.size > tailBytes {
		o.size -= len(o.tail[0])
		o.tail = o.tail[1:]
	}
}

// stderrTail is the last lines of stderr, oldest first.
func (o *output) stderrTail() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.tail...)
}

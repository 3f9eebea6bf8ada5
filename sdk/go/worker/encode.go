package worker

import (
	"bytes"
	"encoding/json"
	"log/slog"

	"supervisord/protocol"
	"supervisord/protocol/jsonscan"
)

// payload is a JSON value on its way into a frame: raw bytes, or text that needs no escapes.
type payload struct {
	raw  []byte
	text string
}

func (p payload) append(b []byte) []byte {
	if p.raw != nil {
		return append(b, p.raw...)
	}
	return append(append(append(b, '"'), p.text...), '"')
}

// longest is how many bytes a payload may have at all. The daemon's limit is far below, and costs the job alone; a
// length that does not fit the frame's header would cost the process.
const longest = 1 << 31

// encode encodes v. All bytes but those of plain text are validated, since one wrong frame would cost the whole process:
// json.Marshal lets a json.RawMessage inside of v pass with bytes that are not UTF-8, and nests deeper than a frame may.
func encode(v any) (payload, error) {
	raw, isRaw := v.(json.RawMessage)
	if s, ok := v.(string); ok && plain(s) && len(s) < longest {
		return payload{text: s}, nil
	}
	if !isRaw || raw == nil {
		var err error
		if raw, err = json.Marshal(v); err != nil {
			return payload{}, Errorf(Fatal, "the plugin gave a value that is not JSON: %w", err)
		}
	}
	if len(raw) >= longest {
		return payload{}, Errorf(Resource, "the plugin gave a value of %d bytes, more than one message can hold", len(raw))
	}
	if err := validate(raw); err != nil {
		return payload{}, Errorf(Fatal, "the plugin gave a value that cannot be sent: %w", err)
	}
	return payload{raw: raw}, nil
}

// validate reports why v is not one JSON value. Unlike jsonscan.Object.Scan it records no members and so allocates nothing.
func validate(v []byte) error {
	var s jsonscan.Scanner
	s.Reset(protocol.MaxDepth-1, nil, nil)
	end, status := s.Scan(v, 0)
	if status == jsonscan.More {
		status = s.AtEnd()
		end = len(v)
	}
	if status == jsonscan.Done && len(bytes.TrimLeft(v[end:], " \t\r\n")) > 0 {
		return &jsonscan.SyntaxError{Offset: end, Reason: "bytes after the value"}
	}
	if status == jsonscan.Invalid {
		if err := s.Err(); err != nil {
			return err
		}
		return &jsonscan.SyntaxError{Offset: end, Reason: "unexpected end"}
	}
	return nil
}

// plain reports whether s stands between quotes as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return true
}

// text is the value of a raw JSON string, empty for anything else.
func text(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	s, err := jsonscan.Unquote(raw[1 : len(raw)-1])
	if err != nil {
		return "" // cannot be: the frame around it was scanned
	}
	return s
}

// sameBytes reports whether a and b are the same memory, so that what was scanned once need not be again.
func sameBytes(a, b []byte) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}

// share is a fraction as the protocol has it: nil where unknown.
func share(fraction float64) *float64 {
	if fraction >= 0 && fraction <= 1 {
		return &fraction
	}
	return nil
}

// logFields makes one object of the arguments of a log call.
func logFields(args []any) json.RawMessage {
	if len(args) == 0 {
		return nil
	}
	var r slog.Record
	r.Add(args...)
	fields := make(map[string]any, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		fields[a.Key] = attrValue(a.Value)
		return true
	})
	encoded, err := json.Marshal(fields)
	if err != nil {
		encoded, _ = json.Marshal(map[string]string{"unencodable": err.Error()}) // strings always can
	}
	return encoded
}

func levelName(level slog.Level) string {
	switch {
	case level < slog.LevelInfo:
		return protocol.LevelDebug
	case level < slog.LevelWarn:
		return protocol.LevelInfo
	case level < slog.LevelError:
		return protocol.LevelWarn
	}
	return protocol.LevelError
}

// attrValue makes what encoding/json would write as {} (an error) or as a number (a duration) readable.
func attrValue(v slog.Value) any {
	v = v.Resolve()
	if v.Kind() == slog.KindDuration {
		return v.Duration().String()
	}
	if v.Kind() == slog.KindGroup {
		group := make(map[string]any, len(v.Group()))
		for _, a := range v.Group() {
			group[a.Key] = attrValue(a.Value)
		}
		return group
	}
	if err, ok := v.Any().(error); ok {
		return err.Error()
	}
	return v.Any()
}

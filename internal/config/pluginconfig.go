package config

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pluginConfig turns a plugin's config into JSON by itself, since every decoder at hand would lose something of it: the
// order and case of members, integers beyond 64 bits, or whether a number was written as an integer.
func (d *document) pluginConfig(n *yaml.Node, path string) json.RawMessage {
	if n.Kind != yaml.MappingNode {
		d.report(path, n.Line, "want keys and values, got %s", describe(n))
		return json.RawMessage("{}")
	}
	w := jsonWriter{document: d, path: path}
	w.object(n)
	return w.out.Bytes()
}

// jsonWriter writes valid JSON whatever it is given; what JSON cannot say is reported and written as null.
type jsonWriter struct {
	document *document
	out      bytes.Buffer
	// path is the config's own; steps lead from there to the node at hand. They are joined only when there is something
	// to report, since keys can be long and many.
	path  string
	steps []step
}

// step is a member's key, or in a list (no key) an element's number.
type step struct {
	key   *yaml.Node
	index int
}

func (w *jsonWriter) report(line int, format string, args ...any) {
	path := w.path
	for _, s := range w.steps {
		if s.key != nil {
			path = join(path, shown(s.key.Value))
		} else {
			path = index(path, s.index)
		}
	}
	w.document.report(path, line, format, args...)
}

// in writes n, which is one step further down.
func (w *jsonWriter) in(s step, n *yaml.Node) {
	w.steps = append(w.steps, s)
	w.value(n)
	w.steps = w.steps[:len(w.steps)-1]
}

func (w *jsonWriter) value(n *yaml.Node) {
	switch tag := n.ShortTag(); tag {
	case "!!map":
		w.object(n)
	case "!!seq":
		w.out.WriteByte('[')
		for i, c := range n.Content {
			if i > 0 {
				w.out.WriteByte(',')
			}
			w.in(step{index: i}, c)
		}
		w.out.WriteByte(']')
	case "!!str", "!!timestamp", "!!merge":
		// JSON has no time: a date reaches the worker as the text that was written. As a value, << is text.
		w.text(n.Value)
	case "!!bool":
		value, err := parseScalar(kindBool, n.Value)
		if err != nil {
			w.report(n.Line, "%v", err)
			value = false
		}
		w.out.WriteString(strconv.FormatBool(value == true))
	case "!!int", "!!float":
		text, ok := jsonNumber(n)
		switch {
		case leadingZero.MatchString(n.Value):
			w.report(n.Line, "%s is octal for some readers and not for others: leave the zeros out, write 0o for octal, or quotes for text",
				quote(n.Value))
		case !ok:
			w.report(n.Line, "%s is no number that JSON has", quote(n.Value))
		}
		w.out.WriteString(text)
	default: // "!!null", since parse lets no other pass
		w.out.WriteString("null")
	}
}

func (w *jsonWriter) object(n *yaml.Node) {
	seen := make(map[string]int, len(n.Content)/2)
	w.out.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		// A number or a bool as key is its text, as JSON has no other keys.
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null" {
			w.report(key.Line, "a key is plain text, got %s", describe(key))
			continue
		}
		if line, twice := seen[key.Value]; twice {
			w.report(key.Line, "%s is given twice, first in line %d", shown(key.Value), line)
			continue
		}
		if len(seen) > 0 {
			w.out.WriteByte(',')
		}
		seen[key.Value] = key.Line
		w.text(key.Value)
		w.out.WriteByte(':')
		w.in(step{key: key}, value)
	}
	w.out.WriteByte('}')
}

// text writes a JSON string, leaving <, > and & as they are.
func (w *jsonWriter) text(s string) {
	encoder := json.NewEncoder(&w.out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(s) // a string into memory: nothing can fail
	w.out.Truncate(w.out.Len() - 1)
}

var (
	jsonNumberForm = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	leadingZero    = regexp.MustCompile(`^[-+]?0[0-9_]`)
)

// jsonNumber writes a YAML number as JSON: as it stands where JSON has that form, which keeps big integers and 1.50,
// and else (hexadecimal, octal, +1, .5, 1_000) by its value. For what is no number it returns null and false.
func jsonNumber(n *yaml.Node) (string, bool) {
	isFloat := n.ShortTag() == "!!float"
	if jsonNumberForm.MatchString(n.Value) {
		if isFloat && n.Style&yaml.TaggedStyle != 0 && !strings.ContainsAny(n.Value, ".eE") {
			return n.Value + ".0", true
		}
		return n.Value, true
	}
	text := strings.ReplaceAll(n.Value, "_", "")
	if !isFloat {
		i, ok := new(big.Int).SetString(text, 0)
		if !ok {
			return "null", false
		}
		return i.String(), true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return "null", false
	}
	out := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(out, ".e") {
		out += ".0"
	}
	return out, true
}

package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxElements is how long a list may be. Only the lists in a plugin's config may be longer.
	maxElements = 4096
	// maxProblems is how many problems of a file are told.
	maxProblems = 200
)

// document is a file that was checked against the types: what it says in plain values, and where.
type document struct {
	// values holds maps, lists and scalars of the fields' own types; faulty ones are left out, or empty within a list so
	// that the others keep their index. The config of plugins is not in it.
	values map[string]any
	// configs holds the config of plugins as JSON, by the plugin's path.
	configs map[string]json.RawMessage
	// lines holds the line of every path that the file names.
	lines map[string]int
	// counts holds the paths of amounts that were written without unit.
	counts map[string]bool
	// faulty holds paths whose value is not the user's, so that no further problem is seen in what stands in for it.
	faulty map[string]bool
	// meant holds the paths of known keys that an unknown one was perhaps meant to be.
	meant []string
	// parsed is false when the file could not be taken apart at all.
	parsed   bool
	problems []Problem
}

// check reads a file's bytes against the types.
func check(data []byte) *document {
	d := &document{
		values:  map[string]any{},
		configs: map[string]json.RawMessage{},
		lines:   map[string]int{},
		counts:  map[string]bool{},
		faulty:  map[string]bool{},
	}
	root, problems := parse(data)
	if root == nil {
		d.problems = problems
		return d
	}
	d.parsed = true
	d.values = d.section(root, reflect.TypeFor[Config](), "")
	for _, path := range d.meant {
		if _, given := d.lines[path]; !given {
			d.faulty[path] = true
		}
	}
	if _, ok := d.lines["version"]; !ok && !d.faulty["version"] {
		d.report("version", 1, "missing: write version: 1")
	}
	return d
}

func (d *document) report(path string, line int, format string, args ...any) {
	d.faulty[path] = true
	d.problems = append(d.problems, Problem{Path: path, Line: line, Message: fmt.Sprintf(format, args...)})
}

// section reads a mapping against a struct.
func (d *document) section(n *yaml.Node, t reflect.Type, path string) map[string]any {
	values := map[string]any{}
	fields := fieldsOf(t)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
			d.report(join(path, shown(key.Value)), key.Line, "a key is plain text, got %s", describe(key))
			continue
		}
		at := join(path, shown(key.Value))
		field, known := fields[key.Value]
		if !known {
			d.unknownKey(path, key, t)
			continue
		}
		if line, twice := d.lines[at]; twice {
			d.report(at, key.Line, "given twice, first in line %d", line)
			continue
		}
		d.lines[at] = key.Line
		if v, ok := d.value(value, field, at, path); ok {
			values[key.Value] = v
		}
	}
	return values
}

// unknownKey reports a key that the section of type t has not, with the one that was probably meant.
func (d *document) unknownKey(path string, key *yaml.Node, t reflect.Type) {
	at := join(path, shown(key.Value))
	if len(d.problems) >= maxProblems {
		// Nobody will see it: the search for what was meant is spared. It may have been the key that matters most.
		d.report(at, key.Line, "unknown key")
		d.meant = append(d.meant, "access")
		return
	}
	names := make([]string, 0, t.NumField())
	for f := range t.Fields() {
		if keyOf(f) != "-" {
			names = append(names, keyOf(f))
		}
	}
	if near := nearest(key.Value, names); near != "" {
		d.report(at, key.Line, "unknown key; did you mean %s?", near)
		d.meant = append(d.meant, join(path, near))
		return
	}
	for _, k := range Keys() {
		if k == key.Value || strings.HasSuffix(k, "."+key.Value) {
			d.report(at, key.Line, "unknown key here; there is %s", k)
			d.meant = append(d.meant, k)
			return
		}
	}
	d.report(at, key.Line, "unknown key; known here: %s", strings.Join(names, ", "))
	if path == "" {
		// It could be anything, and be it rules of access.
		d.meant = append(d.meant, "access")
	}
}

// value reads what a key has; false when there is nothing to keep.
func (d *document) value(n *yaml.Node, f reflect.StructField, path, parent string) (any, bool) {
	if f.Type == reflect.TypeFor[json.RawMessage]() {
		if n.ShortTag() != "!!null" {
			d.configs[parent] = d.pluginConfig(n, path)
		}
		return nil, false
	}
	if k, ok := kindOf(f); ok {
		return d.scalar(n, k, path)
	}
	if n.ShortTag() == "!!null" {
		return nil, false
	}
	if f.Type.Kind() == reflect.Struct {
		if n.ShortTag() != "!!map" {
			d.report(path, n.Line, "want keys and values, got %s", describe(n))
			return nil, false
		}
		return d.section(n, f.Type, path), true
	}
	if n.ShortTag() != "!!seq" {
		d.report(path, n.Line, "want a list%s, got %s", listHint(n, f), describe(n))
		return nil, false
	}
	return d.list(n, f.Type.Elem(), path), true
}

// listHint shows the list that was probably meant.
func listHint(n *yaml.Node, f reflect.StructField) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return `, each element beginning with "- "`
	case n.Kind != yaml.ScalarNode || f.Type.Elem().Kind() != reflect.String || len(n.Value) > 80:
		return ""
	case keyOf(f) == "command":
		return fmt.Sprintf(" of the program and its arguments (no shell is involved), such as [%s]",
			strings.Join(strings.Fields(n.Value), ", "))
	default:
		return fmt.Sprintf(", such as [%s]", n.Value)
	}
}

// list reads a sequence; a faulty element stays as an empty one.
func (d *document) list(n *yaml.Node, elem reflect.Type, path string) []any {
	if len(n.Content) > maxElements {
		d.report(path, n.Line, "has %d elements; a list has at most %d", len(n.Content), maxElements)
		return nil
	}
	values := make([]any, len(n.Content))
	for i, c := range n.Content {
		at := index(path, i)
		d.lines[at] = c.Line
		if elem.Kind() == reflect.String {
			values[i] = ""
			if v, ok := d.scalar(c, kindText, at); ok {
				values[i] = v
			}
			continue
		}
		if c.ShortTag() != "!!map" {
			d.report(at, c.Line, "want keys and values, got %s", describe(c))
			values[i] = map[string]any{}
			continue
		}
		values[i] = d.section(c, elem, at)
	}
	return values
}

// scalar reads one value of kind k.
func (d *document) scalar(n *yaml.Node, k kind, path string) (any, bool) {
	if n.Kind != yaml.ScalarNode {
		d.report(path, n.Line, "want %s, got %s", example[k], describe(n))
		return nil, false
	}
	tag := n.ShortTag()
	if tag == "!!null" {
		d.report(path, n.Line, "has no value: give it one (%s), or leave it out", example[k])
		return nil, false
	}
	if !tagFits(tag, k) {
		_, err := parseScalar(k, n.Value)
		switch {
		case k == kindText:
			d.report(path, n.Line, "want text: write it in quotes, %s", quote(n.Value))
		case tag == "!!str" && err == nil:
			d.report(path, n.Line, "want %s: write it without quotes, %s", example[k], n.Value)
		default:
			d.report(path, n.Line, "want %s, got %s", example[k], describe(n))
		}
		return nil, false
	}
	v, err := parseScalar(k, n.Value)
	if err != nil {
		d.report(path, n.Line, "%v", err)
		return nil, false
	}
	if k == kindAmount && isCount(n.Value) {
		d.counts[path] = true
	}
	return v, true
}

// tagFits tells whether what YAML took a scalar for can be a value of kind k.
func tagFits(tag string, k kind) bool {
	switch k {
	case kindText:
		return tag == "!!str"
	case kindBool:
		return tag == "!!bool"
	case kindInt:
		return tag == "!!int"
	case kindFloat:
		return tag == "!!int" || tag == "!!float"
	case kindDuration, kindSize, kindAmount:
		// Numbers too: the parser's message says what unit to write.
		return tag == "!!str" || tag == "!!int" || tag == "!!float"
	}
	return false
}

// isFaulty reports whether path, or a section or list that it is in, has a value that is not the user's.
func (d *document) isFaulty(path string) bool {
	for ; path != ""; path = parentOf(path) {
		if d.faulty[path] {
			return true
		}
	}
	return false
}

// line returns the line of path, else of a value that its own follows from, else of the nearest thing around it that
// the file names.
func (d *document) line(path string, related []string) int {
	for _, at := range append([]string{path}, related...) {
		if line, ok := d.lines[at]; ok {
			return line
		}
	}
	for ; path != ""; path = parentOf(path) {
		if line, ok := d.lines[path]; ok {
			return line
		}
	}
	return 0
}

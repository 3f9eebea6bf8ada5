package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDepth bounds nesting, which also ends an alias that contains itself.
	maxDepth = 100
	// maxNodes bounds how many keys, values and lists a file has, those counted that aliases stand for: a few lines must
	// not stand for millions, and a file of nothing but brackets must not take minutes.
	maxNodes = 250_000
)

// tags are the types that a value may be declared to have; what is written without one gets it from its form.
var tags = map[yaml.Kind][]string{
	yaml.MappingNode:  {"!!map"},
	yaml.SequenceNode: {"!!seq"},
	yaml.ScalarNode:   {"!!str", "!!int", "!!float", "!!bool"},
}

// parse reads the one document of a file. Its root is a mapping without aliases and merge keys; nil when there are
// problems.
func parse(data []byte) (*yaml.Node, []Problem) {
	const shortest = "the file is empty; the shortest valid one is: version: 1"
	if bad := badText(data); bad != nil {
		return nil, []Problem{*bad}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, []Problem{{Line: 1, Message: shortest}}
	} else if err != nil {
		return nil, []Problem{syntaxProblem(err, data)}
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		return nil, []Problem{{Line: second.Line, Message: "a second document begins here; a configuration is one document"}}
	} else if !errors.Is(err, io.EOF) {
		return nil, []Problem{syntaxProblem(err, data)}
	}
	var e expander
	root := e.expand(document.Content[0], 0)
	switch {
	case e.problem != nil:
		return nil, []Problem{*e.problem}
	case root.ShortTag() == "!!null":
		return nil, []Problem{{Line: 1, Message: shortest}}
	case root.ShortTag() != "!!map":
		return nil, []Problem{{Line: root.Line, Message: "want keys and values at the top, got " + describe(root)}}
	}
	return root, nil
}

// badText finds the first byte that is no text. The parser would refuse it, too, but does not say in which line. Text in
// UTF-16 is left to the parser, which reads it.
func badText(data []byte) *Problem {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil
	}
	line := 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == '\n':
			line++
		case r == utf8.RuneError && n == 1:
			return &Problem{Line: line, Message: fmt.Sprintf("not text in UTF-8: byte 0x%02X", data[i])}
		case unicode.IsControl(r) && !strings.ContainsRune("\t\r\u0085", r), r == '\ufffe', r == '\uffff':
			return &Problem{Line: line, Message: fmt.Sprintf("control character U+%04X; in double quotes it can be written as \\u%04X", r, r)}
		}
		i += n
	}
	return nil
}

var (
	syntaxLine    = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.+)' referenced$`)
	// inBlock are the messages of the parser proper, which counts lines from 0, and gives that of the mapping or list
	// around the fault unless it begins in the first line; all others are its scanner's, which gives the fault's, from 1.
	inBlock = regexp.MustCompile(`^did not find expected (key|'-' indicator|',' or|node content|<)`)
)

var tabIndent = regexp.MustCompile(`^ *\t`)

// lineOf returns a line of data, counted from 1.
func lineOf(data []byte, number int) []byte {
	for line := range bytes.Lines(data) {
		if number--; number <= 0 {
			return line
		}
	}
	return nil
}

// syntaxProblem makes the best of the line in a YAML error.
func syntaxProblem(err error, data []byte) Problem {
	text, line := err.Error(), 0
	if m := syntaxLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		line, _ = strconv.Atoi(m[1]) // digits or nothing
	}
	if m := unknownAnchor.FindStringSubmatch(text); m != nil {
		line = bytes.Count(data[:max(bytes.Index(data, []byte("*"+m[1])), 0)], []byte("\n"))
	}
	if strings.Contains(text, "cannot start any token") && tabIndent.Match(lineOf(data, line)) {
		text = "indented with a tab; YAML takes spaces alone"
	}
	if inBlock.MatchString(text) {
		line++
		text += ", here or in what begins here"
	}
	return Problem{Line: max(line, 1), Message: "not valid YAML: " + text}
}

// expander replaces aliases and merge keys by what they stand for. Lines stay those of the text that is copied.
type expander struct {
	nodes   int
	problem *Problem
}

// expand returns n expanded. After a problem it returns early, and the result is of no use. The mappings and lists that
// it returns are new, since the same node may be reached by several aliases.
func (e *expander) expand(n *yaml.Node, depth int) *yaml.Node {
	if e.problem != nil {
		return n
	}
	e.nodes++
	switch {
	case depth > maxDepth:
		e.fail(n, "nested too deep, or an alias that contains itself")
		return n
	case e.nodes > maxNodes:
		e.fail(n, fmt.Sprintf("more than %d values, those counted that aliases stand for", maxNodes))
		return n
	case n.Style&yaml.TaggedStyle != 0 && !slices.Contains(tags[n.Kind], n.ShortTag()):
		e.fail(n, fmt.Sprintf("the tag %s is not supported here", quote(n.Tag)))
		return n
	}
	switch n.Kind {
	case yaml.AliasNode:
		return e.expand(n.Alias, depth+1)
	case yaml.SequenceNode:
		out := *n
		out.Content = make([]*yaml.Node, len(n.Content))
		for i, c := range n.Content {
			out.Content[i] = e.expand(c, depth+1)
		}
		return &out
	case yaml.MappingNode:
		return e.expandMapping(n, depth)
	case yaml.DocumentNode, yaml.ScalarNode:
	}
	return n
}

func (e *expander) fail(n *yaml.Node, message string) {
	e.problem = &Problem{Line: n.Line, Message: message}
}

// expandMapping keeps the mapping's own members, repeated ones too, so that check sees them; what is merged comes after
// them, and gives way to them and to what was merged before.
func (e *expander) expandMapping(n *yaml.Node, depth int) *yaml.Node {
	out := *n
	out.Content = make([]*yaml.Node, 0, len(n.Content))
	var merged []*yaml.Node
	own := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], e.expand(n.Content[i+1], depth+1)
		if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" {
			merged = append(merged, value)
			continue
		}
		key = e.expand(key, depth+1)
		own[key.Value] = true
		out.Content = append(out.Content, key, value)
	}
	for _, source := range merged {
		e.merge(&out, own, source)
	}
	return &out
}

// merge adds those members of source, a mapping or a list of mappings, that into has not; own holds the keys it has.
func (e *expander) merge(into *yaml.Node, own map[string]bool, source *yaml.Node) {
	switch {
	case e.problem != nil:
	case source.Kind == yaml.SequenceNode:
		for _, c := range source.Content {
			e.merge(into, own, c)
		}
	case source.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(source.Content); i += 2 {
			if key := source.Content[i]; !own[key.Value] {
				own[key.Value] = true
				into.Content = append(into.Content, key, source.Content[i+1])
			}
		}
	default:
		e.fail(source, "<< merges a mapping or a list of mappings, got "+describe(source))
	}
}

// describe names what a node is, for messages.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if n.ShortTag() == "!!null" {
			return "nothing"
		}
		return quote(n.Value)
	case yaml.DocumentNode, yaml.AliasNode:
	}
	return "something else"
}

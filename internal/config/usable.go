package config

import (
	"slices"
	"strings"
)

// usableConfig builds what a daemon can run on although the file is not valid.
func usableConfig(d *document, set overrideSet, problems []Problem, path string, o LoadOptions) (*Config, error) {
	rules := usableRules(d, problems)
	for _, key := range []string{"version", "resources", "pools"} {
		delete(d.values, key)
	}
	set = slices.Clone(set)
	drop := func(key string, outside bool) {
		remove(d.values, key)
		if outside {
			set = slices.DeleteFunc(set, func(s override) bool { return s.Key == key })
		}
	}
	for _, p := range problems {
		drop(p.Path, p.Line == 0) // of a value from a flag or variable no line is known
	}
	d.values["access"] = rules // after the problems, which may be with the list as a whole
	for {
		c, err := build(d, set, path, o)
		if err != nil {
			return nil, err
		}
		// What is left can be at odds with a default that has taken a faulty value's place.
		left := findings(c, o.EUID)
		before := len(set) + size(d.values)
		for _, f := range left {
			for _, key := range append(f.related, f.Path) {
				drop(key, true)
			}
		}
		if before == len(set)+size(d.values) {
			if lost(d, set, problems, "socket.mode") || lost(d, set, problems, "socket.group") {
				c.Socket.Mode = "0600"
			}
			expandSelf(c, o.EUID)
			return c, nil
		}
	}
}

// lost reports whether the value that was meant for key is not known.
func lost(d *document, set overrideSet, problems []Problem, key string) bool {
	if _, ok := set.origin(key); ok {
		return false
	}
	return d.isFaulty(key) || slices.ContainsFunc(problems, func(p Problem) bool { return p.Path == key })
}

// usableRules returns the rules of access that have no problem. Where rules were meant and it is not known which, or
// none is left, it is one that allows root and the daemon's own user alone: no rule at all would mean the default, which
// may allow others more than the rules that could not be read.
func usableRules(d *document, problems []Problem) []any {
	rules, _ := d.values["access"].([]any)
	var good []any
	for i, rule := range rules {
		at := index("access", i)
		if !slices.ContainsFunc(problems, func(p Problem) bool { return within(p.Path, at) }) {
			good = append(good, rule)
		}
	}
	if d.faulty["access"] || !d.parsed || len(good) == 0 && len(rules) > 0 {
		good = []any{map[string]any{"users": []any{"root", "@self"}, "methods": []any{"*"}}}
	}
	return good
}

// size counts the values in a map of sections.
func size(values map[string]any) int {
	n := 0
	for _, v := range values {
		n++
		if m, ok := v.(map[string]any); ok {
			n += len(m)
		}
	}
	return n
}

// remove deletes the value at a key of one or two parts.
func remove(values map[string]any, key string) {
	section, rest, ok := strings.Cut(key, ".")
	if !ok {
		delete(values, key)
	} else if m, isMap := values[section].(map[string]any); isMap {
		delete(m, rest)
	}
}

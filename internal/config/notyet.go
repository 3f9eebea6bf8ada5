package config

import (
	"reflect"
	"slices"
)

// notYet names the keys that are read and checked but that nothing acts on so far, as Keys writes them; a list counts as
// one. With =VALUE it is one value of a key whose others work. What makes a key work deletes it here, and the words
// "(not yet)" beside it in config.example.yaml.
var notYet = []string{
	"access[].priority",
	"log.format=journal",
	"metrics.listen",
	"jobs.keep_finished",
	"jobs.keep_for",
	"jobs.keep_bytes",
	"jobs.attach_grace",
	"jobs.store",
	"resources",
	"pools[].plugins[].resources",
	"pools[].plugins[].pin",
	"pools[].plugins[].load",
	"pools[].resources",
}

// NotYet returns a note for each key that has another value than its default and nevertheless no effect in this version,
// in the order of the types, with its line when c was loaded from a file. They are no faults, but their user should hear
// of them: a key that is accepted in silence promises what it says.
func (c *Config) NotYet() []Problem {
	return c.notYetIn(reflect.ValueOf(*c), reflect.ValueOf(*Default()), "", "")
}

// notYetIn looks at the fields of a section at path, which Keys calls key.
func (c *Config) notYetIn(section, defaults reflect.Value, path, key string) []Problem {
	var notes []Problem
	for f, v := range section.Fields() {
		if keyOf(f) == "-" {
			continue
		}
		at, name, fallback := join(path, keyOf(f)), join(key, keyOf(f)), defaults.FieldByIndex(f.Index)
		switch {
		case slices.Contains(notYet, name):
			if !reflect.DeepEqual(canonical(v), canonical(fallback)) {
				notes = append(notes, Problem{Path: at, Line: c.lines[at], Message: "has no effect in this version"})
			}
		case v.Kind() == reflect.Struct:
			notes = append(notes, c.notYetIn(v, fallback, at, name)...)
		case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
			for i := range v.Len() {
				notes = append(notes, c.notYetIn(v.Index(i), defaultElement(v.Type().Elem()), index(at, i), name+"[]")...)
			}
		case v.Kind() == reflect.String && slices.Contains(notYet, name+"="+v.String()):
			notes = append(notes, Problem{Path: at, Line: c.lines[at], Message: quote(v.String()) + " has no effect in this version"})
		}
	}
	return notes
}

// defaultElement returns what an element of a list is before the file's values are laid over it.
func defaultElement(t reflect.Type) reflect.Value {
	switch t {
	case reflect.TypeFor[Pool]():
		return reflect.ValueOf(DefaultPool())
	case reflect.TypeFor[Plugin]():
		return reflect.ValueOf(DefaultPlugin())
	default:
		return reflect.Zero(t)
	}
}

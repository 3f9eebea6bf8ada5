package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"slices"
)

// Digest returns the SHA-256 of the configuration in a canonical form, in hexadecimal. Two files with the same meaning
// have the same digest: it does not depend on the file's path or layout, nor on the order of members in a plugin's
// config; it does on the daemon's version, whose keys and defaults are in it.
func (c *Config) Digest() string {
	data, err := json.Marshal(canonical(reflect.ValueOf(*c)))
	if err != nil {
		panic("config: digest: " + err.Error()) // only of text, numbers and maps
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// canonical returns v as plain values whose JSON has one form.
func canonical(v reflect.Value) any {
	switch {
	case v.Type() == reflect.TypeFor[json.RawMessage]():
		decoder := json.NewDecoder(bytes.NewReader(v.Bytes()))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			return string(v.Bytes()) // nobody's config that was loaded
		}
		return value
	case v.Kind() == reflect.Struct:
		fields := map[string]any{}
		for f, field := range v.Fields() {
			if keyOf(f) != "-" {
				fields[keyOf(f)] = canonical(field)
			}
		}
		return fields
	case v.Kind() == reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = canonical(v.Index(i))
		}
		return list
	default:
		return v.Interface()
	}
}

// Changes says what is different between two configurations. Its lists hold names in the order of the files.
type Changes struct {
	// Settings are the keys outside of the pools whose values differ, such as limits.max_batch, access or resources.
	Settings []string
	// Added and Removed are pools that only the new, or only the old one has.
	Added, Removed []string
	// Restart are pools whose workers must be replaced: command, env, plugins, limits of the process and the like differ.
	Restart []string
	// Tuned are pools whose workers can stay: only timeouts, counts and policies differ.
	Tuned []string
}

// Diff compares two valid configurations.
func Diff(before, after *Config) Changes {
	var c Changes
	diffSettings(reflect.ValueOf(*before), reflect.ValueOf(*after), "", &c.Settings)
	for _, p := range before.Pools {
		if poolNamed(after, p.Name) == nil {
			c.Removed = append(c.Removed, p.Name)
		}
	}
	for i := range after.Pools {
		now := &after.Pools[i]
		was := poolNamed(before, now.Name)
		if was == nil {
			c.Added = append(c.Added, now.Name)
			continue
		}
		restart, tuned := diffPool(reflect.ValueOf(*was), reflect.ValueOf(*now))
		switch {
		case restart:
			c.Restart = append(c.Restart, now.Name)
		case tuned:
			c.Tuned = append(c.Tuned, now.Name)
		}
	}
	return c
}

func poolNamed(c *Config, name string) *Pool {
	i := slices.IndexFunc(c.Pools, func(p Pool) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Pools[i]
}

func diffSettings(before, after reflect.Value, path string, changed *[]string) {
	for f, was := range before.Fields() {
		now := after.FieldByIndex(f.Index)
		at := join(path, keyOf(f))
		switch {
		case keyOf(f) == "-" || at == "pools":
		case f.Type.Kind() == reflect.Struct:
			diffSettings(was, now, at, changed)
		case !reflect.DeepEqual(canonical(was), canonical(now)):
			*changed = append(*changed, at)
		}
	}
}

func diffPool(before, after reflect.Value) (restart, tuned bool) {
	for f, was := range before.Fields() {
		if reflect.DeepEqual(canonical(was), canonical(after.FieldByIndex(f.Index))) {
			continue
		}
		if f.Tag.Get("diff") == "tune" {
			tuned = true
		} else {
			restart = true
		}
	}
	return restart, tuned
}

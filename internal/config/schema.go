package config

import (
	"encoding/json"
	"reflect"
	"strings"
)

// keyOf returns the YAML key of a field, "-" for one that is not in the file.
func keyOf(f reflect.StructField) string { return f.Tag.Get("mapstructure") }

// fieldsOf returns the fields of a section by key.
func fieldsOf(t reflect.Type) map[string]reflect.StructField {
	fields := make(map[string]reflect.StructField, t.NumField())
	for f := range t.Fields() {
		if keyOf(f) != "-" {
			fields[keyOf(f)] = f
		}
	}
	return fields
}

// Keys returns every key that a file may have, in the order of the types; an element of a list is written []:
// version, socket, socket.path, …, pools[].plugins[].name.
func Keys() []string { return keysOf(reflect.TypeFor[Config](), "") }

func keysOf(t reflect.Type, path string) []string {
	var keys []string
	for f := range t.Fields() {
		if keyOf(f) == "-" {
			continue
		}
		at := join(path, keyOf(f))
		keys = append(keys, at)
		switch {
		case f.Type.Kind() == reflect.Struct:
			keys = append(keys, keysOf(f.Type, at)...)
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			keys = append(keys, keysOf(f.Type.Elem(), at+"[]")...)
		}
	}
	return keys
}

// Override says how one value outside of the lists can be set without the file.
type Override struct {
	// Key is the value's path, such as limits.max_message.
	Key string
	// Env is its variable, such as SUPERVISORD_LIMITS_MAX_MESSAGE.
	Env string
	// Flags are the names of its flags, such as limits-max-message. Load looks only at those that the flag set has.
	Flags []string

	kind kind
}

// Overrides lists them all, in the order of the types. Version is none, since it describes the file. The list follows
// from the types, so that no value can be forgotten; each is looked up by its own name.
func Overrides() []Override {
	return overridesOf(reflect.TypeFor[Config](), "")
}

func overridesOf(t reflect.Type, path string) []Override {
	var list []Override
	for f := range t.Fields() {
		at := join(path, keyOf(f))
		if at == "version" || keyOf(f) == "-" {
			continue
		}
		if f.Type.Kind() == reflect.Struct {
			list = append(list, overridesOf(f.Type, at)...)
			continue
		}
		k, scalar := kindOf(f)
		if !scalar {
			continue
		}
		o := Override{
			Key:   at,
			Env:   "SUPERVISORD_" + strings.ToUpper(strings.ReplaceAll(at, ".", "_")),
			Flags: []string{strings.NewReplacer(".", "-", "_", "-").Replace(at)},
			kind:  k,
		}
		if at == "socket.path" {
			o.Flags = append(o.Flags, "socket")
		}
		list = append(list, o)
	}
	return list
}

// eachScalar calls visit for every scalar in v, elements of text lists included, with its path.
func eachScalar(v reflect.Value, path string, visit func(path string, v reflect.Value)) {
	if v.Type() == reflect.TypeFor[json.RawMessage]() {
		return
	}
	//exhaustive:ignore
	switch v.Kind() {
	case reflect.Struct:
		for f, field := range v.Fields() {
			if keyOf(f) != "-" {
				eachScalar(field, join(path, keyOf(f)), visit)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachScalar(v.Index(i), index(path, i), visit)
		}
	default:
		visit(path, v)
	}
}

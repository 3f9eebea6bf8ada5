package config

import (
	"maps"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// override is a value that a flag or a variable sets.
type override struct {
	Override
	from  string      // "--socket" or "$SUPERVISORD_SOCKET_PATH", for messages
	flag  *pflag.Flag // nil for a variable
	text  string
	value any // text in the field's type
}

type overrideSet []override

// origin tells which flag or variable the value at path is from.
func (s overrideSet) origin(path string) (string, bool) {
	for _, o := range s {
		if o.Key == path {
			return o.from, true
		}
	}
	return "", false
}

// overrides collects the flags that were set and the variables; a flag wins. Faulty ones are reported and left out.
func overrides(d *document, o LoadOptions) overrideSet {
	var set overrideSet
	for _, known := range Overrides() {
		var found *override
		if text, ok := o.Env(known.Env); ok && text != "" {
			found = &override{Override: known, from: "$" + known.Env, text: text}
		}
		for _, name := range known.Flags {
			if o.Flags == nil {
				break
			}
			if flag := o.Flags.Lookup(name); flag != nil && flag.Changed {
				found = &override{Override: known, from: "--" + name, flag: flag, text: flag.Value.String()}
			}
		}
		if found == nil {
			continue
		}
		value, err := parseScalar(known.kind, found.text)
		if err != nil {
			d.report(known.Key, 0, "from %s: %v", found.from, err)
			continue
		}
		// What counts is now known, whatever is wrong with the file's own value.
		delete(d.faulty, known.Key)
		found.value = value
		set = append(set, *found)
	}
	return set
}

// build lays the flags over the variables over the file over the defaults.
//
// The variables go into viper by hand, one by one, and not with BindEnv: that looks only at the process's own
// environment, which a caller could then not replace.
func build(d *document, set overrideSet, path string, o LoadOptions) (*Config, error) {
	v := viper.New()
	if err := v.MergeConfigMap(d.values); err != nil {
		return nil, err
	}
	for _, s := range set {
		if s.flag != nil {
			if err := v.BindPFlag(s.Key, s.flag); err != nil {
				return nil, err
			}
			continue
		}
		if err := v.MergeConfigMap(nested(s.Key, s.value)); err != nil {
			return nil, err
		}
	}
	c := Default()
	if runtime, _ := o.Env("XDG_RUNTIME_DIR"); o.EUID != 0 && filepath.IsAbs(runtime) {
		c.Socket.Path = filepath.Join(runtime, "supervisord.sock")
	}
	c.Pools = defaultPools(d.values)
	if err := v.UnmarshalExact(c, viper.DecodeHook(mapstructure.DecodeHookFuncType(decodeText))); err != nil {
		return nil, err
	}
	for i, pool := range c.Pools {
		for j := range pool.Plugins {
			if config, ok := d.configs[index(index("pools", i)+".plugins", j)]; ok {
				pool.Plugins[j].Config = config
			}
		}
	}
	c.File = path
	c.lines = maps.Clone(d.lines)
	for _, s := range set {
		delete(c.lines, s.Key)
	}
	resolvePaths(c, set, o.WorkDir)
	dropEmptyLists(reflect.ValueOf(c).Elem())
	return c, nil
}

// nested makes the map that holds value at a key of one or two parts.
func nested(key string, value any) map[string]any {
	if section, rest, ok := strings.Cut(key, "."); ok {
		return map[string]any{section: map[string]any{rest: value}}
	}
	return map[string]any{key: value}
}

// defaultPools returns as many pools and plugins with defaults as the file has, for the file's values to be laid over.
func defaultPools(values map[string]any) []Pool {
	list, _ := values["pools"].([]any)
	pools := make([]Pool, len(list))
	for i, values := range list {
		pools[i] = DefaultPool()
		plugins, _ := values.(map[string]any)["plugins"].([]any)
		for range plugins {
			pools[i].Plugins = append(pools[i].Plugins, DefaultPlugin())
		}
	}
	return pools
}

// decodeText reads the durations and sizes of flags, which viper hands on as text; all others have been read.
func decodeText(from, to reflect.Type, data any) (any, error) {
	text, ok := data.(string)
	switch {
	case !ok || from.Kind() != reflect.String:
		return data, nil
	case to == reflect.TypeFor[time.Duration]():
		return parseDuration(text)
	case to.Kind() == reflect.Int64:
		return parseSize(text)
	default:
		return data, nil
	}
}

// resolvePaths makes paths absolute. An abstract socket address stays, for Validate to refuse.
func resolvePaths(c *Config, set overrideSet, workDir string) {
	fileDir := filepath.Dir(c.File)
	base := fileDir
	if _, outside := set.origin("socket.path"); outside {
		base = workDir
	}
	if c.Socket.Path != "" && !strings.HasPrefix(c.Socket.Path, "@") {
		c.Socket.Path = absolute(c.Socket.Path, base)
	}
	for i := range c.Pools {
		c.Pools[i].Directory = absolute(c.Pools[i].Directory, fileDir)
	}
}

func absolute(path, base string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}

// dropEmptyLists makes empty lists nil, so that a key with an empty list and none at all are the same value.
func dropEmptyLists(v reflect.Value) {
	//exhaustive:ignore
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			dropEmptyLists(field)
		}
	case reflect.Slice:
		if v.Len() == 0 {
			v.SetZero()
		}
		for i := range v.Len() {
			dropEmptyLists(v.Index(i))
		}
	default:
	}
}

// expandSelf replaces "@self" in access rules by the daemon's user.
func expandSelf(c *Config, euid int) {
	for _, rule := range c.Access {
		for i, user := range rule.Users {
			if user == "@self" {
				rule.Users[i] = strconv.Itoa(euid)
			}
		}
	}
}

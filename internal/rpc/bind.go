package rpc

import (
	"fmt"
	"slices"
	"strconv"

	"supervisord/protocol"
	"supervisord/protocol/jsonscan"
)

// members are those params of a method that are named, as raw values; null counts as absent. Others are ignored, as the
// protocol grows by members; one that stands twice is refused, since nobody can say which one counts.
func members(params []byte, names ...string) (map[string][]byte, *protocol.Error) {
	byName := map[string][]byte{}
	walk := jsonscan.NewMembers(params)
	for {
		raw, value, ok := walk.Next()
		if !ok {
			break
		}
		name, err := jsonscan.Unquote(raw)
		if err != nil {
			return nil, protocol.InvalidParams(protocol.Field{Reason: err.Error()})
		}
		if !slices.Contains(names, name) {
			continue
		}
		if _, twice := byName[name]; twice {
			return nil, protocol.InvalidParams(protocol.Field{Path: name, Reason: "stands twice"})
		}
		byName[name] = value
	}
	for name, value := range byName {
		if value[0] == 'n' {
			delete(byName, name)
		}
	}
	return byName, nil
}

// textOf is the member that has to be there and to be a string.
func textOf(byName map[string][]byte, name string) (string, *protocol.Error) {
	value, ok := byName[name]
	if !ok {
		return "", protocol.InvalidParams(protocol.Field{Path: name, Reason: "is missing"})
	}
	s, ok := text(value)
	if !ok {
		return "", protocol.InvalidParams(protocol.Field{Path: name, Reason: "is not a string"})
	}
	return s, nil
}

// booleanOf is the member that has to be a boolean where it is there.
func booleanOf(byName map[string][]byte, name string) (bool, *protocol.Error) {
	switch value := byName[name]; string(value) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, protocol.InvalidParams(protocol.Field{Path: name, Reason: "is not a boolean"})
}

// nameOf is the name of a plugin, a pool or a worker that has to be there.
func nameOf(byName map[string][]byte, name string) (string, *protocol.Error) {
	s, err := textOf(byName, name)
	if err == nil && s == "" {
		err = protocol.InvalidParams(protocol.Field{Path: name, Reason: "is not a name"})
	}
	return s, err
}

// integerOf is the member that has to be an integer in a range where it is there; nil where it is not.
func integerOf(byName map[string][]byte, name string, least, most int) (*int, *protocol.Error) {
	value, ok := byName[name]
	if !ok {
		return nil, nil //nolint:nilnil // absent is no fault
	}
	n, err := strconv.Atoi(string(value))
	if err != nil || n < least || n > most {
		return nil, protocol.InvalidParams(protocol.Field{Path: name, Reason: fmt.Sprintf("is not an integer from %d to %d", least, most)})
	}
	return &n, nil
}

// objectOf is the member that has to be an object where it is there, as the bytes it is; nil where it is not.
func objectOf(byName map[string][]byte, name string) ([]byte, *protocol.Error) {
	value, ok := byName[name]
	if ok && value[0] != '{' {
		return nil, protocol.InvalidParams(protocol.Field{Path: name, Reason: "is not an object"})
	}
	return value, nil
}

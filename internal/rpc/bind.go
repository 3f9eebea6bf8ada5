package rpc

import (
	"slices"

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
			return nil, invalidParams(protocol.Field{Reason: err.Error()})
		}
		if !slices.Contains(names, name) {
			continue
		}
		if _, twice := byName[name]; twice {
			return nil, invalidParams(protocol.Field{Path: name, Reason: "stands twice"})
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
		return "", invalidParams(protocol.Field{Path: name, Reason: "is missing"})
	}
	s, ok := text(value)
	if !ok {
		return "", invalidParams(protocol.Field{Path: name, Reason: "is not a string"})
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
	return false, invalidParams(protocol.Field{Path: name, Reason: "is not a boolean"})
}

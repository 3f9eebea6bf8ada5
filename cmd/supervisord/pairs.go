package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"supervisord/protocol/jsonscan"
)

// parsePairs makes an object of key=value and key:=JSON arguments, in their order.
func parsePairs(pairs []string) (json.RawMessage, error) {
	object := []byte{'{'}
	seen := make(map[string]bool, len(pairs))
	for i, pair := range pairs {
		key, value, err := parsePair(pair)
		if err != nil {
			return nil, err
		}
		if seen[key] {
			return nil, fmt.Errorf("param %q is given twice", key)
		}
		seen[key] = true
		if i > 0 {
			object = append(object, ',')
		}
		name, err := encodeJSON(key)
		if err != nil {
			return nil, err
		}
		object = append(append(object, bytes.TrimSpace(name)...), ':')
		object = append(object, value...)
	}
	return append(object, '}'), nil
}

func parsePair(pair string) (key string, value []byte, err error) {
	if !utf8.ValidString(pair) {
		return "", nil, fmt.Errorf("%q is not UTF-8", pair)
	}
	key, text, ok := strings.Cut(pair, "=")
	explicit := strings.HasSuffix(key, ":")
	key = strings.TrimSuffix(key, ":")
	switch {
	case !ok || key == "":
		return "", nil, fmt.Errorf("%q is not key=value", pair)
	case explicit:
		if err := validJSON(text); err != nil {
			return "", nil, fmt.Errorf("%s:=: %w", key, err)
		}
		return key, []byte(text), nil
	case text != "" && text[0] != '"' && strings.TrimSpace(text) == text && validJSON(text) == nil:
		return key, []byte(text), nil
	}
	value, err = encodeJSON(text)
	return key, bytes.TrimSpace(value), err
}

func validJSON(text string) error {
	var (
		scanner jsonscan.Scanner
		object  jsonscan.Object
	)
	return object.Scan(&scanner, []byte(text), jsonscan.NewKeys(), jsonscan.MaxDepth)
}

// startsWith reports whether a JSON value, white space aside, begins so.
func startsWith(raw []byte, prefix string) bool {
	return bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte(prefix))
}

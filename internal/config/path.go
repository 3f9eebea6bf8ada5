package config

import (
	"regexp"
	"strconv"
	"strings"
)

// join adds a key to a path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// shown returns a key that a file has as it stands in paths: in quotes, and cut where it is long, unless it is a plain
// word. Known keys are.
func shown(key string) string {
	if len(key) <= 64 && plainKey.MatchString(key) {
		return key
	}
	return quote(key)
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// index adds an element's number to the path of a list.
func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// parentOf returns the section or list that path is in; "" at the top.
func parentOf(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// within reports whether path is at, or something in it.
func within(path, at string) bool {
	for ; path != ""; path = parentOf(path) {
		if path == at {
			return true
		}
	}
	return false
}

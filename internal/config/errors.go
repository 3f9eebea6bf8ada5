package config

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNotFound is what errors.Is finds when there is no configuration file in any place that was searched.
var ErrNotFound = errors.New("no configuration file")

// NotFoundError is an ErrNotFound that knows the places.
type NotFoundError struct {
	// Searched are the paths that were looked at, in order.
	Searched []string
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("%v: searched %s", ErrNotFound, strings.Join(e.Searched, ", "))
}

// Is makes a NotFoundError an ErrNotFound.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Path is the key, such as pools[1].plugins[0].name; empty when it is about the file as a whole.
	Path string `json:"path"`
	// Line is the line in the file, counted from 1; 0 when no line is to blame, as with a value from a flag.
	Line int `json:"line"`
	// Message says what is wrong and what would be right.
	Message string `json:"message"`
}

// Text returns the problem as FILE:LINE: path: message, without the parts that there are none of.
func (p Problem) Text(file string) string {
	var b strings.Builder
	if file != "" {
		b.WriteString(file)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	return b.String() + p.Message
}

// ValidationError is returned by Load for a file that was read and is not valid: all its problems, by line.
type ValidationError struct {
	// Path is the file's absolute path.
	Path string
	// Problems are never empty. Of more than 200 they are the first, and the last says how many more there are.
	Problems []Problem
	// Usable is what is left when faulty values are replaced by their defaults, for a daemon that has to come up to
	// report the problems: no pools and no resources; of the access rules the valid ones, and if it is not known which
	// rules were meant, root and the daemon's own user alone may call anything. The same goes for who may connect: with
	// a faulty mode or group the socket is its owner's alone. Never nil.
	Usable *Config
}

func (e *ValidationError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Text(e.Path)
	}
	return "invalid configuration:\n" + strings.Join(lines, "\n")
}

// Problems returns what err says is wrong with a configuration: the problems of a ValidationError, for any other error
// one problem with its text, and nothing for nil.
func Problems(err error) []Problem {
	if err == nil {
		return nil
	}
	if invalid, ok := errors.AsType[*ValidationError](err); ok {
		return invalid.Problems
	}
	return []Problem{{Message: err.Error()}}
}

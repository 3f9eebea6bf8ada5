package config

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxSocketPath is the longest path that the kernel takes for a Unix socket, in bytes.
const maxSocketPath = 107

// Validate returns every problem of a configuration that was made in whatever way, without lines. euid is the user that
// the daemon runs as. It looks at nothing outside of c: whether users and files exist shows when they are used.
func Validate(c *Config, euid int) []Problem {
	var problems []Problem
	for _, f := range findings(c, euid) {
		problems = append(problems, f.Problem)
	}
	return problems
}

// FileMode returns the socket's permissions, 0 for a Mode that Validate refuses.
func (s Socket) FileMode() os.FileMode {
	mode, err := strconv.ParseUint(s.Mode, 8, 32)
	if err != nil || mode > 0o777 {
		return 0
	}
	return os.FileMode(mode)
}

// finding is a problem with the paths, beside its own, of the values that it follows from.
type finding struct {
	Problem
	related []string
}

type validator struct {
	c    *Config
	euid int
	list []finding
}

func findings(c *Config, euid int) []finding {
	v := &validator{c: c, euid: euid}
	if c.Version != 1 {
		v.report("version", "%d is not a version that is known; write version: 1", c.Version)
	}
	eachScalar(reflect.ValueOf(c).Elem(), "", v.scalar)
	v.socket()
	v.limits()
	v.access()
	v.oneOf("log.level", c.Log.Level, logLevels)
	v.oneOf("log.format", c.Log.Format, logFormats)
	v.metrics()
	v.size("jobs.replay_buffer", c.Jobs.ReplayBuffer, 4*kib, gib)
	v.oneOf("jobs.store", c.Jobs.Store, jobStores)
	v.positive("shutdown_timeout", c.ShutdownTimeout)
	v.resources()
	v.pools()
	return v.list
}

func (v *validator) report(path, format string, args ...any) {
	v.list = append(v.list, finding{Problem: Problem{Path: path, Message: fmt.Sprintf(format, args...)}})
}

// relate names further values that the last problem follows from.
func (v *validator) relate(paths ...string) {
	last := &v.list[len(v.list)-1]
	last.related = append(last.related, paths...)
}

// scalar checks what holds for every value: nothing is negative, and no text has a NUL, which ends it for the kernel.
func (v *validator) scalar(path string, value reflect.Value) {
	switch {
	case value.CanInt() && value.Int() < 0, value.CanFloat() && value.Float() < 0:
		v.report(path, "%v is negative", value.Interface())
	case value.Kind() == reflect.String && strings.ContainsRune(value.String(), 0):
		v.report(path, "has a NUL character")
	}
}

func (v *validator) oneOf(path, value string, allowed []string) {
	if slices.Contains(allowed, value) {
		return
	}
	message := fmt.Sprintf("%s is none of: %s", quote(value), strings.Join(allowed, ", "))
	if near := nearest(value, allowed); near != "" {
		message += "; did you mean " + near + "?"
	}
	v.report(path, "%s", message)
}

func (v *validator) between(path string, value, least, most int) {
	if value >= 0 && (value < least || value > most) {
		v.report(path, "%d is out of range: %d to %d", value, least, most)
	}
}

func (v *validator) size(path string, value, least, most int64) {
	if value >= 0 && (value < least || value > most) {
		v.report(path, "%s is out of range: %s to %s", formatSize(value), formatSize(least), formatSize(most))
	}
}

func (v *validator) positive(path string, value time.Duration) {
	if value == 0 {
		v.report(path, "has to be more than 0s")
	}
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// name checks the name of a thing in a list; seen has the names before it, with their paths.
func (v *validator) name(path, value string, seen map[string]string) {
	switch {
	case value == "":
		v.report(path, "missing: every element of this list has a name")
	case !nameForm.MatchString(value):
		v.report(path, "%s is no name: 1 to 64 of A-Z a-z 0-9 . _ -", quote(value))
	case seen[value] != "":
		v.report(path, "duplicate name %q: %s has it", value, seen[value])
	default:
		seen[value] = parentOf(path)
	}
}

func (v *validator) socket() {
	s := v.c.Socket
	v.socketPath("socket.path", s.Path)
	if mode, err := strconv.ParseUint(s.Mode, 8, 32); err != nil || mode > 0o777 {
		v.report("socket.mode", `%s is no permission in octal, such as "0660"`, quote(s.Mode))
	}
}

func (v *validator) socketPath(path, value string) {
	switch {
	case value == "":
		v.report(path, "is empty")
	case strings.HasPrefix(value, "@"):
		v.report(path, "%s is an abstract socket, which has no permissions; give a path", quote(value))
	case !filepath.IsAbs(value):
		v.report(path, "%s is not absolute", quote(value))
	case len(value) > maxSocketPath:
		v.report(path, "%s has %d bytes; the path of a socket has at most %d", quote(value), len(value), maxSocketPath)
	}
}

func (v *validator) limits() {
	l := v.c.Limits
	v.size("limits.max_message", l.MaxMessage, kib, gib)
	v.size("limits.output_buffer", l.OutputBuffer, 4*kib, gib)
	if 0 < l.MaxQueuedBytes && l.MaxQueuedBytes < l.MaxMessage {
		v.report("limits.max_queued_bytes", "%s is less than max_message (%s), so that not every message could wait; 0B is no limit",
			formatSize(l.MaxQueuedBytes), formatSize(l.MaxMessage))
		v.relate("limits.max_message")
	}
}

var methodForm = regexp.MustCompile(`^(\*|[A-Za-z0-9_$/]+(\.[A-Za-z0-9_$/]+)*(\.\*)?)$`)

func (v *validator) access() {
	for i, rule := range v.c.Access {
		at := index("access", i)
		if len(rule.Users) == 0 && len(rule.Groups) == 0 {
			v.report(at, `matches nobody: give users or groups; users: ["*"] is everybody`)
			v.relate(at+".users", at+".groups")
		}
		for j, user := range rule.Users {
			if !identity(user) && user != "*" && user != "@self" {
				v.report(index(at+".users", j), `%s is no user: a name, a number in quotes, "*" (everybody) or "@self"`, quote(user))
			}
		}
		for j, group := range rule.Groups {
			if !identity(group) {
				v.report(index(at+".groups", j), "%s is no group: a name, or a number in quotes", quote(group))
			}
		}
		if len(rule.Methods) == 0 {
			v.report(at+".methods", `missing: give the methods that are allowed; ["*"] is all`)
		}
		for j, method := range rule.Methods {
			if !methodForm.MatchString(method) {
				v.report(index(at+".methods", j), `%s is no method: a name such as job.get, or "job.*", or "*"`, quote(method))
			}
		}
	}
}

// identity reports whether text can be the name or number of a user or group. Directories have names such as
// alice@example.org and "domain users".
func identity(text string) bool {
	return text != "" && len(text) <= 256 && text == strings.TrimSpace(text) && text[0] != '@' &&
		!strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || strings.ContainsRune(":/*,", r) })
}

func (v *validator) metrics() {
	listen := v.c.Metrics.Listen
	if path, ok := strings.CutPrefix(listen, "unix:"); ok {
		v.socketPath("metrics.listen", path)
		return
	}
	if listen == "" {
		return
	}
	_, port, err := net.SplitHostPort(listen)
	if n, notNumber := strconv.ParseUint(port, 10, 16); err != nil || notNumber != nil || n == 0 {
		v.report("metrics.listen", "%s is neither HOST:PORT nor unix:/PATH", quote(listen))
	}
}

func (v *validator) resources() {
	seen := map[string]string{}
	for i, r := range v.c.Resources {
		at := index("resources", i)
		v.name(at+".name", r.Name, seen)
		if r.Capacity == 0 {
			v.report(at+".capacity", "missing or 0: how much there is")
		}
	}
}

package rpc

import (
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"supervisord/protocol"
)

// Rule allows some callers some methods. A caller matches when Users or Groups names it.
type Rule struct {
	// Users and Groups are names or decimal numbers; the user "*" is everybody.
	Users, Groups []string
	// Methods are names, "job.*" for all that begin so, or "*" for all.
	Methods []string
}

// Access says who may call what: the first rule that matches caller and method allows, and where there are rules and none
// does, the call is denied. Without rules root and the daemon's own user may call all, others all but the methods for
// administrators. It does not change.
type Access struct {
	self  uint32
	rules []rule
}

type rule struct {
	everybody    bool
	users        []uint32
	groups       []uint32
	methods      []string
	administrate bool // of methods is "*", so that other users' jobs are included
}

// NewAccess looks the names of the rules up. self is the daemon's own user. The error names every user and group that
// does not exist.
func NewAccess(rules []Rule, self uint32) (*Access, error) {
	a := &Access{self: self}
	var unknown []error
	resolve := func(i int, kind string, names []string, look func(string) (string, error)) (ids []uint32) {
		for _, name := range names {
			text := name
			if _, err := strconv.ParseUint(name, 10, 32); err != nil {
				if text, err = look(name); err != nil {
					unknown = append(unknown, fmt.Errorf("access[%d]: %s %q: %w", i, kind, name, err))
					continue
				}
			}
			id, err := strconv.ParseUint(text, 10, 32)
			if err != nil {
				unknown = append(unknown, fmt.Errorf("access[%d]: %s %q: %w", i, kind, name, err))
				continue
			}
			ids = append(ids, uint32(id))
		}
		return ids
	}
	for i, r := range rules {
		everybody := slices.Contains(r.Users, "*")
		named := slices.DeleteFunc(slices.Clone(r.Users), func(name string) bool { return name == "*" })
		a.rules = append(a.rules, rule{
			everybody: everybody,
			users: resolve(i, "user", named, func(name string) (string, error) {
				u, err := user.Lookup(name)
				if err != nil {
					return "", err //nolint:wrapcheck // wrapped by the caller
				}
				return u.Uid, nil
			}),
			groups: resolve(i, "group", r.Groups, func(name string) (string, error) {
				g, err := user.LookupGroup(name)
				if err != nil {
					return "", err //nolint:wrapcheck // wrapped by the caller
				}
				return g.Gid, nil
			}),
			methods:      r.Methods,
			administrate: slices.Contains(r.Methods, "*"),
		})
	}
	if err := errors.Join(unknown...); err != nil {
		return nil, err
	}
	return a, nil
}

// openMethods may be called by whoever can connect.
var openMethods = []string{protocol.MethodDaemonPing, protocol.MethodDaemonInfo}

// allows reports whether the peer may call a method; admin says that it is one for administrators.
func (a *Access) allows(p *Peer, method string, admin bool) bool {
	if len(a.rules) == 0 {
		return !admin || a.owns(p)
	}
	return slices.Contains(openMethods, method) || slices.ContainsFunc(a.rules, func(r rule) bool { return r.matches(p) && r.names(method) })
}

// administrates reports whether the peer may see and end the jobs of other users.
func (a *Access) administrates(p *Peer) bool {
	if len(a.rules) == 0 {
		return a.owns(p)
	}
	return slices.ContainsFunc(a.rules, func(r rule) bool { return r.matches(p) && r.administrate })
}

func (a *Access) owns(p *Peer) bool { return p.UID == 0 || p.UID == a.self }

func (r *rule) matches(p *Peer) bool {
	return r.everybody || slices.Contains(r.users, p.UID) || slices.ContainsFunc(r.groups, p.inGroup)
}

func (r *rule) names(method string) bool {
	return slices.ContainsFunc(r.methods, func(m string) bool {
		prefix, wild := strings.CutSuffix(m, "*")
		return m == method || (wild && strings.HasPrefix(method, prefix))
	})
}

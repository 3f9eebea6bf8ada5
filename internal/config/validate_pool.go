package config

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	maxWorkersOfPool = 4096
	maxConcurrency   = 65536
	maxJobAttempts   = 100
	// frameSpare is what a frame may have beyond max_message.
	frameSpare = 64 * kib
	// initEnvelope is more than the init frame takes beside the plugins' names and configs.
	initEnvelope = kib
)

// reservedEnv are the variables that the daemon itself gives to workers.
var reservedEnv = []string{
	"SUPERVISORD_PROTOCOL", "SUPERVISORD_POOL", "SUPERVISORD_WORKER", "SUPERVISORD_SLOT", "SUPERVISORD_INCARNATION",
}

// privateEnv matches variables that are a message of the service manager to the daemon, and would let a worker speak in
// its place.
var privateEnv = regexp.MustCompile(`^(NOTIFY_SOCKET$|LISTEN_|WATCHDOG_)`)

func (v *validator) pools() {
	seen := map[string]string{}
	for i := range v.c.Pools {
		at := index("pools", i)
		p := &v.c.Pools[i]
		v.name(at+".name", p.Name, seen)
		v.poolProcess(at, p)
		v.poolEnv(at, p)
		v.poolWorkers(at, p)
		v.poolRestarts(at, p)
		v.poolPlugins(at, p)
	}
}

// poolProcess checks what each worker's process is.
func (v *validator) poolProcess(at string, p *Pool) {
	if len(p.Command) == 0 {
		v.report(at+".command", "missing: the program and its arguments, such as [python3, worker.py]")
	} else if p.Command[0] == "" {
		v.report(at+".command[0]", "is empty: the program's name or path comes first")
	}
	if p.Directory != "" && p.Directory != "." && !filepath.IsAbs(p.Directory) {
		v.report(at+".directory", "%s is not absolute", quote(p.Directory))
	}
	for _, id := range []struct{ key, value string }{{"user", p.User}, {"group", p.Group}} {
		if id.value != "" && !identity(id.value) {
			v.report(at+"."+id.key, "%s is no %s: a name, or a number in quotes", quote(id.value), id.key)
		}
	}
	if v.euid == 0 && !p.AllowRoot && isRoot(p.User) {
		v.report(at+".user", "the workers of pool %q would run as root: give another user with user:, or allow it with allow_root: true", p.Name)
		v.relate(at + ".allow_root")
	}
	if 0 < p.MemoryLimit && p.MemoryLimit < mib {
		v.report(at+".memory_limit", "%s is less than 1MiB, in which nothing runs; 0B is no limit", formatSize(p.MemoryLimit))
	}
	if 0 < p.MemoryLimit && p.MemoryLimit < p.MaxWorkerMemory {
		v.report(at+".max_worker_memory", "%s is never reached: memory_limit kills at %s", formatSize(p.MaxWorkerMemory), formatSize(p.MemoryLimit))
		v.relate(at + ".memory_limit")
	}
}

// isRoot reports whether workers with this user run as root under a daemon that does.
func isRoot(user string) bool {
	n, err := strconv.Atoi(user)
	return user == "" || user == "root" || err == nil && n == 0
}

func (v *validator) poolEnv(at string, p *Pool) {
	seen := map[string]string{}
	for i, entry := range p.Env {
		path := index(at+".env", i)
		name, _, ok := strings.Cut(entry, "=")
		switch {
		case !ok || name == "":
			v.report(path, "%s is not NAME=value", quote(entry))
		case slices.Contains(reservedEnv, name):
			v.report(path, "%s is set by the daemon itself", name)
		case seen[name] != "":
			v.report(path, "duplicate variable %s: %s sets it", quote(name), seen[name])
		default:
			seen[name] = path
		}
	}
	seen = map[string]string{}
	for i, name := range p.InheritEnv {
		path := index(at+".inherit_env", i)
		switch {
		case name == "" || strings.Contains(name, "="):
			v.report(path, "%s is no variable's name; values are set by env", quote(name))
		case slices.Contains(reservedEnv, name):
			v.report(path, "%s is set by the daemon itself", name)
		case privateEnv.MatchString(name):
			v.report(path, "%s is the daemon's own and is not passed to workers", quote(name))
		case seen[name] != "":
			v.report(path, "duplicate variable %s: %s has it", quote(name), seen[name])
		default:
			seen[name] = path
		}
	}
}

func (v *validator) poolWorkers(at string, p *Pool) {
	v.between(at+".max_workers", p.MaxWorkers, 1, maxWorkersOfPool)
	if 0 < p.MaxWorkers && p.MaxWorkers < p.MinWorkers {
		v.report(at+".min_workers", "%d is more than max_workers (%d)", p.MinWorkers, p.MaxWorkers)
		v.relate(at + ".max_workers")
	}
	v.between(at+".concurrency", p.Concurrency, 1, maxConcurrency)
	v.between(at+".max_attempts", p.MaxAttempts, 1, maxJobAttempts)
	v.oneOf(at+".replace", p.Replace, replaceOrders)
	v.positive(at+".shutdown_timeout", p.ShutdownTimeout)
}

func (v *validator) poolRestarts(at string, p *Pool) {
	v.oneOf(at+".restart_policy", p.RestartPolicy, restartPolicies)
	v.positive(at+".restart_backoff_base", p.RestartBackoffBase)
	if p.RestartBackoffMax < p.RestartBackoffBase {
		v.report(at+".restart_backoff_max", "%v is less than restart_backoff_base (%v)", p.RestartBackoffMax, p.RestartBackoffBase)
		v.relate(at + ".restart_backoff_base")
	}
}

func (v *validator) poolPlugins(at string, p *Pool) {
	held := v.amounts(at+".resources", p.Resources, nil)
	v.minWorkersFit(at, p)
	seen := map[string]string{}
	length := int64(0)
	for i, plugin := range p.Plugins {
		path := index(at+".plugins", i)
		v.name(path+".name", plugin.Name, seen)
		v.oneOf(path+".load", plugin.Load, loadTimes)
		v.amounts(path+".resources", plugin.Resources, held)
		length += int64(len(plugin.Name) + len(plugin.Config) + len(`"":,`))
	}
	if most := v.c.Limits.MaxMessage + frameSpare; length+initEnvelope > most {
		v.report(at+".plugins", "the plugins' config takes %d bytes together, too much for one message to a worker; limits.max_message is %s",
			length, formatSize(v.c.Limits.MaxMessage))
		v.relate("limits.max_message")
	}
}

// amounts checks what is drawn on resources, beyond what the worker holds already, and returns it by name.
func (v *validator) amounts(path string, list []ResourceAmount, held map[string]int64) map[string]int64 {
	sums := map[string]int64{}
	for i, a := range list {
		at := index(path, i)
		known := slices.IndexFunc(v.c.Resources, func(r Resource) bool { return r.Name == a.Name })
		_, twice := sums[a.Name]
		switch {
		case a.Name == "":
			v.report(at+".name", "missing: the name of a resource")
		case known < 0:
			v.unknownResource(at+".name", a.Name)
		case twice:
			v.report(at+".name", "duplicate name %q in this list", a.Name)
		default:
			sums[a.Name] = a.Amount
			v.fits(at+".amount", a, index("resources", known), held[a.Name], v.c.Resources[known].Capacity)
		}
		if a.Amount == 0 {
			v.report(at+".amount", "missing or 0: how much of it")
		}
	}
	return sums
}

func (v *validator) unknownResource(path, name string) {
	names := make([]string, len(v.c.Resources))
	for i, r := range v.c.Resources {
		names[i] = r.Name
	}
	near := nearest(name, names)
	switch {
	case near != "":
		v.report(path, "unknown resource %s; did you mean %s?", quote(name), near)
	case len(names) == 0:
		v.report(path, "unknown resource %s; resources: at the top of the file has none", quote(name))
	default:
		v.report(path, "unknown resource %s; there are: %s", quote(name), strings.Join(names, ", "))
	}
	v.relate("resources")
	for i := range v.c.Resources {
		v.relate(index("resources", i)+".name", index("resources", i))
	}
}

func (v *validator) fits(path string, a ResourceAmount, resource string, held, capacity int64) {
	switch {
	case a.Amount > capacity:
		v.report(path, "%s is more than all of %s (%s)", formatAmount(a.Amount), a.Name, formatAmount(capacity))
	case a.Amount > capacity-held:
		v.report(path, "with the %s that the worker holds, %s is more than all of %s (%s)",
			formatAmount(held), formatAmount(a.Amount), a.Name, formatAmount(capacity))
	default:
		return
	}
	v.relate(resource + ".capacity")
}

// minWorkersFit checks that the workers that are always kept fit into the resources together.
func (v *validator) minWorkersFit(at string, p *Pool) {
	for i, a := range p.Resources {
		known := slices.IndexFunc(v.c.Resources, func(r Resource) bool { return r.Name == a.Name })
		if known < 0 || a.Amount <= 0 || p.MinWorkers <= 1 {
			continue
		}
		capacity := v.c.Resources[known].Capacity
		if a.Amount <= capacity && int64(p.MinWorkers) > capacity/a.Amount {
			v.report(at+".min_workers", "%d workers with %s each are more than all of %s (%s)",
				p.MinWorkers, formatAmount(a.Amount), a.Name, formatAmount(capacity))
			v.relate(index(at+".resources", i)+".amount", index("resources", known)+".capacity")
		}
	}
}

// formatAmount writes an amount, as a size where it looks like one.
func formatAmount(n int64) string {
	if n >= kib && n%kib == 0 {
		return formatSize(n)
	}
	return strconv.FormatInt(n, 10)
}

// mixedAmounts finds amounts with a unit of resources whose capacity has none, and the other way round; counts has the
// paths of those without.
func mixedAmounts(c *Config, counts map[string]bool) []finding {
	v := &validator{c: c}
	compare := func(path string, list []ResourceAmount) {
		for i, a := range list {
			known := slices.IndexFunc(c.Resources, func(r Resource) bool { return r.Name == a.Name })
			at, capacity := index(path, i)+".amount", index("resources", known)+".capacity"
			if known < 0 || a.Amount == 0 || counts[at] == counts[capacity] {
				continue
			}
			if counts[capacity] {
				v.report(at, "%s is a count, its capacity has no unit; write this amount without one, too", a.Name)
			} else {
				v.report(at, "%s is counted in bytes, its capacity has a unit; write this amount with one, too", a.Name)
			}
			v.relate(capacity)
		}
	}
	for i, p := range c.Pools {
		compare(index("pools", i)+".resources", p.Resources)
		for j, plugin := range p.Plugins {
			compare(index(index("pools", i)+".plugins", j)+".resources", plugin.Resources)
		}
	}
	return v.list
}

package workers

import (
	"strconv"
	"strings"

	"supervisord/protocol"
)

// environment is what a worker gets: what the pool inherits, what it sets, and what the protocol says. Nothing else of
// the daemon's, whose own variables (sockets, credentials, watchdogs) are no business of a worker.
func (o *Options) environment(slot int, incarnation uint64) []string {
	env := make([]string, 0, len(o.InheritEnv)+len(o.Env)+5)
	for _, name := range o.InheritEnv {
		if v, ok := o.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	number := strconv.Itoa(slot)
	for _, kv := range o.Env {
		env = append(env, strings.ReplaceAll(kv, "{slot}", number))
	}
	return append(env,
		protocol.EnvProtocol+"="+strconv.Itoa(protocol.Version),
		protocol.EnvPool+"="+o.Name,
		protocol.EnvWorker+"="+o.Name+"/"+number,
		protocol.EnvSlot+"="+number,
		protocol.EnvIncarnation+"="+strconv.FormatUint(incarnation, 10),
	)
}

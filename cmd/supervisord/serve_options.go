package main

import (
	"supervisord/internal/config"
	"supervisord/internal/dispatch"
	"supervisord/internal/rpc"
	"supervisord/protocol"
)

// serverOptions is what the front door is told of a configuration.
func (i *instance) serverOptions(n *next) rpc.Options {
	limits := &n.config.Limits
	return rpc.Options{
		MaxConnections: limits.MaxConnections, MaxConnectionsPerUID: limits.MaxConnectionsPerUID,
		MaxInFlight: limits.MaxInFlight, MaxInFlightPerUID: limits.MaxInFlightPerUID,
		MaxQueuedBytes: limits.MaxQueuedBytes, MaxMessage: int(i.begun.Limits.MaxMessage), MaxBatch: limits.MaxBatch,
		OutputBuffer: int(limits.OutputBuffer), SlowClientTimeout: limits.SlowClientTimeout,
		Version: version, Access: n.access, Backend: i.backend, Invalid: i.invalidError(), Log: i.log.Named("rpc"),
	}
}

// invalidError is what all methods but those about the daemon answer while its configuration is invalid; nil while it is
// valid.
func (i *instance) invalidError() *protocol.Error {
	invalid := i.invalid.Load()
	if invalid == nil {
		return nil
	}
	return invalidConfig(invalid.Path, invalid)
}

func dispatchLimits(c *config.Config) dispatch.Options {
	return dispatch.Options{MaxQueuedBytes: c.Limits.MaxQueuedBytes, OutputBuffer: int(c.Limits.OutputBuffer)}
}

func accessRules(rules []config.AccessRule) []rpc.Rule {
	list := make([]rpc.Rule, len(rules))
	for i, r := range rules {
		list[i] = rpc.Rule{Users: r.Users, Groups: r.Groups, Methods: r.Methods}
	}
	return list
}

package dispatch

import (
	"fmt"
	"time"

	"supervisord/internal/jobs"
	"supervisord/internal/schedule"
	"supervisord/internal/workers"
	"supervisord/protocol"
)

// resultError is the error of a job that its worker has answered, nil for a success.
func resultError(res *workers.Result) *protocol.Error {
	switch {
	case res.TooLarge > 0:
		err := protocol.NewError(protocol.CodeResultTooLarge, "the worker's answer is longer than a message may be")
		err.Data.Limit = res.TooLarge
		return err
	case res.Status == protocol.StatusSuccess:
		return nil
	case res.Status == protocol.StatusCancelled:
		// Where somebody had asked for it, Job.Finish says so instead.
		return protocol.NewError(protocol.CodeJobFailed, "the worker cancelled the job by itself")
	}
	message := res.Error
	if message == "" {
		message = "the worker says no more than that the job failed"
	}
	err := protocol.NewError(protocol.CodeJobFailed, message)
	if info := res.Info; info != nil {
		err.Data.ErrorInfo = info
		err.Data.Retryable = info.Retriable != nil && *info.Retriable
	}
	return err
}

// rejection is the error of a job that will not run. It is called with the dispatcher's lock.
func (d *Dispatcher) rejection(j *jobs.Job, e *schedule.Effect) *protocol.Error {
	switch e.Reason {
	case schedule.UnknownPlugin:
		return d.unknownPluginLocked(j.Plugin, j.Pool)
	case schedule.UnknownPool:
		return d.unknownPoolLocked(j.Pool)
	case schedule.Removed:
		err := protocol.NewError(protocol.CodeServerCancelled, "the pool was removed while the job waited")
		err.Data.How, err.Data.By = new(protocol.HowQueued), protocol.ByReload
		return err
	case schedule.Paused:
		err := protocol.NewError(protocol.CodePoolUnavailable, "no pool that offers the plugin takes jobs: paused by an operator")
		err.Data.State, err.Data.Reason = protocol.PoolPaused, "paused by an operator"
		return err
	case schedule.QueueFull, schedule.BytesFull:
		err := protocol.NewError(protocol.CodeOverloaded, "too many jobs wait")
		if e.Reason == schedule.BytesFull {
			err.Message = "the jobs that wait hold too many bytes"
		}
		err.Data.Limit, err.Data.Queued = protocol.LimitQueue, new(int64(d.sched.Queued()))
		err.Data.RetryAfterMS = protocol.Milliseconds(d.retryAfterLocked(j.Plugin, j.Pool))
		return err
	case schedule.Expired:
		err := protocol.NewError(protocol.CodeDeadlineExceeded, fmt.Sprintf("waited %v for a worker", e.Limit))
		if e.Limit == 0 {
			err.Message = "no worker can start it now"
		}
		err.Data.Phase, err.Data.LimitMS, err.Data.Chunks = protocol.PhaseQueue, protocol.Milliseconds(e.Limit), new(int64(0))
		return err
	case schedule.NotLoaded:
		p := d.offeringLocked(j.Plugin, j.Pool)
		if p == nil || !p.offers(j.Plugin) { // only workers of an older generation had it
			return d.unknownPluginLocked(j.Plugin, j.Pool)
		}
		err := protocol.NewError(protocol.CodePoolUnavailable, fmt.Sprintf("no worker could load plugin %q", short(j.Plugin)))
		err.Data.State, err.Data.Reason = protocol.PoolFailed, "load_failed"
		if p.refused[j.Plugin].text != "" {
			err.Message += ": " + p.refused[j.Plugin].text
			err.Data.StderrTail = p.refused[j.Plugin].by.Stderr() // some of it may have come after the answer
		}
		return err
	case schedule.Unavailable:
	}
	p := d.offeringLocked(j.Plugin, j.Pool)
	if p == nil {
		return protocol.NewError(protocol.CodePoolUnavailable, "no pool can run it now")
	}
	err := p.Unavailable()
	if !p.offers(j.Plugin) { // it may, but nobody knows while it is down; or the name is wrong
		err.Message = fmt.Sprintf("no pool is known to offer plugin %q; %s", short(j.Plugin), err.Message)
		err.Data.Known = nearest(j.Plugin, d.pluginNamesLocked(j.Pool))
	}
	return err
}

func (d *Dispatcher) unknownPluginLocked(plugin, poolName string) *protocol.Error {
	err := protocol.NewError(protocol.CodeUnknownPlugin, fmt.Sprintf("no pool offers plugin %q", short(plugin)))
	if poolName != "" {
		err.Message = fmt.Sprintf("pool %q does not offer plugin %q", poolName, short(plugin))
	}
	err.Data.Known = nearest(plugin, d.pluginNamesLocked(poolName))
	return err
}

func (d *Dispatcher) unknownPoolLocked(poolName string) *protocol.Error {
	err := protocol.NewError(protocol.CodeUnknownPool, fmt.Sprintf("there is no pool %q", short(poolName)))
	err.Data.Known = nearest(poolName, d.poolNamesLocked())
	return err
}

// leastRetry is the shortest wait that an overloaded caller is told.
const leastRetry = 100 * time.Millisecond

// retryAfterLocked guesses when a place in the queue will be free: when one job more has ended.
func (d *Dispatcher) retryAfterLocked(plugin, poolName string) time.Duration {
	if p := d.offeringLocked(plugin, poolName); p != nil {
		return max(leastRetry, p.meanRun)
	}
	return leastRetry
}

// offeringLocked is the pool that was named, or the first that offers the plugin; nil for none.
func (d *Dispatcher) offeringLocked(plugin, poolName string) *pool {
	if poolName != "" {
		return d.byName[poolName]
	}
	for _, p := range d.pools {
		if p.offers(plugin) {
			return p
		}
	}
	for _, p := range d.pools { // one that has not said yet what it offers
		if len(p.opts.Spec.Plugins) == 0 && len(p.told) == 0 {
			return p
		}
	}
	return nil
}

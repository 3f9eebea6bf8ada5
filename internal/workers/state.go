package workers

import "supervisord/protocol"

// State is the state of a worker.
type State uint8

// The states of a worker. stateNone is no state.
const (
	stateNone State = iota
	Stopped
	Starting     // the process is being spawned
	Initializing // init was sent, ready has not come
	Ready        // takes jobs
	Draining     // finishes its jobs and takes no more
	Stopping     // on the stop ladder
	Backoff      // waits before the next start
	Failed       // restarts are spent or not allowed
	stateEnd
)

var stateNames = [stateEnd]protocol.WorkerState{
	Stopped: protocol.WorkerStopped, Starting: protocol.WorkerStarting, Initializing: protocol.WorkerInitializing,
	Ready: protocol.WorkerReady, Draining: protocol.WorkerDraining, Stopping: protocol.WorkerStopping,
	Backoff: protocol.WorkerBackoff, Failed: protocol.WorkerFailed,
}

// String is the state's name in the client protocol.
func (s State) String() string {
	if s < stateEnd && s != stateNone {
		return string(stateNames[s])
	}
	return "invalid"
}

type event uint8

const (
	eventNone  event = iota
	evStart          // a start was asked for, or a backoff is over
	evSpawned        // the process exists
	evReady          // it answered init
	evDrain          // it shall take no more jobs
	evStop           // it shall end, and so shall the worker
	evKill           // it shall end, the worker goes on
	evExitGo         // its exit was seen; the next start is due
	evExitStay       // its exit was seen; no start is due but that of a probe
	evExitStop       // its exit was seen, and the worker has no more to do unless it is asked to
	evGiveUp         // the start that was due is not wanted any more
	eventEnd
)

var eventNames = [eventEnd]string{
	evStart: "start", evSpawned: "spawned", evReady: "ready", evDrain: "drain", evStop: "stop", evKill: "kill",
	evExitGo: "exit_restart", evExitStay: "exit_stay", evExitStop: "exit_stop", evGiveUp: "give_up",
}

func (e event) String() string { return eventNames[e] }

// transitions is the whole of a worker's life. What is not in it is a fault of this program.
var transitions = [stateEnd][eventEnd]State{
	Stopped: {evStart: Starting, evStop: Stopped, evGiveUp: Stopped},
	Starting: {
		evSpawned: Initializing, evStop: Stopping, evKill: Stopping,
		evExitGo: Backoff, evExitStay: Failed, evExitStop: Stopped,
	},
	Initializing: {
		evReady: Ready, evStop: Stopping, evKill: Stopping,
		evExitGo: Backoff, evExitStay: Failed, evExitStop: Stopped,
	},
	Ready: {
		evDrain: Draining, evStop: Stopping, evKill: Stopping,
		evExitGo: Backoff, evExitStay: Failed, evExitStop: Stopped,
	},
	Draining: {
		evDrain: Draining, evStop: Stopping, evKill: Stopping,
		evExitGo: Backoff, evExitStay: Failed, evExitStop: Stopped,
	},
	Stopping: {
		evReady: Stopping, evDrain: Stopping, evStop: Stopping, evKill: Stopping,
		evExitGo: Backoff, evExitStay: Failed, evExitStop: Stopped,
	},
	Backoff: {evStart: Starting, evStop: Stopped, evGiveUp: Stopped},
	Failed:  {evStart: Starting, evStop: Stopped, evGiveUp: Stopped},
}

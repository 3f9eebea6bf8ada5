package schedule

import "time"

// EffectKind says what an Effect asks for.
type EffectKind uint8

// The kinds of effects.
const (
	// Grant asks to send Task to Worker. A grant that cannot be delivered is answered by Ended or Requeue.
	Grant EffectKind = iota + 1
	// Reject says that Task will never run; Reason says why.
	Reject
	// Start asks to bring up a worker in Slot of Pool, to be answered by WorkerUp, SlotGone or SlotFree.
	Start
	// Expire says that Task, which runs, is past its deadline. It stays granted until Ended.
	Expire
	// Quiet says that Task has run for its pool's StallTimeout since something was heard of it, as far as the machine
	// knows: to be answered by Heard.
	Quiet
	// Stalled says that nothing was heard of Task for Limit. It stays granted until Ended.
	Stalled
	// Replace asks to start a successor of Worker in the same Slot of Pool, while Worker serves on: to be answered by
	// WorkerUp or ReplaceFailed.
	Replace
	// Retire asks to stop Worker, which takes no more tasks, once it has ended those it has. The end of its process is
	// told by Retired where another worker has come up in its slot, else by SlotFree, SlotComing or SlotGone.
	Retire
	// Reserved says that Worker, for which Reserve has asked, has no task and gets none before Release.
	Reserved
	// Load asks to load Plugin in Worker, which has no task and gets none before Loaded answers.
	Load
	// PoolGone says that the last process of a removed Pool has ended, and that its name may be used again.
	PoolGone
)

// Reason is why a task was rejected.
type Reason uint8

// The reasons of Reject.
const (
	// UnknownPlugin: no pool offers it (or the named pool does not). A task that waited to see what a pool offers may
	// learn it late, as may one that waited for a plugin that SetPool took away.
	UnknownPlugin Reason = iota + 1
	// UnknownPool: there is no pool of that name.
	UnknownPool
	// QueueFull: every pool that offers the plugin has its QueueSize of tasks waiting.
	QueueFull
	// BytesFull: the waiting tasks hold as many bytes as the machine may keep.
	BytesFull
	// Unavailable: no worker that could run it is up or will come by itself.
	Unavailable
	// NotLoaded: workers are up, and none of them could load the plugin.
	NotLoaded
	// Expired: its time to start is over.
	Expired
	// Paused: only pools that are paused could run it.
	Paused
	// Removed: only pools that have been removed could run it.
	Removed
)

// Effect is one thing for the caller to do. Members without meaning for the kind are zero.
type Effect struct {
	Kind   EffectKind
	Reason Reason
	Task   *Task
	Worker *Worker
	Pool   string
	Slot   int
	Plugin string
	// Limit is the bound that an Expired, Expire or Stalled task ran into, counted from when it began to hold. Zero
	// where the task's time was over when it was submitted.
	Limit time.Duration
}

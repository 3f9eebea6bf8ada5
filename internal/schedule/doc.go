// Package schedule decides which worker runs which task, when a task has waited or run too long, and when workers are
// started, replaced and retired.
//
// Machine is a pure state machine: the methods named after events change its state and append effects, which the caller
// takes with Effects and carries out. It starts no goroutine, does no I/O and reads no clock, so that it runs the same in
// a test, under a fuzzer and in a simulation:
//
//	events in                              effects out
//	Submit, Cancel, Ended                  Grant     send this task to that worker
//	Requeue, Retry                         Reject    it will never run, and why
//	WorkerUp, WorkerDown                   Start     bring up the worker of this slot: WorkerUp, SlotFree, SlotGone
//	SlotFree, SlotComing, SlotGone         Expire    a running task is past its deadline
//	Tick                                   Quiet     nothing was heard of a task for long: Heard
//	Heard                                  Stalled   indeed
//	Recycle, Keep                          Replace   start a successor beside this worker: WorkerUp, ReplaceFailed
//	ReplaceFailed, Retired                 Retire    stop this worker when it is empty: Retired, SlotFree, SlotComing, SlotGone
//	Reserve, Release                       Reserved  this worker is empty, and its owner's until Release
//	Loaded                                 Load      load this plugin in that worker: Loaded
//	AddPool, SetPool, RemovePool           PoolGone  the last process of a removed pool has ended
//
// A slot is free, coming, up, leaving or gone. WorkerUp makes it up, from whatever it was; WorkerDown and Retire come
// before what says what becomes of it:
//
//	free ── Start or SlotComing ──▶ coming ── WorkerUp ──▶ up ── WorkerDown ──▶ coming
//	                                                       up ── Retire ──▶ leaving
//	coming, leaving, gone ── SlotFree ──▶ free             leaving ── SlotComing, SlotGone ──▶ coming, gone
//	coming ── SlotGone ──▶ gone                            gone ── SlotComing, WorkerUp ──▶ coming, up
//
// For a while a slot may have two workers, the one that serves and its successor, in two processes. WorkerUp of the second
// makes it the slot's, and the first one counts as down; how that one's process ends has no meaning for the slot, so it is
// told by Retired. Where the first one dies before its successor is up, its end is told by SlotComing, if that comes on.
// A pool's processes are those of slots that are coming, up or leaving, successors that come, and retired workers that
// Retired has not been told of; none is asked for beyond MaxWorkers.
//
// Its decisions, one file each: queue order (order.go), placement (placement.go), admission (admission.go), deadlines
// (deadline.go) and stalls (stall.go), how many workers there are (scaling.go), their replacement (recycle.go), their
// exclusive use (exclusive.go), what they load (load.go), and what a changed configuration means (reconfigure.go). The
// slots and their processes are in slot.go, the timers in timer.go.
//
// The caller holds one lock around an event and the handling of its effects, so that a cancel can never overtake the
// grant it follows. No method blocks or calls back.
package schedule

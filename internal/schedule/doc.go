// Package schedule decides which worker runs which task, and when a task has waited or run too long.
//
// Machine is a pure state machine: the methods named after events change its state and append effects, which the caller
// takes with Effects and carries out. It starts no goroutine, does no I/O and reads no clock, so that it runs the same in
// a test, under a fuzzer and in a simulation:
//
//	events in                              effects out
//	Submit, Cancel, Ended, Requeue         Grant   send this task to that worker
//	WorkerUp, WorkerDown, SlotFree,        Reject  it will never run, and why
//	SlotGone, SlotComing, AddPool          Start   bring up the worker of this slot
//	Tick                                   Expire  a running task is past its deadline
//
// A slot is free, coming, up or gone. WorkerUp makes it up, from whatever it was; WorkerDown comes before what says what
// becomes of it:
//
//	free ── Start or SlotComing ──▶ coming ── WorkerUp ──▶ up ── WorkerDown ──▶ coming
//	coming, gone ── SlotFree ──▶ free        coming ── SlotGone ──▶ gone ── SlotComing, WorkerUp ──▶ coming, up
//
// Its decisions, one file each: queue order (order.go), placement (placement.go), admission (admission.go), deadlines
// (deadline.go).
//
// The caller holds one lock around an event and the handling of its effects, so that a cancel can never overtake the
// grant it follows. No method blocks or calls back.
package schedule

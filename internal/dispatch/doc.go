// Package dispatch joins jobs to workers: it asks the scheduler where a job runs, carries out what it decides, and tells
// it what became of the workers.
//
//	jobs.Job.Start ─▶ Submit ─▶ schedule.Machine ─▶ Grant  ─▶ Incarnation.Execute (the frame is queued, not written)
//	                                             ├▶ Reject ─▶ Job.Finish
//	                                             ├▶ Start  ─▶ Pool.Start
//	                                             └▶ Expire ─▶ Job.End, Incarnation.Cancel
//	link reader ─▶ run.Chunk, run.Result ─▶ Job.Chunk, Job.Finish; then the scheduler learns of the free place
//	owner of a worker ─▶ WorkerUp, WorkerDown, WorkerEnded, run.Lost
//
// Locks: the scheduler is called under one lock, which is held while its effects are carried out, so that a cancel can
// never overtake the execute that it follows. It is taken before a job's lock and an output queue's. Nothing blocks
// under it; frames leave when the caller flushes its Set. A job's lock is never held when this one is taken.
//
// This package knows neither the wire to clients nor the configuration file.
package dispatch

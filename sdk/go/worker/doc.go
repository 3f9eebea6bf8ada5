// Package worker turns Go functions into a worker of supervisord.
//
//	func main() {
//		w := worker.New()
//		w.Func("reverse", func(ctx context.Context, job *worker.Job) (any, error) {
//			var params struct{ Text string }
//			if err := job.Bind(&params); err != nil {
//				return nil, err
//			}
//			runes := []rune(params.Text)
//			slices.Reverse(runes)
//			return map[string]string{"text": string(runes)}, nil
//		})
//		if err := w.Serve(context.Background()); err != nil {
//			log.Fatal(err)
//		}
//	}
//
// The way of one call:
//
//	fd 3 ─▶ reader goroutine: all frames of one read are scanned, params stay raw bytes
//	          ├─ Inline functions run right there
//	          └─ all others on a goroutine of their own, with a context that ends with the job
//	fd 4 ◀─ output queue: what one read led to leaves in one write; a full pipe is waited for by one drain goroutine
//
// The kit announces every feature of the protocol: cancel (the job's context is cancelled), progress, log, metrics,
// concurrent, request_id, meta (the context knows its deadline, and ends by the cancel that the daemon sends then) and
// load_progress. How many jobs run at once is decided by the pool's concurrency, which is 1 unless configured otherwise.
//
// Concurrency: the reader goroutine never waits for the output, so a cancel is seen while the daemon takes no chunks;
// only Job.Send waits. A first chunk leaves at once; chunks that follow within half a millisecond of the last write are
// gathered, at most half a millisecond long. stdout and stderr are the daemon's logs: nothing a function prints can
// disturb the protocol, and neither descriptor is inherited by child processes.
//
// What it does not do: it restarts nothing and retries nothing, that is the daemon's; and it cannot stop a function
// that ignores its context, which is why the daemon can kill the process.
package worker

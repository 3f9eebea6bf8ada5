// Command bench compares the daemon with a floor: a relay between the same two processes that copies frames without looking into
// them. See README.md. The hidden roles floor and floor-worker are what it starts itself as.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"

	"golang.org/x/sys/unix"

	"supervisord/bench/internal/floor"
)

func main() {
	os.Exit(start(os.Args[1:]))
}

func start(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	var err error
	switch {
	case len(args) == 1 && args[0] == "floor-worker":
		err = floor.Serve(3, 4)
	case len(args) == 2 && args[0] == "floor":
		err = runFloor(ctx, args[1])
	default:
		err = runBench(ctx, args, os.Stdout, os.Stderr)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// runFloor relays between a socket and a worker of its own until ctx ends.
func runFloor(ctx context.Context, socket string) error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	workerIn, toWorker, err := os.Pipe()
	if err != nil {
		return err
	}
	fromWorker, workerOut, err := os.Pipe()
	if err != nil {
		return err
	}
	worker := exec.Command(executable, "floor-worker")
	worker.ExtraFiles = []*os.File{workerIn, workerOut} // 3 and 4; made blocking, which is what Serve wants
	worker.Stderr = os.Stderr
	if err := worker.Start(); err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	_ = workerIn.Close()
	_ = workerOut.Close()

	relay, err := floor.New(toWorker, fromWorker)
	if err != nil {
		return err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	err = relay.Run(ctx, listener)
	if waited := worker.Wait(); waited != nil && err == nil { // it ends with its pipe, which the relay has closed
		return fmt.Errorf("worker: %w", waited)
	}
	return err
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"supervisord/protocol/jsonscan"
	"supervisord/sdk/go/client"
)

// dial connects to the daemon that --socket or the environment names.
func (c *cli) dial(ctx context.Context) (*client.Client, error) {
	path := c.socket
	if path == "" {
		path, _ = c.env("SUPERVISORD_SOCKET")
	}
	conn, err := client.Dial(ctx, path)
	if err != nil {
		return nil, &unreachableError{err: err}
	}
	return conn, nil
}

// call makes one call on a connection of its own. A first SIGINT or SIGTERM cancels it and waits for the answer.
func (c *cli) call(ctx context.Context, method string, params, result any) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	return errors.Join(conn.Call(ctx, method, params, result), conn.Close())
}

// interruptible returns a context that the first SIGINT or SIGTERM ends; the second one ends the process. A signal that
// the process was started to ignore, as a shell does for background commands, stays ignored. Whoever calls it calls stop.
func interruptible(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	received := make(chan os.Signal, 1)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		if !signal.Ignored(s) {
			signal.Notify(received, s)
		}
	}
	var watch sync.WaitGroup
	watch.Go(func() {
		var cause error
		select {
		case s := <-received:
			cause = fmt.Errorf("received %s", s)
		case <-ctx.Done():
		}
		signal.Stop(received) // before the cancel can be seen, so that the next signal is not lost
		cancel(cause)
	})
	return ctx, func() {
		cancel(nil)
		watch.Wait()
	}
}

// jsonArgument checks JSON that was typed, or given on stdin where text is "-".
func (c *cli) jsonArgument(text string) (json.RawMessage, error) {
	raw := []byte(text)
	if text == "-" {
		var err error
		if raw, err = io.ReadAll(c.stdin); err != nil {
			return nil, err
		}
	}
	var (
		scanner jsonscan.Scanner
		object  jsonscan.Object
	)
	if err := object.Scan(&scanner, raw, jsonscan.NewKeys(), jsonscan.MaxDepth); err != nil {
		return nil, err
	}
	return raw, nil
}

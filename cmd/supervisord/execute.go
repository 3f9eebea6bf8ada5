package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"supervisord/protocol"
	"supervisord/sdk/go/client"
)

// runFlags are the flags of the command run.
type runFlags struct {
	params  string
	stream  bool
	pool    string
	every   bool // --json
	timeout time.Duration
}

func newRunCommand(c *cli) *cobra.Command {
	var f runFlags
	command := &cobra.Command{
		Use:   "run PLUGIN [key=value...]",
		Short: "Run a plugin and print what it answers",
		Long: `Run a plugin and print what it answers: the text, where the answer has one, else JSON.

Params are written as key=value. A value that is a JSON number, true, false, null, an object
or an array is that; any other is text, quotes included. key:=JSON takes any JSON, so that
version:='"1.0"' is the text 1.0. --params takes all of them as one object, "-" from stdin.

With --stream, text appears as it is produced, without anything in between; chunks that are
no text come as one line of JSON each. A plugin that does not stream answers as without it.

Ctrl-C cancels the job and waits until it has stopped; a second one does not wait.`,
		Example: `  supervisord run greet name=Ada
  supervisord run spell text=streamed --stream
  supervisord run count --params '{"count": 3}' --stream --json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.params != "" && len(args) > 1 {
				return &usageError{command: cmd.CommandPath(), err: errors.New("params come either from key=value or from --params")}
			}
			params, err := c.runParams(f.params, args[1:])
			if err != nil {
				return &usageError{command: cmd.CommandPath(), err: err}
			}
			if cmd.Flags().Changed("timeout") && f.timeout <= 0 {
				return &usageError{command: cmd.CommandPath(), err: errors.New("--timeout is more than 0, such as 30s")}
			}
			return c.runPlugin(cmd.Context(), f, client.Execute{
				Plugin: args[0], Params: params, Pool: f.pool, Timeout: f.timeout,
			})
		},
	}
	command.ValidArgsFunction = c.completePlugin
	flags := command.Flags()
	flags.StringVar(&f.params, "params", "", "all params as one `JSON` object; - reads it from stdin")
	flags.BoolVar(&f.stream, "stream", false, "print chunks as they are produced")
	flags.StringVar(&f.pool, "pool", "", "run in the `pool` of this name only")
	flags.BoolVar(&f.every, "json", false, "print every message of the daemon, one line of JSON each")
	flags.DurationVar(&f.timeout, "timeout", 0, "end the job when it has run for so `long` (30s, 5m)")
	return command
}

// runParams makes the params from --params or from key=value arguments.
func (c *cli) runParams(all string, pairs []string) (json.RawMessage, error) {
	if all == "" {
		return parsePairs(pairs)
	}
	raw, err := c.jsonArgument(all)
	if err != nil {
		return nil, fmt.Errorf("--params: %w", err)
	}
	if !startsWith(raw, "{") {
		return nil, errors.New("--params is not a JSON object")
	}
	return raw, nil
}

func (c *cli) runPlugin(ctx context.Context, f runFlags, e client.Execute) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	p := &resultPrinter{w: c.stdout, every: f.every, json: c.output == "json"}
	if !f.stream {
		result, err := conn.Execute(ctx, e)
		return p.end(result, err)
	}
	stream := conn.Stream(ctx, e)
	stream.OnProgress(p.progress)
	for chunk, err := range stream.Chunks() {
		if err != nil {
			break // Result tells it again
		}
		if p.chunk(&chunk) != nil {
			break // which cancels the job; end tells why
		}
	}
	result, err := stream.Result()
	return p.end(result, err)
}

// completePlugin asks a running daemon for the names; without one there are none to offer.
func (c *cli) completePlugin(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	var list protocol.PluginListResult
	if err := c.call(ctx, protocol.MethodPluginList, nil, &list); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, len(list.Plugins))
	for i, p := range list.Plugins {
		names[i] = p.Name
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"supervisord/protocol"
)

// newPoolCommands are the commands that do something with one pool and print how it is then.
func newPoolCommands(c *cli) []*cobra.Command {
	command := func(method, use, short, long string) *cobra.Command {
		return &cobra.Command{
			Use: use + " POOL", Short: short, Long: long,
			Args: cobra.ExactArgs(1), ValidArgsFunction: c.completePool,
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.onPool(cmd.Context(), method, protocol.PoolParams{Pool: args[0]})
			},
		}
	}
	return []*cobra.Command{
		newScaleCommand(c),
		command(protocol.MethodPoolRestart, "restart", "Replace the workers of a pool, one by one",
			`Replace the workers of a pool, one by one and with the configuration that they have. A pool
that has failed tries again. The command ends when the last worker is replaced.`),
		command(protocol.MethodPoolPause, "pause", "Let a pool run nothing new until resume",
			`Let a pool run nothing new until resume. Running jobs go on, those that wait go on waiting, and new calls are refused.`),
		command(protocol.MethodPoolResume, "resume", "Let the calls of a paused pool run",
			`Let the calls of a paused pool run.`),
	}
}

func newScaleCommand(c *cli) *cobra.Command {
	var least, most int
	command := &cobra.Command{
		Use:   "scale POOL [--min N] [--max N]",
		Short: "Set how many workers a pool has, until the next reload",
		Long: `Set the least and the most workers of a pool, until the next reload. What is not given stays.
Of 0 at least, the first worker is started by the first call.`,
		Example:               `  supervisord pools scale llm --min 1 --max 4`,
		Args:                  cobra.ExactArgs(1),
		ValidArgsFunction:     c.completePool,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			params := protocol.PoolScaleParams{Pool: args[0]}
			if cmd.Flags().Changed("min") {
				params.MinWorkers = &least
			}
			if cmd.Flags().Changed("max") {
				params.MaxWorkers = &most
			}
			if params.MinWorkers == nil && params.MaxWorkers == nil {
				return &usageError{command: cmd.CommandPath(), err: errors.New("give --min, --max or both")}
			}
			return c.onPool(cmd.Context(), protocol.MethodPoolScale, params)
		},
	}
	command.Flags().IntVar(&least, "min", 0, "keep at least so `many`")
	command.Flags().IntVar(&most, "max", 0, "start at most so `many`")
	return command
}

// onPool calls a method whose result is a pool, and prints that.
func (c *cli) onPool(ctx context.Context, method string, params any) error {
	var raw json.RawMessage
	if err := c.call(ctx, method, params, &raw); err != nil {
		return err
	}
	if c.output == "json" {
		return c.printJSON(raw)
	}
	var pool protocol.Pool
	if err := decodeResult(method, raw, &pool); err != nil {
		return err
	}
	return c.printTable(poolHeader, poolRows([]protocol.Pool{pool}))
}

// completePool asks a running daemon for the names; without one there are none to offer.
func (c *cli) completePool(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	var list protocol.PoolListResult
	if err := c.call(ctx, protocol.MethodPoolList, nil, &list); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, len(list.Pools))
	for i, p := range list.Pools {
		names[i] = p.Name
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

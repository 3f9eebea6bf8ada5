package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"supervisord/protocol"
)

func newCallCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "call METHOD [JSON]",
		Short: "Call any method of the daemon and print its result",
		Long: `Call any method of the daemon and print its result: indented on a terminal, else in one line.

JSON are the params; "-" reads them from stdin. Chunks of a stream are not shown: "run --stream" does that.`,
		Example: `  supervisord call daemon.info
  supervisord call execute '{"plugin_name": "echo", "params": {"text": "hello"}}'`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return protocol.Methods(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var params any
			if len(args) == 2 {
				raw, err := c.jsonArgument(args[1])
				if err != nil {
					return &usageError{command: cmd.CommandPath(), err: fmt.Errorf("params: %w", err)}
				}
				params = raw
			}
			var result json.RawMessage
			if err := c.call(cmd.Context(), args[0], params, &result); err != nil {
				return err
			}
			return c.printJSON(result)
		},
	}
}

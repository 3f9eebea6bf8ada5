package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"supervisord/protocol"
)

func newVersionCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program and of the protocol it speaks",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if c.output == "json" {
				return c.printValue(map[string]any{"version": version, "protocol": protocol.Version, "go": runtime.Version()})
			}
			_, err := fmt.Fprintf(c.stdout, "supervisord %s, protocol %d, %s\n", version, protocol.Version, runtime.Version())
			return err
		},
	}
}

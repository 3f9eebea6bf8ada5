package main

import "github.com/spf13/cobra"

func newWorkerCommand(*cli) *cobra.Command {
	command := &cobra.Command{
		Use:   "worker",
		Short: "Be a worker, as the command of a pool",
		Args:  noSuchCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(newWorkerDemoCommand())
	return command
}

package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// cli is what the commands share: where they read and write, and the global flags.
type cli struct {
	env    func(name string) (string, bool)
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer

	socket string // --socket
	output string // --output, empty where it was not given

	// started is set once flags and arguments were accepted: an error before that is a wrong use.
	started bool
}

// run does what args say and returns the exit code. ctx ends everything but what a command cleans up.
func run(ctx context.Context, args []string, env func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer) int {
	c := &cli{env: env, stdin: stdin, stdout: stdout, stderr: stderr}
	root := newRootCommand(c) //nolint:contextcheck // commands get ctx from ExecuteContextC
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err != nil && !c.started {
		err = &usageError{command: command.CommandPath(), err: err}
	}
	return c.report(err)
}

func newRootCommand(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:   "supervisord",
		Short: "Keep pools of worker processes warm and call them through one Unix socket",
		Long: `Keep pools of worker processes warm and call them through one Unix socket.

The daemon is "supervisord serve"; all other commands but check, worker and version talk to a running one.

Exit codes: 0 success, 1 failure, 2 wrong use, 3 daemon not reachable, 4 job failed, 5 cancelled, 78 bad configuration.`,
		Args:                  noSuchCommand,
		RunE:                  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		DisableFlagsInUseLine: true,

		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if c.output != "" && c.output != "json" && c.output != "table" {
				return fmt.Errorf("--output is json or table, not %q", c.output)
			}
			c.started = true
			return nil
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.socket, "socket", "", "the daemon's socket `path` (default $SUPERVISORD_SOCKET, then the usual places)")
	flags.StringVar(&c.output, "output", "", "`format` of what is printed: json for programs, table for people")
	// The error cannot be: the flag is there, and a func completes it.
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json", "table"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(
		newServeCommand(c), newCheckCommand(c), newRunCommand(c), newCallCommand(c), newStatusCommand(c),
		newPluginsCommand(c), newPoolsCommand(c), newWorkersCommand(c), newReloadCommand(c), newWorkerCommand(c), newVersionCommand(c),
	)
	return root
}

// noSuchCommand refuses arguments of a command that has only subcommands, in one line where cobra takes several.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("there is no command %q", args[0])
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		message += "; did you mean " + strings.Join(near, ", ") + "?"
	}
	return fmt.Errorf("%s", message)
}

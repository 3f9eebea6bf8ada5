package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"supervisord/internal/config"
)

func newCheckCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Validate a configuration and report every problem",
		Long: `Validate a configuration and report every problem as FILE:LINE: key: message.

Without FILE it is the one that serve would take: $SUPERVISORD_CONFIG, ./supervisord.yaml,
$XDG_CONFIG_HOME/supervisord/config.yaml, /etc/supervisord/config.yaml. Variables such as
SUPERVISORD_LOG_LEVEL override values here as they do for serve. The digest tells two
configurations of different meaning apart. Keys that have no effect yet get a note.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.FixedCompletions([]string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt),
		RunE: func(_ *cobra.Command, args []string) error {
			options := config.LoadOptions{Env: c.env, EUID: os.Geteuid()}
			if len(args) > 0 {
				options.Path = args[0]
			}
			return c.check(options)
		},
	}
}

func (c *cli) check(options config.LoadOptions) error {
	loaded, err := config.Load(options)
	if c.output == "json" {
		verdict := map[string]any{"valid": err == nil, "problems": problems(err)}
		if err == nil {
			verdict["file"], verdict["digest"], verdict["pools"] = loaded.File, loaded.Digest(), len(loaded.Pools)
			verdict["notes"] = append([]config.Problem{}, loaded.NotYet()...)
		}
		if err := c.printValue(verdict); err != nil {
			return err
		}
	}
	if err != nil {
		return &configError{err: err}
	}
	if c.output == "json" {
		return nil
	}
	for _, note := range loaded.NotYet() {
		note.Message = "note: " + note.Message
		fmt.Fprintln(c.stderr, printable(note.Text(loaded.File)))
	}
	_, err = fmt.Fprintf(c.stdout, "%s: valid\ndigest %s, %s\n", loaded.File, loaded.Digest(), counted(len(loaded.Pools), "pool"))
	return err
}

// problems is config.Problems that JSON shows as a list even where it is empty.
func problems(err error) []config.Problem { return append([]config.Problem{}, config.Problems(err)...) }

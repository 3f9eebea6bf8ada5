package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"supervisord/internal/config"
	"supervisord/protocol"
)

func newReloadCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Let the daemon read its configuration again",
		Long: `Let the daemon read its configuration again and print what has changed.

No call is dropped: pools whose command, plugins or limits of the process differ get new
workers, one by one or all at once, and all other values of pools hold for the workers that
there are. Of an invalid file nothing is taken, and every problem is reported as by check.

Exit code 78: the file is invalid, and nothing has changed. Exit code 1: some pool keeps its
old workers, because a new one did not become ready; all else has been done.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var raw json.RawMessage
			if err := c.call(cmd.Context(), protocol.MethodDaemonReload, nil, &raw); err != nil {
				return c.invalidFile(err)
			}
			var result protocol.DaemonReloadResult
			if err := decodeResult(protocol.MethodDaemonReload, raw, &result); err != nil {
				return err
			}
			if err := c.printReload(raw, &result); err != nil {
				return err
			}
			return keptError(result.Pools)
		},
	}
}

// invalidFile turns the daemon's verdict on its file into the one that check has, and returns other errors as they are.
func (c *cli) invalidFile(err error) error {
	invalid, ok := errors.AsType[*protocol.Error](err)
	if !ok || invalid.Code != protocol.CodeConfigInvalid || len(invalid.Data.Problems) == 0 {
		return err
	}
	verdict := &config.ValidationError{Path: invalid.Data.File}
	for _, p := range invalid.Data.Problems {
		verdict.Problems = append(verdict.Problems, config.Problem(p))
	}
	if c.output == "json" {
		if err := c.printValue(map[string]any{"valid": false, "problems": verdict.Problems}); err != nil {
			return err
		}
	}
	return &configError{err: verdict}
}

func (c *cli) printReload(raw json.RawMessage, result *protocol.DaemonReloadResult) error {
	if c.output == "json" {
		return c.printJSON(raw)
	}
	var rows [][]string
	for _, key := range result.Settings {
		rows = append(rows, []string{"setting", key, "changed", ""})
	}
	for _, key := range result.NeedsRestart {
		rows = append(rows, []string{"setting", key, "unchanged", "takes effect when the daemon is started again"})
	}
	for _, p := range result.Pools {
		rows = append(rows, []string{"pool", p.Pool, string(p.Change), p.Reason})
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(c.stdout, "nothing has changed")
		return err
	}
	return c.printTable([]string{"WHAT", "NAME", "CHANGE", "REASON"}, rows)
}

// keptError says which pools keep their old workers; nil where none does.
func keptError(pools []protocol.PoolChange) error {
	var kept []string
	for _, p := range pools {
		if p.Change == protocol.PoolKept {
			kept = append(kept, p.Pool)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return fmt.Errorf("not all was reloaded: old workers go on in %s %s", plural(len(kept), "pool"), strings.Join(kept, ", "))
}

// plural is "pool" or "pools".
func plural(n int, what string) string {
	if n == 1 {
		return what
	}
	return what + "s"
}

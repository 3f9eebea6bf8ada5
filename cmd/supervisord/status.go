package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"supervisord/protocol"
)

func newStatusCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the state of the daemon and its pools",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var status protocol.DaemonStatus
			shown, err := c.fetch(cmd.Context(), protocol.MethodDaemonStatus, &status)
			if shown || err != nil {
				return err
			}
			if err := c.printTable(nil, statusRows(&status)); err != nil {
				return err
			}
			if len(status.Pools) == 0 {
				return nil
			}
			if _, err := fmt.Fprintln(c.stdout); err != nil {
				return err
			}
			return c.printTable(poolHeader, poolRows(status.Pools))
		},
	}
}

func statusRows(s *protocol.DaemonStatus) [][]string {
	config := s.Config
	if config == "" {
		config = "none, defaults serve"
	}
	return [][]string{
		{"state", string(s.State)},
		{"version", s.Version},
		{"pid", strconv.Itoa(s.PID)},
		{"uptime", (time.Duration(s.UptimeMS) * time.Millisecond).Round(time.Second).String()},
		{"socket", s.Socket},
		{"config", config},
		{"connections", strconv.Itoa(s.Connections)},
		{"jobs", fmt.Sprintf("%d running, %d queued, %d completed, %d failed, %d cancelled",
			s.Jobs.Running, s.Jobs.Queued, s.Jobs.Completed, s.Jobs.Failed, s.Jobs.Cancelled)},
	}
}

var poolHeader = []string{"POOL", "STATE", "READY", "BUSY", "STARTING", "FAILED", "QUEUED", "REASON"}

func poolRows(pools []protocol.Pool) [][]string {
	rows := make([][]string, len(pools))
	for i, p := range pools {
		rows[i] = []string{
			p.Name, string(p.State), strconv.Itoa(p.Workers.Ready), strconv.Itoa(p.Workers.Busy),
			strconv.Itoa(p.Workers.Starting), strconv.Itoa(p.Workers.Failed), strconv.Itoa(p.Queued), p.Reason,
		}
	}
	return rows
}

// decodeResult reads the daemon's result, whose unknown members are those of a later version.
func decodeResult(method string, raw json.RawMessage, result any) error {
	if err := json.Unmarshal(raw, result); err != nil {
		return fmt.Errorf("result of %s: %w", method, err)
	}
	return nil
}

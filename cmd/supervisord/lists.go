package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"supervisord/protocol"
)

// fetch calls a method without params. With --output json it prints the result and reports true, else it decodes it.
func (c *cli) fetch(ctx context.Context, method string, result any) (shown bool, err error) {
	var raw json.RawMessage
	if err := c.call(ctx, method, nil, &raw); err != nil {
		return false, err
	}
	if c.output == "json" {
		return true, c.printJSON(raw)
	}
	return false, decodeResult(method, raw, result)
}

func newPluginsCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "plugins",
		Short: "List the plugins that can be run, and where",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list protocol.PluginListResult
			shown, err := c.fetch(cmd.Context(), protocol.MethodPluginList, &list)
			if shown || err != nil {
				return err
			}
			return c.printTable([]string{"PLUGIN", "STREAMS", "POOLS", "DESCRIPTION"}, pluginRows(list.Plugins))
		},
	}
}

func pluginRows(plugins []protocol.Plugin) [][]string {
	rows := make([][]string, len(plugins))
	for i, p := range plugins {
		where := make([]string, 0, len(p.Residency))
		for _, pool := range slices.Sorted(maps.Keys(p.Residency)) {
			where = append(where, fmt.Sprintf("%s (%s)", pool, p.Residency[pool]))
		}
		if len(where) == 0 {
			where = p.Pools
		}
		rows[i] = []string{p.Name, yesNo(p.Streaming), strings.Join(where, ", "), p.Description}
	}
	return rows
}

func newPoolsCommand(c *cli) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error {
		var list protocol.PoolListResult
		shown, err := c.fetch(cmd.Context(), protocol.MethodPoolList, &list)
		if shown || err != nil {
			return err
		}
		return c.printTable(poolHeader, poolRows(list.Pools))
	}
	pools := &cobra.Command{Use: "pools", Short: "List the pools, or do something with one", Args: noSuchCommand, RunE: list}
	pools.AddCommand(&cobra.Command{Use: "list", Short: "List the pools", Args: cobra.NoArgs, RunE: list})
	pools.AddCommand(newPoolCommands(c)...)
	return pools
}

func newWorkersCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "workers",
		Short: "List the workers and their processes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list protocol.WorkerListResult
			shown, err := c.fetch(cmd.Context(), protocol.MethodWorkerList, &list)
			if shown || err != nil {
				return err
			}
			header := []string{"WORKER", "STATE", "PID", "RUN", "JOBS", "PLUGIN", "MEMORY", "RESTARTS", "LAST EXIT"}
			return c.printTable(header, workerRows(list.Workers))
		},
	}
}

func workerRows(workers []protocol.Worker) [][]string {
	rows := make([][]string, len(workers))
	for i, w := range workers {
		pid, memory, plugin, lastExit := "-", "-", "-", "-"
		if w.PID > 0 {
			pid = strconv.Itoa(w.PID)
		}
		if w.RSSBytes > 0 {
			memory = fmt.Sprintf("%.1f MiB", float64(w.RSSBytes)/(1<<20))
		}
		if w.CurrentPlugin != "" {
			plugin = w.CurrentPlugin
		}
		if w.LastExit != nil {
			lastExit = strings.TrimSuffix(w.LastExit.Cause+": "+w.LastExit.Message, ": ")
		}
		rows[i] = []string{
			w.Worker, string(w.State), pid, strconv.FormatUint(w.Incarnation, 10), strconv.Itoa(len(w.JobIDs)), plugin,
			memory, strconv.Itoa(w.Restarts), lastExit,
		}
	}
	return rows
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

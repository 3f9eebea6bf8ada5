package protocol

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"supervisord/protocol/jsonscan"
)

// prose is PROTOCOL.md, taken apart.
type prose struct {
	lines  []string // without the insides of fenced blocks
	blocks []block
}

// block is a fenced block; section is the heading that it stands under, without its marks.
type block struct {
	line          int
	section, info string
	text          string
}

func readProse(t *testing.T) *prose {
	t.Helper()
	content, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	var (
		p       prose
		section string
		open    *block
	)
	for i, line := range strings.Split(string(content), "\n") {
		switch fence := strings.HasPrefix(line, "```"); {
		case open == nil && fence:
			open = &block{line: i + 1, section: section, info: line[3:]}
		case open != nil && fence:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		default:
			if heading := strings.TrimLeft(line, "#"); heading != line {
				section = strings.Trim(heading, " `")
			}
			p.lines = append(p.lines, line)
		}
	}
	if open != nil || len(p.blocks) == 0 {
		t.Fatal("PROTOCOL.md: a block that is not closed, or no block at all")
	}
	return &p
}

// tables returns every table whose header has this first cell, as cells, under the heading that it stands under.
func (p *prose) tables(first string) map[string][][]string {
	found := make(map[string][][]string)
	section, inside := "", false
	for _, line := range p.lines {
		if heading := strings.TrimLeft(line, "#"); heading != line {
			section = strings.Trim(heading, " `")
		}
		if !strings.HasPrefix(line, "|") {
			inside = false
			continue
		}
		cells := strings.Split(strings.ReplaceAll(strings.Trim(line, "|"), `\|`, "\x00"), "|")
		for i, c := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(c), "\x00", "|")
		}
		switch {
		case inside && !strings.HasPrefix(cells[0], "---"):
			found[section] = append(found[section], cells)
		case cells[0] == first:
			inside = true
		}
	}
	return found
}

// TestProseLinks: every link within the text leads somewhere.
func TestProseLinks(t *testing.T) {
	p := readProse(t)
	anchors := make(map[string]bool)
	drop := regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
	for _, line := range p.lines {
		heading := strings.TrimLeft(line, "#")
		if heading == line {
			continue
		}
		anchor := strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), ""), " ", "-")
		for base, n := anchor, 1; anchors[anchor]; n++ {
			anchor = fmt.Sprintf("%s-%d", base, n)
		}
		anchors[anchor] = true
	}
	for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(strings.Join(p.lines, "\n"), -1) {
		target, inside := strings.CutPrefix(link[1], "#")
		if inside && !anchors[target] {
			t.Errorf("no heading for the link #%s", target)
		}
		if !inside {
			if _, err := os.Stat(target); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestProseConstants: numbers and names that the text gives are those of the code.
func TestProseConstants(t *testing.T) {
	text := strings.Join(strings.Fields(strings.Join(readProse(t).lines, " ")), " ")
	for _, want := range []string{
		"`" + EnvProtocol + "` | `" + strconv.Itoa(Version) + "`", "`" + EnvPool + "`", "`" + EnvWorker + "`", "`" + EnvSlot + "`",
		"`" + EnvIncarnation + "`",
		fmt.Sprintf("| **%d** | where the worker **reads**", FDRequests),
		fmt.Sprintf("| **%d** | where the worker **writes**", FDResponses),
		fmt.Sprintf("**Exit status %d**", ExitDoNotRestart),
		fmt.Sprintf("**`max_message` + %d bytes**", FrameOverhead),
		fmt.Sprintf("first **%d bytes**", EnvelopePrefix),
		fmt.Sprintf("deeper than **%d** levels", MaxDepth),
		fmt.Sprintf("1 to %d of `[A-Za-z0-9._:-]`", MaxJobIDLength),
		fmt.Sprintf("-%d to %d; orders", MaxPriority, MaxPriority),
		fmt.Sprintf("of at most %d bytes, echoed", jsonscan.CaptureLimit), fmt.Sprintf("which it implies; at most %d bytes", jsonscan.CaptureLimit),
		fmt.Sprintf("`min_workers` 0 to %d, `max_workers` 1 to %[1]d", MaxPoolWorkers),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("PROTOCOL.md does not say %q", want)
		}
	}
	for _, values := range [][]string{
		{string(HowQueued), string(HowCooperative), string(HowTerminated), string(HowKilled), string(HowDetached)},
		{ByCaller, ByDisconnect, ByOwner, ByOperator, ByShutdown, ByReload},
		{string(PhaseQueue), string(PhaseLoad), string(PhaseRun)},
		{string(PoolStarting), string(PoolBackoff), string(PoolFailed), string(PoolPaused), string(PoolStopped)},
	} {
		if want := "| `" + strings.Join(values, "`, `") + "`"; !strings.Contains(text, want) {
			t.Errorf("PROTOCOL.md does not list %q", want)
		}
	}
	for _, value := range []string{
		string(CauseExit), string(CauseSignal), string(CauseOOM), string(CauseProtocol), string(CauseStalled), string(CauseStartFailed),
		CategoryUserInput, CategoryTransient, CategoryResource, CategoryFatal, LevelDebug, LevelInfo, LevelWarn, LevelError,
		LimitQueue, LimitInFlight, LimitConnections, OnDisconnectCancel, OnDisconnectContinue, ProgressKindChunk, ProgressKindProgress,
		string(JobPending), string(JobRunning), string(JobCompleted), string(JobFailed), string(JobCancelled),
		string(ResidencyResident), string(ResidencyLoading), string(ResidencyUnloaded), string(ResidencyLoadFailed),
		string(WorkerStopped), string(WorkerStarting), string(WorkerInitializing), string(WorkerReady), string(WorkerDraining),
		string(WorkerStopping), string(WorkerBackoff), string(WorkerFailed), string(PoolReady), ExitStopped, EndedByResult,
		string(DaemonStarting), string(DaemonReady), string(DaemonDegraded), string(DaemonConfigInvalid), string(DaemonStopping),
		TreeKillCgroup, TreeKillProcessGroup,
		string(PoolAdded), string(PoolRemoved), string(PoolRolled), string(PoolTuned), string(PoolKept),
	} {
		if !strings.Contains(text, "`"+value) {
			t.Errorf("PROTOCOL.md does not name the value %q", value)
		}
	}
}

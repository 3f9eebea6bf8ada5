// Package target starts the systems under load and reads what their processes cost.
package target

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopGrace is how long a system may take to stop after SIGTERM.
const stopGrace = 10 * time.Second

// process is the first process of a system, with its output in a file.
type process struct {
	cmd    *exec.Cmd
	log    string
	exited chan struct{} // closed once cmd.Wait has returned
	err    error         // of cmd.Wait
}

func start(cmd *exec.Cmd, log string) (*process, error) {
	output, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is the runner's to pass on
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, log: log, exited: make(chan struct{})}
	go func() { // ends with the process, which stop makes sure of
		p.err = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// stop asks the process to end, kills it when it doesn't, and reports whatever wasn't a clean exit.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(unix.SIGTERM) // it may have exited
	select {
	case <-p.exited:
		return p.died()
	case <-time.After(stopGrace):
		_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL)
		<-p.exited
		return fmt.Errorf("%s did not stop within %s of SIGTERM%s", filepath.Base(p.cmd.Path), stopGrace, p.tail())
	}
}

// died describes the exit of a process that is known to have exited; nil when it was clean.
func (p *process) died() error {
	if p.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w%s", filepath.Base(p.cmd.Path), p.err, p.tail())
}

// tail returns the end of the process's output, ready to be appended to a message.
func (p *process) tail() string {
	file, err := os.Open(p.log)
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > 4096 {
		_, _ = file.Seek(-4096, io.SeekEnd)
	}
	text, _ := io.ReadAll(file)
	if len(bytes.TrimSpace(text)) == 0 {
		return ""
	}
	return "; its last output:\n" + string(text)
}

// CPU returns the processor time that a live process has used, all its threads included, exact where /proc/PID/stat counts ticks
// of 10 ms.
func CPU(pid int) (time.Duration, error) {
	var used unix.Timespec
	clock := int32(^pid<<3 | 2) // CPUCLOCK_SCHED of the process, see clock_getcpuclockid(3)
	if err := unix.ClockGettime(clock, &used); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
}

// Tree returns the ids of a live process and all its descendants, sorted.
func Tree(pid int) ([]int, error) {
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", tree[i]))
		if err != nil {
			return nil, err
		}
		if len(lists) == 0 && i == 0 {
			return nil, fmt.Errorf("process %d is gone", pid)
		}
		for _, list := range lists {
			text, err := os.ReadFile(list)
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
				continue // the thread has ended
			}
			if err != nil {
				return nil, err
			}
			for field := range strings.FieldsSeq(string(text)) {
				child, err := strconv.Atoi(field)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", list, err)
				}
				tree = append(tree, child)
			}
		}
	}
	slices.Sort(tree)
	return tree, nil
}

// RSS returns the resident memory of a process in bytes.
func RSS(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/%d/statm: %q", pid, text)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// Busy returns the processor time that the whole machine has used for anything since it started, in ticks of 10 ms.
func Busy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal ...
	if len(fields) < 8 {
		return 0, fmt.Errorf("/proc/stat: %q", line)
	}
	var ticks int64
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

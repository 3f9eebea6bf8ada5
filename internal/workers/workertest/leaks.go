package workertest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// NoLeaks checks at the end of the test, after the cleanups registered later, that the process has as many descriptors
// and children as it has now. Tests that use it do not run in parallel.
func NoLeaks(t *testing.T) {
	t.Helper()
	fds, children := descriptors(t), processes(t)
	t.Cleanup(func() {
		if t.Failed() {
			return // whatever is left is a consequence
		}
		deadline := time.Now().Add(10 * time.Second)
		for {
			moreFDs, moreChildren := without(descriptors(t), fds), without(processes(t), children)
			if len(moreFDs)+len(moreChildren) == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("left behind: descriptors %q, processes %q", moreFDs, moreChildren)
				return
			}
			time.Sleep(time.Millisecond) // the kernel closes what a process had a moment after its exit
		}
	})
}

// descriptors are what the process has open, as "number target".
func descriptors(t *testing.T) []string {
	t.Helper()
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil || strings.HasPrefix(target, "anon_inode:[eventpoll]") || strings.HasPrefix(target, "anon_inode:[eventfd]") {
			continue // the one that reads the directory, and the runtime's own
		}
		list = append(list, e.Name()+" "+target)
	}
	return list
}

// processes are the children of this process, zombies too, as "pid command".
func processes(t *testing.T) []string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, task := range tasks {
		b, err := os.ReadFile(task) //nolint:gosec // a file of the kernel
		if err != nil {
			continue // a thread that has ended
		}
		for pid := range strings.FieldsSeq(string(b)) {
			comm, err := os.ReadFile("/proc/" + pid + "/comm") //nolint:gosec // a file of the kernel
			if err != nil {
				continue
			}
			list = append(list, pid+" "+strings.TrimSpace(string(comm)))
		}
	}
	return list
}

// without is what list has and before has not.
func without(list, before []string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return slices.Contains(before, s) })
}

package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups are what this process has of the cgroup that has been delegated to it. Beside its own leaf there is one for
// the processes, with a cgroup for each.
type cgroups struct {
	dir     string // of the processes' cgroups
	path    string // the same, as /proc/PID/cgroup has it
	lock    *os.File
	limits  Limits
	missing string // why limits are missing, "" where none is
}

// openCgroups takes over the delegated cgroup. What a daemon before this one left in it is killed.
func openCgroups() (*cgroups, error) {
	base, err := findCgroup()
	if err != nil {
		return nil, err
	}
	c := &cgroups{dir: filepath.Join(base, "workers")}
	if err := makeDir(c.dir); err != nil {
		return nil, err
	}
	// So that another daemon that has been started in the same cgroup does not sweep this one's processes.
	c.lock, err = os.Open(c.dir)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the directory
	}
	if err := unix.Flock(int(c.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = c.lock.Close() // only read
		return nil, fmt.Errorf("the cgroup %s is another daemon's: %w", c.dir, err)
	}
	if err := c.takeOver(base); err != nil {
		_ = c.lock.Close() // as above
		return nil, err
	}
	return c, nil
}

func (c *cgroups) takeOver(base string) error {
	c.sweep()
	leaf := filepath.Join(base, daemonLeaf)
	if err := makeDir(leaf); err != nil {
		return err
	}
	if err := write(leaf, "cgroup.procs", "0"); err != nil {
		return err
	}
	path := cgroupOf(os.Getpid())
	c.path = filepath.Join(filepath.Dir(path), filepath.Base(c.dir))
	if Kept() {
		_ = write(leaf, "cgroup.procs", strconv.Itoa(keeperPID)) // where it is in another cgroup it is not in the way
	}
	var missing []string
	c.limits = Limits{
		Memory: c.enable(base, "memory", &missing), CPU: c.enable(base, "cpu", &missing), Tasks: c.enable(base, "pids", &missing),
	}
	c.missing = strings.Join(missing, ", ")
	return nil
}

// enable makes a controller available to the processes' cgroups.
func (c *cgroups) enable(base, controller string, missing *[]string) bool {
	for _, dir := range []string{base, c.dir} {
		if err := write(dir, "cgroup.subtree_control", "+"+controller); err != nil {
			*missing = append(*missing, fmt.Sprintf("controller %s: %v", controller, errors.Unwrap(err)))
			return false
		}
	}
	return true
}

// sweep kills what an earlier daemon left.
func (c *cgroups) sweep() {
	deadline := time.Now().Add(reapPatience)
	entries, _ := os.ReadDir(c.dir) // without them there is nothing to sweep
	var stale []*cgroup
	for _, e := range entries {
		if e.IsDir() {
			g := &cgroup{dir: filepath.Join(c.dir, e.Name())}
			g.kill()
			stale = append(stale, g)
		}
	}
	for _, g := range stale {
		g.awaitEmpty(deadline)
		g.remove()
	}
}

// close gives the cgroups back. Nil has none.
func (c *cgroups) close() {
	if c == nil {
		return
	}
	c.sweep()
	_ = unix.Rmdir(c.dir) // of no harm, and the next daemon's to take over
	_ = c.lock.Close()    // only read
}

// make makes the cgroup of a process, with its limits. Nil makes none. A cgroup that cannot be made is an error only
// where it is to enforce a limit.
func (c *cgroups) make(o *Command) (*cgroup, error) {
	if c == nil {
		return nil, nil //nolint:nilnil // no cgroup is no error
	}
	name := strings.ReplaceAll(o.Name, "/", "-")
	g := &cgroup{dir: filepath.Join(c.dir, name), path: filepath.Join(c.path, name)}
	if err := makeDir(g.dir); err != nil {
		if o.MemoryLimit > 0 || o.CPULimit > 0 || o.TasksLimit > 0 {
			return nil, &StartError{Step: StepCgroup, Path: g.path, Err: err}
		}
		return nil, nil //nolint:nilnil // see above
	}
	if err := g.limit(o, c.limits); err != nil {
		g.remove()
		return nil, &StartError{Step: StepCgroup, Path: g.path, Err: err}
	}
	return g, nil
}

// cgroup is that of one process. Its methods do nothing on nil.
type cgroup struct {
	dir  string
	path string // as /proc/PID/cgroup has it
	// tasks is the limit of the program, 0 for none.
	tasks int
}

// shimTasks are threads of the Go runtime: without them the shim could not become a program with fewer.
const shimTasks = 16

func (g *cgroup) limit(o *Command, can Limits) error {
	if can.Memory {
		// One that is killed for its memory takes all of its tree along, whichever limit it was.
		if err := write(g.dir, "memory.oom.group", "1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if can.Memory && o.MemoryLimit > 0 {
		if err := write(g.dir, "memory.max", strconv.FormatInt(o.MemoryLimit, 10)); err != nil {
			return err
		}
		if err := write(g.dir, "memory.swap.max", "0"); err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without swap
			return err
		}
	}
	if can.CPU && o.CPULimit > 0 {
		const period, least = 100_000, 1000 // µs
		quota := max(least, int64(o.CPULimit*period))
		if err := write(g.dir, "cpu.max", fmt.Sprintf("%d %d", quota, period)); err != nil {
			return err
		}
	}
	if can.Tasks && o.TasksLimit > 0 {
		g.tasks = o.TasksLimit
		return write(g.dir, "pids.max", strconv.Itoa(g.tasks+shimTasks))
	}
	return nil
}

// executed takes back what the shim needed beyond the limits of the program that it has become.
func (g *cgroup) executed() {
	if g != nil && g.tasks > 0 {
		_ = write(g.dir, "pids.max", strconv.Itoa(g.tasks)) // as before; it is gone where the process is
	}
}

// add moves a process into it.
func (g *cgroup) add(pid int) error {
	if g == nil {
		return nil
	}
	return write(g.dir, "cgroup.procs", strconv.Itoa(pid))
}

// holds reports whether a path of /proc/PID/cgroup is its own or of one below it.
func (g *cgroup) holds(path string) bool {
	return g != nil && (path == g.path || strings.HasPrefix(path, g.path+"/"))
}

// kill ends all processes in it and below it, of whatever user.
func (g *cgroup) kill() {
	if g == nil || write(g.dir, "cgroup.kill", "1") == nil {
		return
	}
	for _, dir := range g.tree() { // before Linux 5.14, or it is gone
		pids, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs")) //nolint:gosec // a file of the kernel; gone
		for field := range strings.FieldsSeq(string(pids)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
				_ = unix.Kill(pid, unix.SIGKILL) // ended, or not permitted: then nobody can
			}
		}
	}
}

// awaitEmpty returns once no process is in it or below it, or false at the deadline. A zombie is in none.
func (g *cgroup) awaitEmpty(deadline time.Time) bool {
	if g == nil {
		return true
	}
	events, err := os.Open(filepath.Join(g.dir, "cgroup.events"))
	if err != nil {
		return true // gone
	}
	defer func() { _ = events.Close() }() // only read
	buf := make([]byte, 256)
	for {
		n, err := events.ReadAt(buf, 0)
		if n == 0 && err != nil || !slices.Contains(strings.Split(string(buf[:n]), "\n"), "populated 1") {
			return true
		}
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		// Told by the kernel when the file changes after it was read. The netpoller does not know of this event.
		fds := []unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}} //nolint:gosec // a descriptor
		_, _ = unix.Poll(fds, int(left.Milliseconds())+1)                    // interrupted: looked at again
	}
}

// memory is what it holds now, in bytes.
func (g *cgroup) memory() (int64, bool) {
	if g == nil {
		return 0, false
	}
	current, ok := number(g.dir, "memory.current")
	if !ok {
		return 0, false
	}
	// Files that were read stay in memory until somebody needs it, which is no reason to end anybody.
	stat, err := os.ReadFile(filepath.Join(g.dir, "memory.stat"))
	if err != nil {
		return current, true
	}
	for line := range strings.Lines(string(stat)) {
		if text, found := strings.CutPrefix(line, "inactive_file "); found {
			if cache, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil {
				current = max(0, current-cache)
			}
		}
	}
	return current, true
}

// oom is what the process had if the kernel killed it for its memory, else nil.
func (g *cgroup) oom() *OOM {
	if g == nil {
		return nil
	}
	events, err := os.ReadFile(filepath.Join(g.dir, "memory.events"))
	if err != nil {
		return nil // nobody counts
	}
	for line := range strings.Lines(string(events)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok && strings.TrimSpace(count) != "0" {
			o := &OOM{}
			o.Limit, _ = number(g.dir, "memory.max")
			o.Peak, _ = number(g.dir, "memory.peak")
			return o
		}
	}
	return nil
}

// remove removes it with those that its processes have made below it.
func (g *cgroup) remove() {
	if g == nil {
		return
	}
	for _, dir := range slices.Backward(g.tree()) {
		_ = unix.Rmdir(dir) // one that cannot be is swept by the next daemon
	}
}

// tree are the directories of the cgroup and of those below it, parents first.
func (g *cgroup) tree() []string {
	var dirs []string
	_ = filepath.WalkDir(g.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil // what is gone needs no look
	})
	return dirs
}

// makeDir makes a cgroup that is not there.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o755) //nolint:gosec // as the kernel's own
	if st, statErr := os.Stat(dir); errors.Is(err, fs.ErrExist) && statErr == nil && st.IsDir() {
		return nil
	}
	return err //nolint:wrapcheck // names the directory
}

// write writes a file of a cgroup; unlike os.WriteFile it makes none.
func write(dir, name, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0) //nolint:gosec // a file of the kernel
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	_, err = f.WriteString(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err //nolint:wrapcheck // names the file
}

// number is the value of a file of a cgroup; false where there is none, or no limit.
func number(dir, name string) (int64, bool) {
	text, err := os.ReadFile(filepath.Join(dir, name)) //nolint:gosec // a file of the kernel
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

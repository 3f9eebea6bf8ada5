package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// daemonLeaf is the cgroup that the daemon moves itself to: a cgroup that has controllers for its children may not have
// processes itself.
const daemonLeaf = "supervisord"

// findCgroup is the directory of the cgroup that this process may make others in.
func findCgroup() (string, error) {
	path := cgroupOf(os.Getpid())
	if path == "" {
		return "", errors.New("not in a cgroup of version 2") //nolint:err113 // for people alone
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err //nolint:wrapcheck // names the file
	}
	dir, err := cgroupDirectory(string(mounts), path)
	if err != nil {
		return "", err
	}
	if path == "/" {
		return "", errors.New("in the root cgroup, which nobody has delegated") //nolint:err113 // the same
	}
	refused := delegated(dir)
	if parent := filepath.Dir(dir); refused != nil && filepath.Base(dir) == daemonLeaf && delegated(parent) == nil {
		return parent, nil // moved there before, by itself or by its service manager
	}
	return dir, refused
}

// cgroupOf is the path of a process's cgroup of version 2, "" where it cannot be known.
func cgroupOf(pid int) string {
	text, err := os.ReadFile(procFile(pid, "cgroup"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n")
		}
	}
	return ""
}

// cgroupDirectory is where a cgroup is in the file system, by the lines of a mountinfo file.
func cgroupDirectory(mounts, path string) (string, error) {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(mounts) {
		mount, kind, _ := strings.Cut(line, " - ")
		fields := strings.Fields(mount)
		if !strings.HasPrefix(kind, "cgroup2 ") || len(fields) < 5 {
			continue
		}
		root, point := unescape.Replace(fields[3]), unescape.Replace(fields[4])
		if rest, ok := strings.CutPrefix(path, strings.TrimSuffix(root, "/")); ok && (rest == "" || rest[0] == '/') {
			return filepath.Join(point, rest), nil
		}
	}
	return "", fmt.Errorf("the cgroup %s is not mounted", path) //nolint:err113 // for people alone
}

// delegated says why a cgroup is not this process's to divide; nil where it is: its service manager has marked it so, or
// it has been given to this user.
func delegated(dir string) error {
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		value := make([]byte, 8)
		if n, err := unix.Lgetxattr(dir, name, value); err == nil && string(value[:n]) == "1" {
			return nil
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if uid := os.Geteuid(); uid != 0 && int(st.Uid) == uid && unix.Access(dir, unix.W_OK) == nil {
		return nil
	}
	return fmt.Errorf("the cgroup %s has not been delegated to this process", dir) //nolint:err113 // for people alone
}

package rpc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// InUseError says that somebody serves the socket already.
type InUseError struct {
	Path string
	// PID is the process that holds it, 0 where that cannot be told, and Command its name.
	PID     int
	Command string
}

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("socket %s is in use by another process", e.Path)
	}
	return fmt.Sprintf("socket %s is in use by process %d (%s)", e.Path, e.PID, e.Command)
}

// Listener is a Unix socket that this process has made, and the lock that keeps others from making it, too.
type Listener struct {
	*net.UnixListener
	path string
	made os.FileInfo
	lock *os.File
}

// Listen makes the socket at path, which is absolute, with its final mode and group from the moment that it can be seen;
// group is a name or a number, "" leaves the daemon's own. A socket that a daemon left behind is replaced; one that is
// served is an *InUseError. The lock file beside it (path with ".lock" behind) stays for ever: to remove it would let two
// daemons hold two of them.
func Listen(path string, mode os.FileMode, group string) (*Listener, error) {
	fail := func(err error) (*Listener, error) { return nil, fmt.Errorf("listen on %s: %w", path, err) }
	if err := prepareParent(filepath.Dir(path)); err != nil {
		return fail(err)
	}
	gid, err := lookupGroup(group)
	if err != nil {
		return fail(err)
	}
	lock, err := takeLock(path)
	if err != nil {
		return fail(err)
	}
	l := &Listener{path: path, lock: lock}
	if err := l.bind(mode, gid); err != nil {
		_ = lock.Close() // nothing was written to it that matters now
		return fail(err)
	}
	return l, nil
}

// Close stops listening and removes the socket, unless another one is in its place.
func (l *Listener) Close() error {
	err := l.UnixListener.Close()
	if now, statErr := os.Lstat(l.path); statErr == nil && os.SameFile(now, l.made) {
		err = errors.Join(err, os.Remove(l.path))
	}
	if err = errors.Join(err, l.lock.Close()); err != nil {
		return fmt.Errorf("close socket %s: %w", l.path, err)
	}
	return nil
}

// prepareParent makes the socket's directory, if it is only that which is missing, and refuses one in which anybody
// could put another socket into its place.
func prepareParent(dir string) error {
	err := os.Mkdir(dir, 0o755) //nolint:gosec // clients of other users have to get through; the socket's own mode decides
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	st, err := os.Stat(dir)
	switch {
	case err != nil:
		return err //nolint:wrapcheck // names the directory
	case !st.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case st.Mode().Perm()&0o002 != 0 && st.Mode()&os.ModeSticky == 0:
		return fmt.Errorf("everybody may write to the directory %s, and so replace the socket: take that away (chmod o-w)", dir)
	}
	return nil
}

func lookupGroup(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	text := group
	if _, err := strconv.Atoi(group); err != nil {
		g, err := user.LookupGroup(group)
		if err != nil {
			return 0, err //nolint:wrapcheck // names the group
		}
		text = g.Gid
	}
	gid, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("group %q: %w", group, err)
	}
	return gid, nil
}

// takeLock takes the lock of a socket, and writes who holds it into it.
func takeLock(path string) (*os.File, error) {
	name := path + ".lock"
	lock, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err //nolint:wrapcheck // names the file
	}
	fail := func(err error) (*os.File, error) {
		_ = lock.Close()
		return nil, err
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder := make([]byte, 16)
		n, _ := lock.ReadAt(holder, 0) // what cannot be read is not told
		pid, _ := strconv.Atoi(strings.TrimSpace(string(holder[:n])))
		return fail(&InUseError{Path: path, PID: pid, Command: commandOf(pid)})
	}
	if err != nil {
		return fail(fmt.Errorf("lock %s: %w", name, err))
	}
	if err := lock.Truncate(0); err != nil {
		return fail(err)
	}
	if _, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fail(err)
	}
	return lock, nil
}

func commandOf(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(name))
}

// bind makes the socket under another name and moves it into place when it is complete.
func (l *Listener) bind(mode os.FileMode, gid int) error {
	// Through the directory's descriptor a name is short however long the path is: a socket's has 107 bytes at most.
	dir, err := os.Open(filepath.Dir(l.path))
	if err != nil {
		return err //nolint:wrapcheck // names the directory
	}
	defer dir.Close()
	within := func(name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name) }
	if err := checkReplaceable(l.path, within(filepath.Base(l.path))); err != nil {
		return err
	}
	short := within(fmt.Sprintf(".supervisord-%d", os.Getpid()))
	if err := os.Remove(short); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err //nolint:wrapcheck // names the file
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var chmod error
		// The file gets the mode of the descriptor: nobody can connect before the group is set.
		err := raw.Control(func(fd uintptr) { chmod = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, chmod)
	}}
	listener, err := config.Listen(context.Background(), "unix", short)
	if err != nil {
		return err //nolint:wrapcheck // says what failed
	}
	l.UnixListener = listener.(*net.UnixListener) //nolint:forcetypeassert // of network "unix"
	l.SetUnlinkOnClose(false)
	err = l.place(short, mode, gid)
	if err != nil {
		_ = l.UnixListener.Close()
		_ = os.Remove(short) // err says more
	}
	return err
}

func (l *Listener) place(short string, mode os.FileMode, gid int) error {
	if gid >= 0 {
		if err := os.Lchown(short, -1, gid); err != nil {
			return fmt.Errorf("give the socket to its group: %w", err)
		}
	}
	if err := os.Chmod(short, mode); err != nil {
		return fmt.Errorf("set the socket's mode: %w", err)
	}
	made, err := os.Lstat(short)
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	l.made = made
	return os.Rename(short, l.path) //nolint:wrapcheck // names both
}

// checkReplaceable says why what stands at path must not be replaced; short is another name of it.
func checkReplaceable(path, short string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err //nolint:wrapcheck // names the file
	case st.Mode()&os.ModeSocket == 0:
		return errors.New("there is something else than a socket, which is not removed")
	}
	dialer := net.Dialer{Timeout: time.Second}
	nc, err := dialer.DialContext(context.Background(), "unix", short)
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil // nobody listens: a daemon that was killed left it behind
	case errors.Is(err, unix.EAGAIN): // whoever listens does not keep up
		return &InUseError{Path: path}
	case err != nil: // of another type, or not for us: who knows
		return fmt.Errorf("find out whether the socket that is there is in use: %w", err)
	}
	defer nc.Close()
	inUse := &InUseError{Path: path}
	if peer, err := peerOf(nc.(*net.UnixConn)); err == nil { //nolint:forcetypeassert // of network "unix"
		inUse.PID, inUse.Command = peer.PID, commandOf(peer.PID)
	}
	return inUse
}

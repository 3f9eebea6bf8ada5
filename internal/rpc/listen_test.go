package rpc_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervisord/internal/rpc"
)

func listen(t *testing.T, path string, mode os.FileMode, group string) *rpc.Listener {
	t.Helper()
	l, err := rpc.Listen(path, mode, group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return l
}

// TestListenMode: the mode and the group are those that were asked for, whatever the umask.
func TestListenMode(t *testing.T) {
	for _, mode := range []os.FileMode{0o600, 0o660, 0o666} {
		for _, mask := range []int{0, 0o077, 0o777} {
			path := socketPath(t)
			before := syscall.Umask(mask)
			l, err := rpc.Listen(path, mode, strconv.Itoa(os.Getegid()))
			syscall.Umask(before)
			if mask == 0o777 && os.Geteuid() != 0 {
				continue // its own lock file is not for it to open
			}
			if err != nil {
				t.Fatal(err)
			}
			st, err := os.Stat(path)
			if err != nil || st.Mode().Perm() != mode || st.Mode()&os.ModeSocket == 0 {
				t.Errorf("%v, %v, want %v", st, err, mode)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket is still there: %v", err)
			}
		}
	}
}

func TestListenGroup(t *testing.T) {
	if os.Geteuid() == 0 {
		path := socketPath(t)
		listen(t, path, 0o660, "54321")
		st, err := os.Stat(path)
		if err != nil || st.Sys().(*syscall.Stat_t).Gid != 54321 {
			t.Errorf("%+v, %v", st, err)
		}
	}
	path := socketPath(t)
	if _, err := rpc.Listen(path, 0o660, "no-such-group"); err == nil || !strings.Contains(err.Error(), "no-such-group") {
		t.Errorf("unknown group: %v", err)
	}
	if list, _ := os.ReadDir(filepath.Dir(path)); len(list) > 0 {
		t.Errorf("left behind: %v", list)
	}
}

// TestListenTwice: the second daemon is told who the first one is, and changes nothing.
func TestListenTwice(t *testing.T) {
	d := start(t)
	_, err := rpc.Listen(d.path, 0o600, "")
	inUse, ok := errors.AsType[*rpc.InUseError](err)
	if !ok || inUse.PID != os.Getpid() || inUse.Path != d.path || inUse.Command == "" {
		t.Fatalf("%v (%+v)", err, inUse)
	}
	if !strings.Contains(err.Error(), "in use by process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("error %q", err)
	}
	d.dial(t).ping()
}

// TestListenOnWhatWasLeft: the socket of a daemon that was killed is replaced, lock file and all.
func TestListenOnWhatWasLeft(t *testing.T) {
	path := socketPath(t)
	for range 2 {
		abandoned, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		abandoned.SetUnlinkOnClose(false)
		abandoned.Close()
		if err := os.WriteFile(path+".lock", []byte("12345678901234567890 garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
		// And what one left that was killed while it made its socket.
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), ".supervisord-"+strconv.Itoa(os.Getpid())), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		l := listen(t, path, 0o600, "")
		if holder, err := os.ReadFile(path + ".lock"); err != nil || string(holder) != strconv.Itoa(os.Getpid())+"\n" {
			t.Errorf("the lock says %q: %v", holder, err)
		}
		if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 2 {
			t.Errorf("there are %v", list)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestListenOnWhatIsNotOurs: whoever serves the socket keeps it, whether it answers or not, and so does a file.
func TestListenOnWhatIsNotOurs(t *testing.T) {
	refused := func(t *testing.T, path string) error {
		t.Helper()
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		l, err := rpc.Listen(path, 0o600, "")
		if err == nil {
			l.Close()
			t.Fatal("it was replaced")
		}
		if after, statErr := os.Lstat(path); statErr != nil || !os.SameFile(before, after) {
			t.Errorf("it was touched: %v", statErr)
		}
		return err
	}
	t.Run("another daemon", func(t *testing.T) {
		path := socketPath(t)
		foreign, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer foreign.Close()
		inUse, ok := errors.AsType[*rpc.InUseError](refused(t, path))
		if !ok || inUse.PID != os.Getpid() {
			t.Errorf("%+v", inUse)
		}
	})
	t.Run("one that does not keep up", func(t *testing.T) {
		path := socketPath(t)
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
			t.Fatal(err)
		}
		waiting, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer waiting.Close()
		if _, ok := errors.AsType[*rpc.InUseError](refused(t, path)); !ok {
			t.Error("not an InUseError")
		}
	})
	t.Run("a datagram socket", func(t *testing.T) {
		path := socketPath(t)
		foreign, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer foreign.Close()
		_ = refused(t, path)
	})
	t.Run("a file", func(t *testing.T) {
		path := socketPath(t)
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := refused(t, path); !strings.Contains(err.Error(), "something else than a socket") {
			t.Errorf("error %q", err)
		}
	})
	t.Run("a symbolic link", func(t *testing.T) {
		path := socketPath(t)
		if err := os.Symlink("elsewhere", path); err != nil {
			t.Fatal(err)
		}
		_ = refused(t, path)
	})
	t.Run("a link for a lock", func(t *testing.T) {
		path := socketPath(t)
		if err := os.Symlink(path+".victim", path+".lock"); err != nil {
			t.Fatal(err)
		}
		if _, err := rpc.Listen(path, 0o600, ""); !errors.Is(err, unix.ELOOP) {
			t.Errorf("error %v", err)
		}
		if _, err := os.Lstat(path + ".victim"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the link was followed: %v", err)
		}
	})
}

// TestListenDirectory: one that is missing is made; one in which anybody may replace the socket is refused.
func TestListenDirectory(t *testing.T) {
	dir := filepath.Dir(socketPath(t))
	listen(t, filepath.Join(dir, "made", "s"), 0o600, "")
	if _, err := rpc.Listen(filepath.Join(dir, "not", "made", "s"), 0o600, ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("two missing directories: %v", err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := rpc.Listen(filepath.Join(dir, "s"), 0o600, ""); err == nil || !strings.Contains(err.Error(), "chmod o-w") {
		t.Errorf("world-writable: %v", err)
	}
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	listen(t, filepath.Join(dir, "s"), 0o600, "")
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := rpc.Listen(filepath.Join(dir, "file", "s"), 0o600, ""); err == nil {
		t.Error("a file for a directory")
	}
}

// TestLongPath: the kernel takes 107 bytes for the name of a socket; the daemon's may be as long as any.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(filepath.Dir(socketPath(t)), strings.Repeat("d", 120))
	path := filepath.Join(dir, "s")
	l := listen(t, path, 0o600, "")
	if _, err := rpc.Listen(path, 0o600, ""); err == nil {
		t.Error("listening twice")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	listen(t, path, 0o600, "")
}

// TestCloseLeavesWhatIsNotItsOwn: another socket that has come into its place stays.
func TestCloseLeavesWhatIsNotItsOwn(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, 0o600, "")
	if err := os.Rename(path, path+".old"); err != nil { // so that the inode is not used again
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
)

// socketName is FileDescriptorName= of the socket unit.
const socketName = "rpc"

// activatedListener takes the socket that systemd has made over, nil where the daemon was started without one. What
// nobody expects is an error: serving the wrong socket, or none, would show only in the clients.
func activatedListener() (*net.UnixListener, error) {
	files := activation.Files(true)
	if len(files) == 0 {
		return nil, nil //nolint:nilnil // not activated
	}
	if len(files) > 1 {
		return nil, fmt.Errorf("systemd passed %d sockets, want one with FileDescriptorName=%s", len(files), socketName)
	}
	file := files[0]
	defer file.Close()
	// Without FileDescriptorName= the name is the unit's.
	if name := file.Name(); name != socketName && !strings.HasSuffix(name, ".socket") && !strings.HasPrefix(name, "LISTEN_FD_") {
		return nil, fmt.Errorf("systemd passed a socket with FileDescriptorName=%s, want %s", name, socketName)
	}
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("the socket that systemd passed: %w", err)
	}
	unix, ok := listener.(*net.UnixListener)
	if !ok || unix.Addr().Network() != "unix" {
		return nil, errors.Join(errors.New("the socket that systemd passed is not a Unix stream socket"), listener.Close())
	}
	unix.SetUnlinkOnClose(false)
	return unix, nil
}

// notify tells systemd, or whoever else reads $NOTIFY_SOCKET, about the daemon's state.
func notify(log *zap.Logger, lines ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		log.Warn("cannot notify the service manager", zap.String("socket", os.Getenv("NOTIFY_SOCKET")), zap.Error(err))
	}
}

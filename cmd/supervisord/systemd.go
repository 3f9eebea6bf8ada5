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
	"golang.org/x/sys/unix"
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
	socket, ok := listener.(*net.UnixListener)
	if !ok || socket.Addr().Network() != "unix" {
		return nil, errors.Join(errors.New("the socket that systemd passed is not a Unix stream socket"), listener.Close())
	}
	socket.SetUnlinkOnClose(false)
	return socket, nil
}

// monotonic is the time of a reload as systemd wants to know it: in the same datagram as RELOADING=1.
func monotonic() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "MONOTONIC_USEC=0" // not reached: the clock is always there
	}
	return fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000)
}

// notify tells systemd, or whoever else reads $NOTIFY_SOCKET, about the daemon's state.
func notify(log *zap.Logger, lines ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		log.Warn("cannot notify the service manager", zap.String("socket", os.Getenv("NOTIFY_SOCKET")), zap.Error(err))
	}
}

package rpc

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Peer is who is at the other end of a connection, as the kernel reported it when the connection was made.
type Peer struct {
	UID, GID uint32
	// Groups are the supplementary groups.
	Groups []uint32
	PID    int
}

// inGroup reports whether the peer's process is in a group.
func (p *Peer) inGroup(gid uint32) bool { return p.GID == gid || slices.Contains(p.Groups, gid) }

// peerOf asks the kernel. Nothing of it is ever taken from a text.
func peerOf(nc *net.UnixConn) (*Peer, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("peer of connection: %w", err)
	}
	p := &Peer{}
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			failed = fmt.Errorf("SO_PEERCRED: %w", err)
			return
		}
		p.UID, p.GID, p.PID = cred.Uid, cred.Gid, int(cred.Pid)
		if p.Groups, err = peerGroups(fd); err != nil {
			failed = fmt.Errorf("SO_PEERGROUPS: %w", err)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("peer of connection: %w", err)
	}
	return p, nil
}

// peerGroups reads SO_PEERGROUPS (socket(7)), for which x/sys has no function.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups)) * 4 //nolint:gosec // at most NGROUPS_MAX, 65536
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // as getsockopt(2) wants it
		n := int(size / 4)
		switch {
		case errno == 0:
			return slices.Clip(groups[:n]), nil
		case errno == unix.ERANGE && n > len(groups): // the kernel has told how many there are
			groups = make([]uint32, n)
		default:
			return nil, errno
		}
	}
}

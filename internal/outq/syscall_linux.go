//go:build !race

package outq

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// quick is the size up to which a system call on a descriptor that does not block is over in a few microseconds. Telling
// the Go scheduler of it, as syscall.Syscall does, would cost as much again: when the call wakes the peer and so takes a
// little longer, the scheduler gives the processor to another thread, and this one has to queue for it when it comes
// back. Longer ones are told, so that nothing else waits for them.
const quick = 64 << 10

// readNonblock is read(2) on a descriptor that does not block; p is not empty.
func readNonblock(fd int, p []byte) (int, error) {
	if len(p) > quick {
		// How much there is to read is not known; seldom more than this.
		p = p[:quick]
	}
	return raw(unix.SYS_READ, fd, p)
}

// writeNonblock is write(2) alike.
func writeNonblock(fd int, p []byte) (int, error) {
	if len(p) > quick {
		return unix.Write(fd, p)
	}
	return raw(unix.SYS_WRITE, fd, p)
}

func raw(call uintptr, fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))) //nolint:gosec // as read(2) and write(2) want it
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

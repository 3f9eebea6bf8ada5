package process

import (
	"math"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// closeOnExec makes sure that no descriptor from first on reaches a program that this process executes.
func closeOnExec(first int) {
	if unix.CloseRange(uint(first), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	for _, fd := range descriptors(first) { // before Linux 5.11
		unix.CloseOnExec(fd)
	}
}

// closeInherited closes those descriptors from first on that a program which this process executes would get.
func closeInherited(first int) {
	for _, fd := range descriptors(first) {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd) // not ours, and nobody else knows of it
		}
	}
}

// descriptors are the open ones from first on, as far as the kernel tells.
func descriptors(first int) []int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	var fds []int
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= first {
			fds = append(fds, fd)
		}
	}
	return fds
}

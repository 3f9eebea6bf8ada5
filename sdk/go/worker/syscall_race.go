//go:build race

package worker

import "syscall"

// Under the race detector the calls are the library's, which tell it that what was written before a write(2) may be read
// after the read(2) at the other end.

func readNonblock(fd int, p []byte) (int, error) { return syscall.Read(fd, p) }

func writeNonblock(fd int, p []byte) (int, error) { return syscall.Write(fd, p) }

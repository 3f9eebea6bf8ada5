package worker

import (
	"os"
	"syscall"
	"testing"
)

// A descriptor that blocks is not written by raw system calls, which would hold up every other goroutine of the program.
func TestBlockingOutputIsNotRaw(t *testing.T) {
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	defer r.Close()
	defer w.Close()
	if newOutput(w).raw != nil {
		t.Error("a blocking pipe is taken for one that is not")
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pr.Close()
	defer pw.Close()
	if newOutput(pw).raw == nil {
		t.Error("a pipe in the poller is taken for a blocking one")
	}
}

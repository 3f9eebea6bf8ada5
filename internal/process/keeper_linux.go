package process

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// keptWord is the first argument of the process that Keep starts, before its keeper's pid and its own arguments.
	keptWord = "__kept"
	// keeperPatience is how long a keeper waits for what it has killed. Longer takes only what the kernel cannot end now,
	// which will not run again either.
	keeperPatience = 5 * time.Second
)

// keeperPID is the process that keeps this one; 0 for none. Set by Main.
var keeperPID int

// kept takes Keep's arguments away.
func kept() {
	if len(os.Args) < 3 {
		return
	}
	pid, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return
	}
	keeperPID = pid
	os.Args = append(os.Args[:1:1], os.Args[3:]...)
	const listenPID = "LISTEN_PID" // sockets that were passed to the keeper have been passed on
	if os.Getenv(listenPID) == strconv.Itoa(pid) {
		_ = os.Setenv(listenPID, strconv.Itoa(os.Getpid())) // cannot fail
	}
}

// Kept reports whether a keeper, made by Keep, ends what this process leaves behind.
func Kept() bool { return keeperPID != 0 }

// Keep makes this process the keeper of another one, which is this program once more with the arguments args, the first
// of which is its name. It passes on the signals to stop, reload and dump, and when that process has ended, for whatever
// reason, kills all that it left behind, returns its exit status (128 and the number of a signal that ended it) and true.
//
// It returns false at once in the other process, and where somebody else cleans up: in the first process of a container,
// under a service manager, and where the process cannot be started. It must be called before anything that is not to be
// done twice, and holds no resources: inherited descriptors above 2 are the other process's alone from then on.
func Keep(args []string) (status int, kept bool) {
	own := os.Getpid()
	if Kept() || own == 1 || os.Getenv("NOTIFY_SOCKET") != "" || os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(own) {
		return 0, false
	}
	if canListChildren() != nil || unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != nil {
		return 0, false
	}
	// Before the start, so that no signal ends the keeper alone.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	k := keeper{ended: ended, earlier: make(map[int]bool)}
	for _, pid := range children() {
		k.earlier[pid] = true
	}
	argv := append([]string{args[0], keptWord, strconv.Itoa(own)}, args[1:]...)
	pid, err := syscall.ForkExec("/proc/self/exe", argv, &syscall.ProcAttr{ //nolint:gosec // this program
		Env: os.Environ(), Files: []uintptr{0, 1, 2},
		// A terminal sends its signals to its group of the foreground, which the keeper is in: they come once. And a
		// session of its own tells all that descends from it from the rest of the keeper's, see killStranger.
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) // cannot fail where setting it did not
		return 0, false
	}
	closeInherited(3)
	return k.run(pid, signals), true
}

// keeper waits for one process and ends what it leaves behind.
type keeper struct {
	ended   <-chan os.Signal
	earlier map[int]bool // children that were there before; they are not the process's
}

// run returns the exit status of the process.
func (k *keeper) run(pid int, signals <-chan os.Signal) int {
	for {
		select {
		case s := <-signals:
			if s, ok := s.(syscall.Signal); ok {
				_ = unix.Kill(pid, s) // not reaped yet
			}
		case <-k.ended:
			if status, ok := k.reap(pid); ok {
				k.end()
				if status.Signaled() {
					return 128 + int(status.Signal())
				}
				return status.ExitStatus()
			}
		}
	}
}

// reap takes all children that have ended and reports the status of pid if it is among them.
func (k *keeper) reap(pid int) (status syscall.WaitStatus, ended bool) {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, syscall.WNOHANG|syscall.WALL, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil || got <= 0:
			return status, ended
		}
		delete(k.earlier, got)
		if got == pid {
			status, ended = ws, true
		}
	}
}

// end kills all children until none is left.
func (k *keeper) end() {
	deadline := time.NewTimer(keeperPatience)
	defer deadline.Stop()
	for {
		left := 0
		for _, pid := range children() {
			if !k.earlier[pid] {
				left++
				killStranger(pid, func(int) bool { return false })
			}
		}
		if left == 0 {
			return
		}
		select {
		case <-k.ended:
			k.reap(0)
		case <-deadline.C:
			return
		}
	}
}

package process

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// procFile is a file about a process.
func procFile(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// children are the children of this process, zombies too. They are listed by the thread that they were forked by or fell
// to. The list is whole as long as none is reaped meanwhile.
func children() []int {
	const tasks = "/proc/self/task/"
	entries, err := os.ReadDir(tasks)
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		list, err := os.ReadFile(tasks + e.Name() + "/children")
		if err != nil {
			continue // a thread that has ended
		}
		for field := range bytes.FieldsSeq(list) {
			if pid, err := strconv.Atoi(string(field)); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// canListChildren reports whether the kernel has been built for it.
func canListChildren() error {
	_, err := os.ReadFile("/proc/thread-self/children")
	return err //nolint:wrapcheck // names the file
}

// environ is the environment of a process, each setting ended by a zero byte. It is empty for a moment while a process
// executes a program, so this one looks again.
func environ(pid int) (env []byte, err error) {
	const tries = 3
	for range tries {
		env, err = os.ReadFile(procFile(pid, "environ"))
		if err != nil || len(env) > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return env, err //nolint:wrapcheck // only whether there is one is looked at
}

// killStranger kills a child that has not been reaped, so that its pid is its own. A chain of processes, each of which
// forks the next and ends, can outrun that; its whole group dies in one step. Nobody from outside can be in that group
// where its session was made by this process or by a descendant. spare is asked whether a group is to be left alone.
func killStranger(pid int, spare func(group int) bool) {
	_ = unix.Kill(pid, unix.SIGKILL) // not permitted: then nobody can
	session, err := unix.Getsid(pid)
	if err != nil {
		return
	}
	own, err := unix.Getsid(0)
	if err != nil || session == own && own != os.Getpid() {
		return
	}
	if group, err := unix.Getpgid(pid); err == nil && group > 1 && group != unix.Getpgrp() && !spare(group) {
		_ = unix.Kill(-group, unix.SIGKILL) // gone already
	}
}

// reapChild takes a child that has ended and reports whether it had.
func reapChild(pid int) bool {
	for {
		got, err := unix.Wait4(pid, nil, unix.WNOHANG|unix.WALL, nil)
		if err != unix.EINTR {
			return got == pid || err == unix.ECHILD
		}
	}
}

// hasSetting reports whether an environment, as environ returns it, holds NAME=value.
func hasSetting(env []byte, setting string) bool {
	for kv := range bytes.SplitSeq(env, []byte{0}) {
		if string(kv) == setting {
			return true
		}
	}
	return false
}

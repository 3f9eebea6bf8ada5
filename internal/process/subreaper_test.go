package process_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"supervisord/internal/process"
	"supervisord/protocol"
)

// Orphans of what has ended are killed and reaped before Reap returns, and no exit status of a process is taken.
func TestOrphans(t *testing.T) {
	c := play(t, "orphans")
	c.finish()
	c.none()
}

func orphans(d *daemon) {
	h := d.open(process.Options{Subreaper: true})
	const lanes, each, family = 5, 6, 10 // 300 orphans
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			for i := range each {
				name := "p/" + strconv.Itoa(lane) + "." + strconv.Itoa(i+1)
				status := lane*each + i
				p := d.start(h, d.command(name, `for i in 0 1 2 3 4 5 6 7 8 9; do setsid sleep 1000 & echo $!; done; exit `+strconv.Itoa(status)))
				var left []int
				for range family {
					pid, err := strconv.Atoi(d.line(p))
					d.check(err)
					left = append(left, pid)
				}
				exit := d.reap(p)
				if !exit.Status.Exited() || exit.Status.ExitStatus() != status {
					d.fatal("exit of", name, exit)
				}
				d.gone(exit, left...)
			}
		})
	}
	wg.Wait()
	d.until("no child is left", func() bool { return len(childrenOf(d)) == 0 })
	h.Close()
}

// childrenOf are this process's own, zombies too.
func childrenOf(d *daemon) []string {
	tasks, err := os.ReadDir("/proc/self/task")
	d.check(err)
	var list []string
	for _, task := range tasks {
		b, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err == nil {
			list = append(list, strings.Fields(string(b))...)
		}
	}
	return list
}

func isChild(d *daemon, pid int) bool {
	for _, child := range childrenOf(d) {
		if child == strconv.Itoa(pid) {
			return true
		}
	}
	return false
}

// What a live worker has started and let go of lives as long as the worker, in whatever session, and no longer.
func TestHelperOfLiveWorker(t *testing.T) {
	c := play(t, "helper")
	c.finish()
	c.none()
}

func helper(d *daemon) {
	h := d.open(process.Options{Subreaper: true})
	env := []string{protocol.EnvWorker + "=p/0", protocol.EnvIncarnation + "=1"}
	// One in the worker's group and one in a session of its own, both adopted.
	p := d.start(h, d.command("p/0.1", `(sleep 1000 & echo $!); (setsid sleep 1000 & echo $!); echo up; cat <&3; exit 4`, env...))
	var helpers []int
	for range 2 {
		pid, err := strconv.Atoi(d.line(p))
		d.check(err)
		helpers = append(helpers, pid)
	}
	d.line(p)
	d.until("the helpers are adopted", func() bool { return isChild(d, helpers[0]) && isChild(d, helpers[1]) })
	// Another worker's ends make the host look; another incarnation of this worker is not this one.
	for i := range 3 {
		other := []string{protocol.EnvWorker + "=p/0", protocol.EnvIncarnation + "=2"}
		q := d.start(h, d.command("p/0."+strconv.Itoa(i+2), `(setsid sleep 1000 & echo $!); exit 0`, other...))
		pid, err := strconv.Atoi(d.line(q))
		d.check(err)
		d.gone(d.reap(q), pid)
		for _, pid := range helpers {
			if !exists(pid) {
				d.fatal("a helper of a live worker was killed")
			}
		}
	}
	d.check(p.Requests.Close())
	exit := d.reap(p)
	if exit.Status.ExitStatus() != 4 {
		d.fatal(exit)
	}
	d.gone(exit, helpers...)

	// Kill reaches the one in a session of its own before Reap does, so that the pipes come to their end.
	p = d.start(h, d.command("p/0.9", `(setsid sleep 1000 & echo $!); echo up; cat <&3`, env...))
	d.line(p)
	d.line(p)
	p.Kill()
	if _, err := p.Stderr.Read(make([]byte, 1)); err == nil {
		d.fatal("stderr has not ended")
	}
	d.reap(p)
	h.Close()
}

// A storm of forks, in sessions of their own and each ending as soon as it has forked the next, is ended.
func TestForkStorm(t *testing.T) {
	c := play(t, "storm")
	c.finish()
	c.none()
}

func storm(d *daemon) {
	h := d.open(process.Options{Subreaper: true})
	for i, script := range []string{
		// A chain in one session: each process forks the next and ends.
		`f() { [ $1 -lt 5000 ] && f $(($1 + 1)) & }; f 0; sleep 0.2; echo up; cat <&3`,
		// The same in a session of its own, so that the worker's group is not it.
		`export S='f() { [ $1 -lt 5000 ] && f $(($1 + 1)) & }; f 0'; setsid sh -c "$S" & sleep 0.2; echo up; cat <&3`,
		// A tree in a session of its own.
		`setsid sh -c 'for i in 1 2 3 4 5 6 7 8; do (sleep 1000 & sleep 1000 & sleep 1000 & wait) & done; wait' & sleep 0.2; echo up; cat <&3`,
	} {
		p := d.start(h, d.command("p/0."+strconv.Itoa(i+1), script))
		d.line(p)
		d.childless(d.end(p))
	}
	h.Close()
}

// A child that the daemon's process had before it became the daemon is not the host's to kill.
func TestChildOfBefore(t *testing.T) {
	c := play(t, "stranger", func(c *exec.Cmd) {
		c.Path, c.Args = "/bin/sh", []string{"sh", "-c", "sleep 1000 >/dev/null 2>&1 & exec " + strconv.Quote(executable(t))}
	})
	pid := c.hearPID()
	c.hear()
	if !exists(pid) {
		t.Error("it was killed")
	}
	c.say("go on")
	c.finish()
}

func strangerOfBefore(d *daemon) {
	d.say(childrenOf(d)[0])
	h := d.open(process.Options{Subreaper: true})
	d.reap(d.start(h, d.command("p/0.1", "exit 0")))
	d.say("reaped")
	d.hear()
	h.Close()
}

package main

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDaemonIsKilled: whichever of the daemon's two processes is killed under load, nothing that it has started is left,
// and another daemon takes its place at once.
func TestDaemonIsKilled(t *testing.T) {
	for _, which := range []string{"keeper", "daemon"} {
		t.Run(which, func(t *testing.T) {
			d := newDaemon(t)
			pool := d.pool("tree", "tree").with(object{"min_workers": 3, "max_workers": 3})
			d.configure(nil, pool)
			d.start()
			d.settle()
			pid := d.status().PID
			if pid == d.cmd.Process.Pid {
				t.Fatal("the daemon has no keeper")
			}
			// Two daemons' worth, three workers, and six descendants of each.
			d.until("all descendants are there", func() bool { return len(d.processes()) >= 2+3*(1+6) })
			stop := d.load("tree", func(error) {}) // that its answers are lost is not the question here
			defer stop()
			d.until("there is load", func() bool { return d.status().Jobs.Completed > 100 })

			if which == "keeper" {
				pid = d.cmd.Process.Pid
			}
			began := time.Now()
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			for d.running = false; len(d.processes()) > 0; time.Sleep(time.Millisecond) {
				if time.Since(began) > 5*time.Second {
					d.nothingLeft()
					t.FailNow()
				}
			}
			t.Logf("nothing is left %v after the kill", time.Since(began).Round(time.Millisecond))
			stop()
			<-d.exited
			d.start()
			d.act("tree", acts{})
		})
	}
}

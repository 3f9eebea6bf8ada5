// Package process is the operating system's side of a worker: it starts processes with their pipes, watches for their
// exit, signals and kills them with all their descendants, and reaps them.
//
// A start goes through three parts of this package, and a fourth takes over at the end:
//
//	Host.Start     makes the pipes, and a cgroup where there are cgroups
//	  spawner      one thread forks /proc/self/exe, which is in the page cache, so that the fork is over at once
//	    shim       in the new process, sent its plan by Start: does all that may be slow or fail, then becomes the program
//	  Process      WaitExit is told by a pidfd; Kill, then Reap, end whatever the program left behind
//
// Descendants that left the process group are found by their cgroup where this process has been delegated one, and by
// having become children of this process (a subreaper) otherwise. What outlives this process itself is ended by a keeper,
// its parent, where no service manager does it.
//
// There is one lock, the registry's, which is held while a process is forked and registered, while the children of this
// process are listed, and while a process is reaped and removed: a child that is not registered is a stranger for sure.
// Nothing else is done under it.
package process

package workers

import "math"

// measure finds out how many bytes of the requests were read, by the process or a descendant that had them from it: those
// that the kernel has taken, less what is left in the pipe. That is only final when nobody can read any more.
func (i *Incarnation) measure(taken int64) {
	i.read = math.MaxInt64
	if !i.unheld {
		return
	}
	if left, err := i.proc.Unread(); err == nil { // else the requests were closed, which is done without jobs or at the very end
		i.read = taken - int64(left)
	}
}

// unread reports whether no byte of a job's frame was read, so that running it again cannot be a second time. The process
// has ended.
func (i *Incarnation) unread(h held) bool { return h.begin >= i.read }

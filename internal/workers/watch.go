package workers

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/protocol"
)

// watchRequests waits until nobody has the reading end of the requests any more, and tells. A process that closes it and
// lives on would else be found by the next job.
func (i *Incarnation) watchRequests() {
	raw, err := i.proc.Requests.SyscallConn()
	if err != nil {
		return
	}
	unheld := false
	err = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd)}} //nolint:gosec // a descriptor
		for {
			n, err := unix.Poll(fds, 0)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			unheld = n > 0 && fds[0].Revents&unix.POLLERR != 0
			return unheld || err != nil
		}
	})
	if err == nil && unheld { // else it was closed here, or the process has ended and another has the pipe
		i.unheld = true
		i.worker.mail.put(letter{kind: mailClosed, inc: i, err: errClosedRequests})
	}
}

// The frame that the process has begun and not ended is known by when a read first had to wait for more of it. The reader
// sets that only then, and tells the owner only when it does not watch already.

// waits is called by the link's reader when a read is about to wait, at the latest.
func (l *link) waits() {
	switch middle := l.in.total != l.whole; {
	case !middle && l.torn:
		l.mended()
	case middle && !l.torn:
		l.torn = true
		l.inc.tornAt.Store(int64(time.Since(l.inc.created)) + 1)
		if !l.inc.tornWatched.Swap(true) {
			l.tell(mailTorn, nil)
		}
	}
}

// mended is called by it when no frame has begun and not ended.
func (l *link) mended() {
	l.torn = false
	l.inc.tornAt.Store(0)
}

// watchFrame looks after FrameTimeout whether the process is still in the middle of a frame; not before, since most end
// at once.
func (w *Worker) watchFrame() {
	limit := w.options().FrameTimeout
	if limit <= 0 {
		limit = time.Minute // there may be one by then
	}
	w.alarm(alarmFrame, limit)
}

func (w *Worker) lookAtFrame() {
	limit := w.options().FrameTimeout
	w.inc.tornWatched.Store(false)
	// A frame that begins from now on is told of again.
	at := w.inc.tornAt.Load()
	if at == 0 || limit <= 0 || w.state == Stopping {
		return
	}
	if left := limit - (time.Since(w.inc.created) - time.Duration(at)); left > 0 {
		w.inc.tornWatched.Store(true)
		w.alarm(alarmFrame, left)
		return
	}
	w.condemn(doom{
		kind: endCrashed, cause: protocol.CauseProtocol,
		message: fmt.Sprintf("protocol error: a frame that it has begun did not end within %s", limit),
	})
	w.kill()
}

"""The worker's end of the link: descriptors 3 and 4, taken out of everybody's reach, and a gathering writer."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import threading
import time
from typing import List, NoReturn, Optional

from . import frames

REQUESTS, REPLIES = 3, 4
# Descriptors below this number are what programs expect to get from open(): the link stays out of their way.
PARKED_FROM = 100

HOLD = 0.001  # seconds that output is held at most while more is on its way (doubled by a late wake-up: 2 ms)
FAST = 0.0005  # seconds between two chunks below which their producer counts as fast
# What a worker gets to end by itself once the daemon is gone without a word. After a stop message the daemon sees to it.
EXIT_GRACE = 5.0  # seconds
FULL = 64 * 1024  # bytes held at most: what a pipe takes in one write by default


class Link:
    """The two descriptors of a worker's link to the daemon. ``closed`` in a forked child, which has no part in it."""

    def __init__(self, requests: int, replies: int) -> None:
        self.requests = requests
        self.replies = replies
        self.closed = False
        self.writer = Writer(self)

    def forget(self) -> None:
        """Close both ends, as a forked child must: what it did with them would reach the daemon as the worker's."""
        self.closed = True
        for descriptor in (self.requests, self.replies):
            try:
                os.close(descriptor)
            except OSError:
                pass


_link: Optional[Link] = None


def taken() -> Optional[Link]:
    """The link, where this process has one that was taken already."""
    return None if _link is None or _link.closed else _link


def take() -> Optional[Link]:
    """Move descriptors 3 and 4 to high close-on-exec numbers and put /dev/null in their place, once a process.

    A library that writes to 4, and a child of this process, then has nothing to disturb. None where 3 and 4 are not
    the pipes that the daemon gives a worker. SUPERVISORD_PROTOCOL leaves the environment, so that a child which imports
    this package does not take its own 3 and 4 for a link.
    """
    global _link
    if _link is None and _is_end(REQUESTS, os.O_RDONLY) and _is_end(REPLIES, os.O_WRONLY):
        parked = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, PARKED_FROM) for number in (REQUESTS, REPLIES)]
        null = os.open(os.devnull, os.O_RDWR)
        for number in (REQUESTS, REPLIES):
            os.dup2(null, number, inheritable=False)
        if null not in (REQUESTS, REPLIES):
            os.close(null)
        os.environ.pop("SUPERVISORD_PROTOCOL", None)
        _link = Link(*parked)
        os.register_at_fork(after_in_child=_link.forget)
    return _link


def take_or_exit() -> Link:
    """The link, or exit status 2 with a sentence for the person who started a worker by hand."""
    link = take()
    if link is None:
        sys.stderr.write(
            "This program is a supervisord worker: the daemon starts it, with pipes as descriptors 3 and 4.\n"
            "Name it as the command of a pool and run `supervisord serve`, or try it alone with\n"
            "`supervisord worker test -- %s`.\n" % " ".join(["python3", *sys.argv])
        )
        raise SystemExit(2)
    return link


def _is_end(descriptor: int, mode: int) -> bool:
    try:
        kind = os.fstat(descriptor).st_mode
        access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:
        return False
    return (stat.S_ISFIFO(kind) and access == mode) or (stat.S_ISSOCK(kind) and access == os.O_RDWR)


class Writer:
    """Writes frames to the daemon, gathering those that come fast. Any thread may use it.

    A chunk leaves at once unless its predecessor came less than FAST ago; then it waits for company until FULL bytes
    are there, HOLD has passed, or somebody flushes. A thread of its own flushes when the producer pauses; it sleeps
    without waking while nothing is held, and is held up itself by C code that never releases the interpreter. The
    thread that flushes blocks while the pipe is full: that is how a slow reader slows the producer.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()  # guards everything below, never held across a system call
        self._held: List[bytes] = []
        self._size = 0
        self._since = 0.0  # when the oldest held frame came
        self._last_chunk = 0.0
        self._armed = False
        self._started = False
        self._writing = threading.Lock()  # held by the one who writes; taken before _lock
        self._wake = threading.Lock()
        self._wake.acquire()

    def chunk(self, body: bytes) -> None:
        """Send a chunk: at once, or held when chunks come fast."""
        now = time.monotonic()
        frame = frames.frame(body)
        if self._link.closed:
            return
        with self._lock:
            fast = now - self._last_chunk < FAST
            self._last_chunk = now
            hold = self._hold_locked(frame, now) and fast
            if hold:
                self._arm_locked()
        if not hold:
            self.flush()

    def send(self, body: bytes) -> None:
        """Send what may wait for company, as an answer may that more answers follow. Ends within HOLD or at flush."""
        now = time.monotonic()
        frame = frames.frame(body)
        if self._link.closed:
            return
        with self._lock:
            hold = self._hold_locked(frame, now)
            if hold:
                self._arm_locked()
        if not hold:
            self.flush()

    def post(self, body: bytes) -> None:
        """Send without ever blocking, for threads that must not wait for a reader."""
        now = time.monotonic()
        frame = frames.frame(body)
        if self._link.closed:
            return
        with self._lock:
            self._hold_locked(frame, now)
            self._arm_locked()

    def flush(self) -> None:
        """Write all that is held, blocking while the pipe is full. Ends the process when nobody reads any more."""
        if not self._held or self._link.closed:
            return
        with self._writing:
            with self._lock:
                held, self._held = self._held, []
                self._size = 0
            if held:
                self._write(b"".join(held))

    def _hold_locked(self, frame: bytes, now: float) -> bool:
        if not self._held:
            self._since = now
        self._held.append(frame)
        self._size += len(frame)
        return self._size < FULL and now - self._since < HOLD

    def _arm_locked(self) -> None:
        if self._armed:
            return
        self._armed = True
        if self._started:
            self._wake.release()
        else:
            self._started = True
            threading.Thread(target=self._flush_late, name="supervisord-flush", daemon=True).start()

    def _flush_late(self) -> None:
        while True:
            time.sleep(HOLD)
            self.flush()
            with self._lock:
                idle = not self._held
                if idle:
                    self._armed = False
            if idle:
                self._wake.acquire()

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._link.replies, data)
            while written < len(data):  # a signal came in between
                data = data[written:]
                written = os.write(self._link.replies, data)
        except OSError:
            leave(0)


def leave_late() -> NoReturn:
    """End the process if it has not ended by itself within EXIT_GRACE: nobody is left who would end it."""
    time.sleep(EXIT_GRACE)
    leave(0)


def leave(status: int) -> NoReturn:
    """End the process at once, whatever its other threads do: the daemon is gone, or wants this process to be."""
    os._exit(status)

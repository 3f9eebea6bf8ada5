"""The three queue-like objects for a worker entry point that was written for multiprocessing's queues."""

from __future__ import annotations

import collections
import os
import queue
import select
import threading
import time
from typing import Any, Deque, Dict, Mapping, Optional

from . import frames
from ._engine import READ
from ._link import Link, Writer, leave, leave_late

# What an entry gets to fetch its stop after the daemon has closed the request pipe, before the process is ended.
LAST_REQUEST_GRACE = 2.0  # seconds

_STOP = {"type": "stop"}


class _Queue:
    """What every queue of multiprocessing has and means nothing here."""

    def close(self) -> None:
        """Nothing: the descriptors live as long as the process."""

    def join_thread(self) -> None:
        """Nothing."""

    def cancel_join_thread(self) -> None:
        """Nothing."""


class RequestQueue(_Queue):
    """What the daemon sends, as dicts. The end of the pipe is {"type": "stop"}, however often it is asked for.

    Waiting costs nothing. Any thread may get; one at a time does.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()  # held by the one who reads
        self._decoder = frames.Decoder()
        self._ready: Deque[Dict[str, Any]] = collections.deque()
        self._ended = False
        self._stopping = False
        self._stop_seen = threading.Event()
        self._poll = select.poll()
        self._poll.register(link.requests, select.POLLIN)
        threading.Thread(target=self._watch, name="supervisord-watch", daemon=True).start()

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Dict[str, Any]:
        """The next message. queue.Empty where there is none (within ``timeout`` seconds, if given)."""
        if not block:
            timeout = 0
        elif timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._lock.acquire(timeout=-1 if timeout is None else timeout):
            raise queue.Empty
        try:
            while not self._ready:
                if self._ended:
                    self._stop_seen.set()
                    return dict(_STOP)
                self._read(deadline)
            message = self._ready.popleft()
            if message["type"] == "stop":
                self._stopping = True
                self._stop_seen.set()
            return message
        finally:
            self._lock.release()

    def get_nowait(self) -> Dict[str, Any]:
        """The next message if it is there, else queue.Empty."""
        return self.get(block=False)

    def empty(self) -> bool:
        """Whether get would have to wait; a moment later it may be otherwise."""
        return not self._ready and not self._ended and not self._poll.poll(0)

    def qsize(self) -> int:
        """How many messages are here at least; more may wait in the pipe."""
        return len(self._ready)

    def _read(self, deadline: Optional[float]) -> None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        # Rounded up: rounding down would return before the deadline, with nothing.
        if not self._poll.poll(None if left is None else int(left * 1000 + 0.999)):
            raise queue.Empty
        data = os.read(self._link.requests, READ)
        if data:
            self._ready.extend(self._decoder.feed(data))
        else:
            self._ended = True

    def _watch(self) -> None:
        """End a process that the daemon has left and that does not end by itself. Sleeps until then."""
        hung_up = select.poll()
        hung_up.register(self._link.requests, 0)
        hung_up.poll()
        if not self._stop_seen.wait(LAST_REQUEST_GRACE):
            leave(0)
        if not self._stopping:
            leave_late()


class ReplyQueue(_Queue):
    """Takes what goes to the daemon: dicts, or objects with to_dict(). Any thread may put; several may share a pipe."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def put(self, obj: Any, block: bool = True, timeout: Optional[float] = None) -> None:
        """Send a message. Blocks while the daemon does not read; ``block`` and ``timeout`` change nothing about it.

        ValueError for NaN and Infinity, TypeError for what JSON cannot hold: both name what and where, and nothing
        was sent.
        """
        message = obj.to_dict() if not isinstance(obj, Mapping) and hasattr(obj, "to_dict") else obj
        if not isinstance(message, Mapping) or not isinstance(message.get("type"), str):
            raise TypeError(f"put takes a dict with a text member 'type', or an object with to_dict(), not {obj!r:.100}")
        body = frames.encode_value(message if isinstance(message, dict) else dict(message))
        if message["type"] == "stream_chunk":
            self._writer.chunk(body)
        else:
            self._writer.send(body)
            self._writer.flush()

    def put_nowait(self, obj: Any) -> None:
        """put."""
        self.put(obj)

    def empty(self) -> bool:
        """True: what was put is on its way."""
        return True

    def full(self) -> bool:
        """False: put waits by itself."""
        return False

    def qsize(self) -> int:
        """0: what was put is on its way."""
        return 0

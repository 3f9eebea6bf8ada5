"""A job as the code that runs it sees it, and the exceptions by which that code says how it ended."""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Union

from . import frames
from ._link import Writer

_KIT = os.path.dirname(__file__)
_RETRIABLE = ("transient", "resource")


class Cancelled(BaseException):
    """Nobody wants the job any more. Raised in a generator at its yield, and by Job.check and Job.sleep.

    Derived from BaseException so that a plugin's ``except Exception`` does not swallow it.
    """


class PluginError(Exception):
    """A failure of a job that says what kind it is.

    category: "user_input" (the params are wrong), "transient" (try again), "resource" (memory, disk, a device is
    short) or "fatal" (trying again is of no use). retriable: by default true for transient and resource.
    fields_invalid: the params that are wrong: {name: reason}, or names alone.
    """

    def __init__(
        self,
        message: str,
        *,
        category: str = "fatal",
        retriable: Optional[bool] = None,
        retry_after_seconds: Optional[float] = None,
        fields_invalid: Union[Mapping[str, str], Iterable[str], None] = None,
    ) -> None:
        if category not in ("user_input", "transient", "resource", "fatal"):
            raise ValueError(f"unknown error category {category!r}")
        super().__init__(message)
        self.category = category
        self.retriable = category in _RETRIABLE if retriable is None else retriable
        self.retry_after_seconds = retry_after_seconds
        reasons = fields_invalid if isinstance(fields_invalid, Mapping) else dict.fromkeys(fields_invalid or (), "invalid")
        self.fields_invalid = [{"path": name, "reason": reason} for name, reason in reasons.items()]


class Chunk:
    """A piece of a stream with metadata: yield one where a plain value is not enough."""

    __slots__ = ("value", "metadata")

    def __init__(self, value: Any, metadata: Optional[Mapping[str, Any]] = None) -> None:
        self.value = value
        self.metadata = metadata


class Job:
    """The running job. Its members may be used from any thread.

    id, plugin: what runs. stream: whether the caller takes chunks. config: the plugin's configuration.
    """

    __slots__ = (
        *("id", "plugin", "params", "stream", "config", "_meta", "_received"),
        *("_writer", "_cancelled", "_event", "_on_cancel"),
    )

    def __init__(self, message: Dict[str, Any], writer: Writer) -> None:
        del message["type"]
        self.id: str = message.pop("job_id")
        self.plugin: str = message.pop("plugin_name")
        self.stream = message.pop("stream", False) is True
        self._meta = message.pop("$meta", None)
        # No param of a caller begins with a dollar sign: such a member is meant for a later version of this kit.
        for name in [name for name in message if name[:1] == "$"]:
            del message[name]
        self._received = time.monotonic() if self._meta else 0.0
        self.params = message
        self.config: Mapping[str, Any] = {}
        self._writer = writer
        self._cancelled = False
        self._event: Optional[threading.Event] = None
        self._on_cancel: Optional[Callable[[], object]] = None

    @property
    def cancelled(self) -> bool:
        """Whether the job should end: look at it in long loops. A job that never does is ended by force in the end."""
        return self._cancelled

    def check(self) -> None:
        """Raise Cancelled where the job should end."""
        if self._cancelled:
            raise Cancelled()

    def sleep(self, seconds: float) -> None:
        """time.sleep that raises Cancelled as soon as the job should end."""
        if self._event is None:
            self._event = threading.Event()
        # cancel() sets the flag, then looks for the event; here it is the other way round, so one of the two sees it.
        if self._cancelled or self._event.wait(seconds):
            raise Cancelled()

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the caller gave as ``metadata``."""
        found = self._meta.get("metadata") if isinstance(self._meta, dict) else None
        return found if isinstance(found, dict) else {}

    @property
    def traceparent(self) -> Optional[str]:
        """The caller's trace context in W3C form."""
        found = self._meta.get("traceparent") if isinstance(self._meta, dict) else None
        return found if isinstance(found, str) else None

    @property
    def remaining(self) -> Optional[float]:
        """Seconds until the job's deadline, negative after it. None: no deadline."""
        left = self._meta.get("deadline_ms") if isinstance(self._meta, dict) else None
        if not isinstance(left, (int, float)):
            return None
        return self._received + left / 1000 - time.monotonic()

    def progress(self, fraction: Optional[float], message: str = "") -> None:
        """Tell the caller how far the job is: 0 to 1, or None where that is unknown."""
        told = {"type": "progress", "job_id": self.id, "progress": fraction, "message": message}
        self._writer.chunk(frames.encode_value(told))

    def log(self, level: str, message: str, **fields: Any) -> None:
        """Write a line to the daemon's log, tied to this job. level: debug, info, warn or error."""
        told: Dict[str, Any] = {"type": "log", "level": level, "message": message, "job_id": self.id}
        if fields:
            told["fields"] = fields
        self._writer.chunk(frames.encode_value(told))

    def _cancel(self) -> None:
        self._cancelled = True
        if self._event is not None:
            self._event.set()
        if self._on_cancel is not None:
            self._on_cancel()


def error_result(job_id: str, error: BaseException) -> bytes:
    """The body of the result of a job that failed."""
    text = str(error) if not isinstance(error, KeyError) else repr(error)
    told = {
        "type": "result",
        "job_id": job_id,
        "status": "error",
        "error": text or type(error).__name__,
        "error_info": error_info(error),
    }
    return frames.encode_value(told)


def error_info(error: BaseException) -> Dict[str, Any]:
    """error_info as the worker protocol has it, for any exception."""
    info: Dict[str, Any] = {}
    # Where the code found the caller's mistake is of no use to the caller.
    if not (isinstance(error, PluginError) and error.category == "user_input"):
        info["traceback"] = _traceback(error)
    if isinstance(error, PluginError):
        info.update(category=error.category, retriable=error.retriable)
        if error.retry_after_seconds is not None:
            info["retry_after_seconds"] = error.retry_after_seconds
        if error.fields_invalid:
            info["fields_invalid"] = error.fields_invalid
        return info
    category = "fatal"
    # The machine-learning libraries each have an OutOfMemoryError of their own, none of which is imported here.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        category = "resource"
    elif isinstance(error, (ConnectionError, TimeoutError)):
        category = "transient"
    info.update(category=category, retriable=category in _RETRIABLE)
    return info


def _traceback(error: BaseException) -> str:
    """The traceback's end, without the frames of this kit that led into the plugin."""
    import traceback

    begin = error.__traceback__
    while begin is not None and os.path.dirname(begin.tb_frame.f_code.co_filename) == _KIT:
        begin = begin.tb_next
    lines: List[str] = traceback.format_exception(type(error), error, begin or error.__traceback__)
    return "".join(lines)[-16384:]

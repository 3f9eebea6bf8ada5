"""Why a call failed, as exceptions. The daemon's own errors carry a code and a kind; each kind has a class here."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Type


class Error(Exception):
    """A call that failed. The base of everything that ``supervisord.client`` raises, but for misuse.

    code, kind: what the failure is, as number and as name. message: one line for people. data: all that the daemon
    told. retryable: whether the same call, made again later, may well succeed. job_id: where there was a job.
    """

    def __init__(self, message: str, *, code: int = 0, kind: str = "", data: Optional[Dict[str, Any]] = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.kind = kind
        self.data: Dict[str, Any] = {} if data is None else data
        self.retryable = self.data.get("retryable") is True
        job_id = self.data.get("job_id")
        self.job_id: Optional[str] = job_id if isinstance(job_id, str) else None

    def __str__(self) -> str:
        return f"{self.kind} ({self.code}): {self.message}" if self.code else self.message

    def _texts(self, member: str) -> List[str]:
        found = self.data.get(member)
        return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []

    def _text(self, member: str) -> Optional[str]:
        found = self.data.get(member)
        return found if isinstance(found, str) else None


class ConnectionLost(Error):
    """There is no daemon, or it went away before it answered. Whether the job ran is not known then."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="connection_lost", data={"retryable": True})


class InvalidRequest(Error):
    """The message is over a limit of the daemon, or no request."""


class MethodNotFound(Error):
    """The daemon does not know the method."""


class InvalidParams(Error):
    """The params are wrong."""

    @property
    def fields(self) -> List[Dict[str, str]]:
        """What is wrong: [{path, reason}]."""
        found = self.data.get("fields")
        return found if isinstance(found, list) else []


class InternalError(Error):
    """A fault of the daemon; data["incident"] names the entry in its log."""


class Cancelled(Error):
    """The job was cancelled by its caller; data["how"] says by which means it ended."""


class ServerCancelled(Error):
    """The job was cancelled by an operator, or because the daemon stops or reloads."""


class Later(Error):
    """Not now: try again after ``retry_after``."""

    @property
    def retry_after(self) -> Optional[float]:
        """Seconds after which another try is of use, where the daemon can tell."""
        found = self.data.get("retry_after_ms")
        return found / 1000 if isinstance(found, (int, float)) else None


class Overloaded(Later):
    """Too much waits or runs already; data["limit"] says which limit it is."""


class PoolUnavailable(Later):
    """The pool has no worker that could run the job, and data["reason"] says why."""


class WorkerDied(Error):
    """The process that ran the job is dead."""

    @property
    def cause(self) -> Optional[str]:
        """exit, signal, oom, protocol, stalled or start_failed."""
        return self._text("cause")

    @property
    def exit_code(self) -> Optional[int]:
        """Its exit code, where it exited."""
        found = self.data.get("exit_code")
        return found if isinstance(found, int) else None

    @property
    def signal(self) -> Optional[str]:
        """The signal that killed it, like SIGKILL, where one did."""
        return self._text("signal")

    @property
    def stderr_tail(self) -> List[str]:
        """The last lines that it printed, oldest first."""
        return self._texts("stderr_tail")


class JobFailed(Error):
    """The plugin answered with an error."""

    @property
    def error_info(self) -> Dict[str, Any]:
        """What the worker told beyond the message: category, retriable, traceback and more, as far as it did."""
        found = self.data.get("error_info")
        return found if isinstance(found, dict) else {}

    @property
    def category(self) -> Optional[str]:
        """user_input, transient, resource or fatal, where the worker said so."""
        found = self.error_info.get("category")
        return found if isinstance(found, str) else None


class DeadlineExceeded(Error):
    """The time given was over; data["phase"] says in which part: queue, load or run."""


class Unknown(Error):
    """There is nothing of that name."""

    @property
    def known(self) -> List[str]:
        """The nearest names there are, best first."""
        return self._texts("known")


class UnknownPlugin(Unknown):
    """No pool offers the plugin."""


class UnknownPool(Unknown):
    """There is no such pool."""


class UnknownJob(Unknown):
    """There is no such job, or it is forgotten already."""


class UnknownWorker(Unknown):
    """There is no such worker."""


class PermissionDenied(Error):
    """The access rules don't allow the caller this method."""


class ClientTooSlow(Error):
    """What the job produced was not taken in time."""


class Superseded(Error):
    """A newer job with the same supersede_key took over; data["by"] names it."""


class Quarantined(Error):
    """The job killed each worker that it was given, and gets no other."""


class ConfigInvalid(Error):
    """The configuration is wrong; data["problems"] lists where."""


class Conflict(Error):
    """There is a job of that job_id, with other params."""


class ResultTooLarge(Error):
    """The result is longer than the daemon passes on."""


class ChunksGone(Error):
    """Chunks that were asked for are not kept any more."""


_classes: Dict[int, Type[Error]] = {
    -32600: InvalidRequest,
    -32601: MethodNotFound,
    -32602: InvalidParams,
    -32603: InternalError,
    -32800: Cancelled,
    -32802: ServerCancelled,
    1000: Overloaded,
    1001: WorkerDied,
    1002: JobFailed,
    1003: DeadlineExceeded,
    1004: UnknownPlugin,
    1005: UnknownPool,
    1006: UnknownJob,
    1007: UnknownWorker,
    1008: PoolUnavailable,
    1009: PermissionDenied,
    1010: ClientTooSlow,
    1011: Superseded,
    1012: Quarantined,
    1013: ConfigInvalid,
    1014: Conflict,
    1015: ResultTooLarge,
    1016: ChunksGone,
}


def from_response(error: Any) -> Error:
    """The exception for the member ``error`` of a response. Codes of a later daemon become plain Errors."""
    told = error if isinstance(error, dict) else {}
    code, message, data = told.get("code"), told.get("message"), told.get("data")
    code = code if isinstance(code, int) else 0
    data = data if isinstance(data, dict) else {}
    kind = data.get("kind")
    return _classes.get(code, Error)(
        message if isinstance(message, str) else repr(error),
        code=code,
        kind=kind if isinstance(kind, str) else f"code_{code}",
        data=data,
    )

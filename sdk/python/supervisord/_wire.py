"""What both clients share: where the socket is, requests as bytes, and what the daemon's lines say. No I/O."""

from __future__ import annotations

import json
import math
import os
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

from . import frames
from ._errors import ConnectionLost, Error, from_response

SYSTEM_SOCKET = "/run/supervisord/supervisord.sock"
READ = 1 << 16  # bytes taken at once

OnProgress = Callable[[Optional[float], str], object]

# One decoder object saves the look-ups of json.loads; lines may be many.
_decode = json.JSONDecoder().decode


class Result(NamedTuple):
    """What a job came to: data is what the plugin answered, chunks is how many it streamed."""

    job_id: str
    data: Any
    chunks: int


class StreamChunk(NamedTuple):
    """One piece of a job's stream with what belongs to it. seq counts from 0 without gaps."""

    job_id: str
    seq: int
    value: Any
    is_final: bool
    metadata: Dict[str, Any]


def default_socket() -> str:
    """$SUPERVISORD_SOCKET, else the user's own daemon, else the system's."""
    given = os.environ.get("SUPERVISORD_SOCKET")
    if given:
        return given
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return os.path.join(runtime, "supervisord.sock") if runtime and os.geteuid() != 0 else SYSTEM_SOCKET


def execute_params(
    plugin: str,
    params: Optional[Mapping[str, Any]],
    *,
    stream: bool,
    timeout: Optional[float],
    max_wait: Optional[float],
    priority: int,
    **texts: Any,
) -> Dict[str, Any]:
    """The params of ``execute``. Of ``texts`` those that are not None go along under their own names."""
    told: Dict[str, Any] = {"plugin_name": plugin, "params": {} if params is None else params}
    if stream:
        told["stream"] = True
    if timeout is not None:
        told["timeout_ms"] = _milliseconds(timeout)
    if max_wait is not None:
        told["max_wait_ms"] = _milliseconds(max_wait)
    if priority:
        told["priority"] = priority
    told.update((name, value) for name, value in texts.items() if value is not None)
    return told


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)  # up, so that a short wait is never told as none


def request(request_id: int, method: str, params: Optional[Mapping[str, Any]]) -> bytes:
    """A request as one line. ValueError and TypeError name what in the params JSON has no form for."""
    told: Dict[str, Any] = {"jsonrpc": "2.0", "id": request_id, "method": method}
    if params is not None:
        told["params"] = params
    return frames.encode_value(told) + b"\n"


def cancel_request(request_id: int) -> bytes:
    """The line that ends the request of that id; the daemon still answers it."""
    return b'{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":%d}}\n' % request_id


def no_daemon(path: str, nonsense: ValueError) -> ConnectionLost:
    """The error for a peer that doesn't speak the protocol."""
    return ConnectionLost(f"what listens at {path} is no supervisord: {nonsense}")


class Lines:
    """Takes messages out of the bytes that the daemon sends, in whatever pieces they come."""

    def __init__(self) -> None:
        self._parts: List[bytes] = []

    def feed(self, data: bytes) -> List[Dict[str, Any]]:
        """The messages that are complete with these bytes. ValueError where a line is no JSON object."""
        *complete, rest = data.split(b"\n")
        if complete:
            # Pieces of a long line are joined once, when it is complete: joining each time would be quadratic.
            complete[0] = b"".join([*self._parts, complete[0]])
            self._parts = []
        if rest:
            self._parts.append(rest)
        return [_message(line) for line in complete if line]


def _message(line: bytes) -> Dict[str, Any]:
    message = _decode(line.decode())
    if not isinstance(message, dict):
        raise ValueError(f"the daemon sent {line[:100]!r}, which is no JSON object")
    return message


def answer(message: Mapping[str, Any]) -> Any:
    """What a response says: its result, or the Error raised."""
    if "error" in message:
        raise from_response(message["error"])
    return message.get("result")


def result(answered: Any) -> Result:
    """The result of ``execute``."""
    if not isinstance(answered, dict):
        raise Error(f"the daemon answered execute with {answered!r:.100}, which is no object")
    return Result(answered.get("job_id", ""), answered.get("data"), answered.get("chunks", 0))


class Exchange:
    """One streaming request on a connection of its own: what came, and what it means. No I/O, not thread-safe."""

    REQUEST_ID = 1

    def __init__(self, params: Dict[str, Any], on_progress: Optional[OnProgress]) -> None:
        self.job_id: Optional[str] = params.get("job_id")
        self.request = request(self.REQUEST_ID, "execute", params)
        self.result: Optional[Result] = None
        self.error: Optional[Error] = None
        self._on_progress = on_progress

    @property
    def ended(self) -> bool:
        """Whether the final response is there: then result or error is."""
        return self.result is not None or self.error is not None

    def take(self, message: Mapping[str, Any]) -> Optional[StreamChunk]:
        """Note one message. The chunk, where it is one; a progress report has called on_progress."""
        method = message.get("method")
        if method is None:
            self._end(message)
            return None
        params = message.get("params")
        if not isinstance(params, dict):
            return None
        self.job_id = params.get("job_id", self.job_id)
        if method == "stream.chunk":
            return StreamChunk(
                params.get("job_id", ""),
                params.get("seq", 0),
                params.get("chunk"),
                params.get("is_final") is True,
                params.get("metadata") or {},
            )
        if method == "job.progress" and self._on_progress is not None:
            self._on_progress(params.get("progress"), params.get("message") or "")
        return None

    def _end(self, message: Mapping[str, Any]) -> None:
        # An error without an id is about the connection, which has this one request.
        try:
            self.result = result(answer(message))
            self.job_id = self.result.job_id
        except Error as error:
            self.error = error
            self.job_id = error.job_id or self.job_id

    def outcome(self) -> Result:
        """The result, or the Error raised. RuntimeError before the end."""
        if self.error is not None:
            raise self.error
        if self.result is None:
            raise RuntimeError("the stream has not ended: there is no result yet")
        return self.result


def is_end_mark(chunk: StreamChunk) -> bool:
    """Whether a chunk holds nothing and only says that it is the last one."""
    return chunk.is_final and chunk.value in ("", None)


class Collected:
    """The chunks of a stream that somebody calls for the progress of, not for the chunks."""

    def __init__(self) -> None:
        self._texts: Optional[List[str]] = []

    def add(self, chunk: StreamChunk) -> None:
        """Keep the chunk's text."""
        if self._texts is not None and not is_end_mark(chunk):
            if isinstance(chunk.value, str):
                self._texts.append(chunk.value)
            else:
                self._texts = None

    def into(self, outcome: Result) -> Result:
        """The result with the streamed text as data["text"], where all was text and data has no text of its own."""
        data = outcome.data
        if not self._texts or not isinstance(data, dict) or "text" in data:
            return outcome
        return outcome._replace(data={**data, "text": "".join(self._texts)})

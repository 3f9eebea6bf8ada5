"""Runs a worker: a thread reads what the daemon sends, the main thread does it, one thing after the other.

    read thread    os.read -> frames -> cancel: at once; everything else: into the inbox
    main thread    inbox -> load, run a job, reload, unload, state -> Writer
    flush thread   writes what the Writer holds when the main thread falls silent (see _link)

The end of the request pipe ends the process: after what it does now where that is nothing, else in the middle of it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from typing import Any, Dict, List, Optional, Union

from . import frames
from ._job import Cancelled, Chunk, Job, error_result
from ._link import Link, leave, leave_late
from ._plugins import Plugins, Streamed, default_result_adapter

READ = 1 << 18  # bytes: all frames there are in one system call
SHORT = 0.001  # seconds below which a plugin's next job is expected to end soon too
# How long one thread may keep the interpreter while another waits for it: the flush thread must get in within HOLD.
SWITCH_INTERVAL = 0.0005

_FEATURES = ("cancel", "progress", "log", "meta", "request_id", "load_progress")
_CONTROL = ("init", "reload", "unload", "get_state")

_quote = json.encoder.encode_basestring  # type: ignore[attr-defined]  # the C function, a third of the encoder's price
_quote_ascii = json.encoder.encode_basestring_ascii  # type: ignore[attr-defined]

_running: Optional["Engine"] = None


class Engine:
    """One worker process. ``run`` returns when the daemon stops it."""

    def __init__(self, plugins: Plugins, link: Link) -> None:
        self._plugins = plugins
        self._link = link
        self.writer = link.writer
        self._inbox: "queue.SimpleQueue[Union[Job, Dict[str, Any], None]]" = queue.SimpleQueue()
        # Jobs that arrived and have not begun. Whoever pops one answers it: the main thread, or the read thread on cancel.
        self._queued: Dict[str, Job] = {}
        self.job: Optional[Job] = None
        self._short: Dict[str, bool] = {}
        self._current: Optional[str] = None
        self._configs: Dict[str, Any] = {}
        self._busy = False
        self._ended = False
        self._stopping = False

    def run(self) -> None:
        """Serve until the daemon says stop or is gone. Called once, in the main thread."""
        global _running
        _running = self
        prepare_process()
        sys.setswitchinterval(min(SWITCH_INTERVAL, sys.getswitchinterval()))
        threading.Thread(target=self._read, name="supervisord-read", daemon=True).start()
        try:
            while True:
                message = self._inbox.get()
                if message is None:
                    return
                self._busy = True
                # The read thread sets _ended, then looks at _busy; here it is the other way round: one of them sees it.
                if self._ended:
                    return
                if isinstance(message, Job):
                    self._run(message)
                else:
                    self._control(message)
                if self._inbox.empty():
                    self.writer.flush()
                self._busy = False
        finally:
            self._busy = False
            self.writer.flush()

    @property
    def loading(self) -> str:
        """The plugin that is being loaded, else ""."""
        return self._plugins.loading

    # The read thread.

    def _read(self) -> None:
        decoder = frames.Decoder()
        try:
            while True:
                data = os.read(self._link.requests, READ)
                if not data:
                    break
                for message in decoder.feed(data):
                    self._receive(message)
        except (OSError, frames.FrameError, KeyError) as error:
            print(f"the link to the daemon broke: {error!r}", file=sys.stderr, flush=True)
        self._ended = True
        if self._busy:
            leave(0)
        self._inbox.put(None)
        if not self._stopping:
            leave_late()

    def _receive(self, message: Dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "execute":
            job = Job(message, self.writer)
            self._queued[job.id] = job
            self._inbox.put(job)
        elif kind == "cancel":
            self._cancel(message["job_id"])
        elif kind == "stop":
            self._stopping = True
            self._inbox.put(None)
        elif kind in _CONTROL:
            self._inbox.put(message)

    def _cancel(self, job_id: str) -> None:
        queued = self._queued.pop(job_id, None)
        if queued is not None:
            self.writer.post(_cancelled_result(job_id))
            return
        # The main thread makes a job the running one before it takes it from the queued ones, so no job is missed.
        job = self.job
        if job is not None and job.id == job_id:
            job._cancel()

    # The main thread: jobs.

    def _run(self, job: Job) -> None:
        self.job = job
        try:
            if self._queued.pop(job.id, None) is None:
                return
            if not self._short.get(job.plugin):
                # This job may take long and never let the flush thread in: earlier answers must not wait for it.
                self.writer.flush()
            began = time.monotonic()
            try:
                body = self._answer(job)
            except Cancelled as error:
                body = _cancelled_result(job.id) if job.cancelled else error_result(job.id, error)
            except Exception as error:
                body = error_result(job.id, error)
            self._short[job.plugin] = time.monotonic() - began < SHORT
            self._current = job.plugin
            self.writer.send(body)
        finally:
            self.job = None

    def _answer(self, job: Job) -> bytes:
        value = self._plugins.call(job)
        if isinstance(value, Streamed):
            chunks = value.chunks
            try:
                value = self._stream(job, chunks) if job.stream else _collect(job, chunks)
            finally:
                _close(chunks)
        body = b'{"type":"result","job_id":%s,"status":"success","data":%s}'
        return body % (_quote_ascii(job.id).encode(), frames.encode_value(value))

    def _stream(self, job: Job, chunks: Any) -> Dict[str, Any]:
        """Send the chunks; what the generator returns, if anything, joins ``streamed`` in the result."""
        head = '{"type":"stream_chunk","job_id":' + _quote_ascii(job.id) + ',"chunk":'
        tail = ',"is_final":false,"metadata":{}}'
        send = self.writer.chunk
        while True:
            try:
                chunk = next(chunks)
            except StopIteration as end:
                returned = end.value
                break
            if job._cancelled:
                _end(chunks)
            if type(chunk) is str:
                try:
                    send((head + _quote(chunk) + tail).encode())
                except UnicodeEncodeError:  # a lone surrogate
                    send((head + _quote_ascii(chunk) + tail).encode())
            else:
                send(_chunk(job.id, chunk, False))
        self.writer.send(_chunk(job.id, "", True))
        return {"streamed": True} if returned is None else {**default_result_adapter(returned), "streamed": True}

    # The main thread: everything else.

    def _control(self, message: Dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "init":
            given = message.get("plugin_configs") or {}
            self._init({name: {} if config is None else config for name, config in given.items()})
            return
        answer: Dict[str, Any]
        if kind == "get_state":
            answer = self._state()
        else:
            answer = self._change(kind, message["plugin_name"], message.get("config") or {})
        if "request_id" in message:
            answer["request_id"] = message["request_id"]
        self.writer.send(frames.encode_value(answer))

    def _init(self, configs: Dict[str, Any]) -> None:
        self._configs = configs
        try:
            ready = {
                "type": "ready",
                "loaded_plugins": self._plugins.load(configs),
                "protocol": 1,
                "features": [*_FEATURES, *self._plugins.features],
                "plugins": self._plugins.describe(),
            }
            body = frames.encode_value(ready)
        except Exception as error:
            self.writer.send(frames.encode_value({"type": "error", "error": f"{type(error).__name__}: {error}"}))
            self.writer.flush()
            raise
        self.writer.send(body)

    def _change(self, kind: str, name: str, config: Dict[str, Any]) -> Dict[str, Any]:
        answer: Dict[str, Any] = {"type": "response", "request_type": kind, "status": "success", "plugin_name": name}
        try:
            if kind == "reload":
                self._plugins.reload(name, config, self._current)
                self._configs[name] = config
                self._current = name
            else:
                self._plugins.unload(name)
                if self._current == name:
                    self._current = None
        except Exception as error:
            print(f"{kind} of plugin {name} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            answer.update(status="error", error=str(error) or type(error).__name__)
            if self._current not in self._plugins.loaded():
                self._current = None
        return answer

    def _state(self) -> Dict[str, Any]:
        return {
            "type": "state",
            "current_plugin": self._current,
            "current_config": self._configs.get(self._current) if self._current is not None else None,
            "loaded_plugins": self._plugins.loaded(),
        }


def running() -> Optional[Engine]:
    """The engine of this process, once it runs."""
    return _running


def prepare_process() -> None:
    """Signals and output as the daemon expects them of a worker.

    The terminal's Ctrl-C is for the daemon, which then stops its workers. SIGTERM ends the process, at once and
    whatever it does, unless the worker has a handler of its own. Output is a log: it goes out line by line.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True, errors="backslashreplace")


def _cancelled_result(job_id: str) -> bytes:
    return frames.encode_value({"type": "result", "job_id": job_id, "status": "cancelled"})


def _chunk(job_id: str, chunk: Any, is_final: bool) -> bytes:
    value, metadata = (chunk.value, chunk.metadata) if isinstance(chunk, Chunk) else (chunk, None)
    told = {"type": "stream_chunk", "job_id": job_id, "chunk": value, "is_final": is_final, "metadata": metadata or {}}
    return frames.encode_value(told)


def _end(chunks: Any) -> None:
    """Raise Cancelled in the stream where it stands, and here."""
    throw = getattr(chunks, "throw", None)
    if throw is not None:
        try:
            throw(Cancelled())
        except StopIteration:
            pass
    raise Cancelled()


def _close(chunks: Any) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()


def _collect(job: Job, chunks: Any) -> Dict[str, Any]:
    """The plain result of a stream that nobody asked to see: what it returns, else its text, else its chunks."""
    values: List[Any] = []
    while True:
        try:
            chunk = next(chunks)
        except StopIteration as end:
            if end.value is not None:
                return default_result_adapter(end.value)
            break
        if job._cancelled:
            _end(chunks)
        values.append(chunk.value if isinstance(chunk, Chunk) else chunk)
    if all(isinstance(value, str) for value in values):
        return {"text": "".join(values), "metadata": {}}
    return {"chunks": values}

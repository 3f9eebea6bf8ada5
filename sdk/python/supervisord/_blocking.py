"""The blocking client: calls share one connection and its reader thread, each stream has a connection of its own."""

from __future__ import annotations

import collections
import copy
import itertools
import queue
import socket
import threading
import weakref
from typing import Any, Deque, Dict, Iterator, Mapping, Optional, Union

from . import _wire
from ._errors import ConnectionLost, Error, from_response
from ._wire import OnProgress, Result, StreamChunk

Answer = Union[Dict[str, Any], Error]


class _Socket:
    """A connection that several threads may write to, and that may be ended while one reads."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise ConnectionLost(f"no daemon at {path}: {error}") from error
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._ended = False

    def send(self, data: bytes) -> None:
        """Write all of it. What breaks it off, a KeyboardInterrupt say, ends the connection: half a line is there."""
        with self._writing:
            try:
                self._socket.sendall(data)
            except OSError as error:
                self.end()
                raise ConnectionLost(f"the daemon at {self.path} is gone: {error}") from error
            except BaseException:
                self.end()
                raise

    def receive(self) -> bytes:
        """What is there, at least a byte. ConnectionLost at the end."""
        try:
            with self._reading:
                data = b"" if self._ended else self._socket.recv(_wire.READ)
        except OSError as error:
            raise ConnectionLost(f"the daemon at {self.path} is gone: {error}") from error
        finally:
            if self._ended:
                self._close()
        if not data:
            raise ConnectionLost("the connection is closed" if self._ended else f"the daemon at {self.path} closed the connection")
        return data

    def end(self) -> None:
        """Close the connection, and wake who reads. Takes no lock that anybody waits for: fit for __del__."""
        self._ended = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._close()

    def _close(self) -> None:
        # A descriptor must not be closed while another thread reads it: that thread closes it then.
        if self._reading.acquire(blocking=False):
            self._socket.close()
            self._reading.release()


class _Calls:
    """The shared connection: requests that wait for their answers, and the thread that brings these."""

    def __init__(self, path: str) -> None:
        self.socket = _Socket(path)
        self._ids = itertools.count(1)
        self._lock = threading.Lock()  # guards what follows
        self._waiting: Dict[int, "queue.SimpleQueue[Answer]"] = {}
        self._lost: Optional[Error] = None
        threading.Thread(target=self._read, name="supervisord-client", daemon=True).start()

    @property
    def lost(self) -> bool:
        """Whether the connection is of no more use."""
        return self._lost is not None

    def call(self, method: str, params: Optional[Mapping[str, Any]]) -> Any:
        """Send a request and wait for its answer. What breaks off the wait, Ctrl-C say, cancels the request."""
        request_id = next(self._ids)
        data = _wire.request(request_id, method, params)
        arrived: "queue.SimpleQueue[Answer]" = queue.SimpleQueue()
        with self._lock:
            if self._lost is not None:
                raise self._lost
            self._waiting[request_id] = arrived
        try:
            self.socket.send(data)
            message = arrived.get()
        except Error:
            self._waiting.pop(request_id, None)
            raise
        except BaseException:
            self._waiting.pop(request_id, None)
            self._cancel(request_id)
            raise
        if isinstance(message, Error):
            raise copy.copy(message)  # one for each caller, since each thread hangs its traceback to it
        return _wire.answer(message)

    def _cancel(self, request_id: int) -> None:
        try:
            self.socket.send(_wire.cancel_request(request_id))
        except ConnectionLost:
            pass  # which cancels, too

    def _read(self) -> None:
        lines = _wire.Lines()
        error: Error
        try:
            while True:
                for message in lines.feed(self.socket.receive()):
                    self._dispatch(message)
        except Error as lost:
            error = lost
        except ValueError as nonsense:
            error = _wire.no_daemon(self.socket.path, nonsense)
        with self._lock:
            self._lost = error
            waiting, self._waiting = self._waiting, {}
        self.socket.end()
        for arrived in waiting.values():
            arrived.put(error)

    def _dispatch(self, message: Dict[str, Any]) -> None:
        if "method" in message:
            return
        request_id = message.get("id")
        if request_id is None:
            # About the connection and not about one request: it was refused.
            raise from_response(message.get("error"))
        arrived = self._waiting.pop(request_id, None)
        if arrived is not None:
            arrived.put(message)


class Stream:
    """The chunks of one job, while it makes them. From Client.stream.

    Iterating gives the chunks' values; ``chunks`` gives them with seq and metadata. At the end, ``result`` is there; a
    job that failed raises its Error at the point where the next chunk would have come. Leaving the loop early, close,
    the end of a with block, and dropping the last reference cancel the job.

    One thread iterates. cancel and close may be called from any other.
    """

    def __init__(self, path: str, params: Dict[str, Any], on_progress: Optional[OnProgress]) -> None:
        self._exchange = _wire.Exchange(params, on_progress)
        self._lines = _wire.Lines()
        self._arrived: Deque[Dict[str, Any]] = collections.deque()
        self._closed = False
        self._socket = _Socket(path)
        self._socket.send(self._exchange.request)

    def __iter__(self) -> Iterator[Any]:
        for chunk in self.chunks():
            if not _wire.is_end_mark(chunk):
                yield chunk.value

    def __next__(self) -> Any:
        chunk = self._next()
        while chunk is not None and _wire.is_end_mark(chunk):
            chunk = self._next()
        if chunk is None:
            raise StopIteration
        return chunk.value

    def chunks(self) -> Iterator[StreamChunk]:
        """The chunks with seq, is_final and metadata, the empty one that may end a stream included."""
        try:
            while True:
                chunk = self._next()
                if chunk is None:
                    return
                yield chunk
        finally:
            self.close()

    @property
    def job_id(self) -> Optional[str]:
        """The job's id, once the daemon has named it: with the first chunk or progress, or at the end."""
        return self._exchange.job_id

    @property
    def result(self) -> Result:
        """The job's result, after the end; the job's Error is raised where it failed. RuntimeError before the end."""
        return self._exchange.outcome()

    def wait(self) -> Result:
        """Let the rest of the chunks pass, and give the result."""
        while self._next() is not None:
            pass
        return self.result

    def cancel(self) -> None:
        """Ask the daemon to end the job. The iteration goes on until it has, and ends with Cancelled then."""
        if not self._exchange.ended and not self._closed:
            self._socket.send(_wire.cancel_request(_wire.Exchange.REQUEST_ID))

    def close(self) -> None:
        """Cancel the job if it still runs, and leave it. More of it is not to be had."""
        if self._closed:
            return
        try:
            self.cancel()
        except ConnectionLost:
            pass  # which cancels, too
        self._closed = True
        self._socket.end()

    def _next(self) -> Optional[StreamChunk]:
        """The next chunk, None at the end of a job that did well."""
        while not self._exchange.ended:
            if not self._arrived:
                self._read()
                continue
            chunk = self._exchange.take(self._arrived.popleft())
            if chunk is not None:
                return chunk
        self._closed = True
        self._socket.end()
        self._exchange.outcome()
        return None

    def _read(self) -> None:
        # The only place that reads: what nobody takes stays with the daemon, which lets the worker wait.
        try:
            self._arrived.extend(self._lines.feed(self._socket.receive()))
        except ConnectionLost as error:
            self._exchange.error = ConnectionLost("the stream is closed") if self._closed else error
        except ValueError as nonsense:
            self._exchange.error = _wire.no_daemon(self._socket.path, nonsense)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # The connection's end cancels the job. Sending here could wait for a lock that this very thread holds.
        connection = getattr(self, "_socket", None)
        if connection is not None:
            connection.end()


class Client:
    """Calls plugins. Any number of threads may use one client at the same time.

    All calls share one connection, which is made by the first and made again after it was lost. A stream has a
    connection of its own, so that one whose chunks are taken slowly holds up nothing but its own job: what is not taken
    waits in the daemon, which lets the worker wait, and ends the job when nothing is taken for its
    ``slow_client_timeout``.

    socket_path: where the daemon listens; by default $SUPERVISORD_SOCKET, else the user's own daemon
    ($XDG_RUNTIME_DIR/supervisord.sock, not for root), else /run/supervisord/supervisord.sock.
    """

    def __init__(self, socket_path: Optional[str] = None) -> None:
        self._path = socket_path or _wire.default_socket()
        self._lock = threading.Lock()  # guards what follows
        self._calls: Optional[_Calls] = None
        self._streams: "weakref.WeakSet[Stream]" = weakref.WeakSet()
        self._closed = False

    def execute(
        self,
        plugin: str,
        params: Optional[Mapping[str, Any]] = None,
        *,
        pool: Optional[str] = None,
        timeout: Optional[float] = None,
        max_wait: Optional[float] = None,
        priority: int = 0,
        metadata: Optional[Mapping[str, Any]] = None,
        job_id: Optional[str] = None,
        affinity_key: Optional[str] = None,
        supersede_key: Optional[str] = None,
        on_disconnect: Optional[str] = None,
        on_progress: Optional[OnProgress] = None,
    ) -> Result:
        """Run a plugin and wait for its result. Ctrl-C while it waits cancels the job.

        timeout: seconds that the job may run. max_wait: seconds that it may queue; 0: only if it can start now.
        priority: -100 to 100. job_id: an id of your own. on_disconnect: "cancel" (the default) or "continue".
        on_progress(fraction, message) is called in this thread. Progress comes with a stream, so a plugin that can
        stream does; its text is then joined into data["text"], unless it answers one itself.
        """
        told = _wire.execute_params(
            plugin, params, stream=on_progress is not None, timeout=timeout, max_wait=max_wait, priority=priority,
            pool=pool, metadata=metadata, job_id=job_id, affinity_key=affinity_key, supersede_key=supersede_key,
            on_disconnect=on_disconnect,
        )  # fmt: skip
        if on_progress is None:
            return _wire.result(self.call("execute", told))
        collected = _wire.Collected()
        with self._stream(told, on_progress) as stream:
            for chunk in stream.chunks():
                collected.add(chunk)
        return collected.into(stream.result)

    def stream(
        self,
        plugin: str,
        params: Optional[Mapping[str, Any]] = None,
        *,
        pool: Optional[str] = None,
        timeout: Optional[float] = None,
        max_wait: Optional[float] = None,
        priority: int = 0,
        metadata: Optional[Mapping[str, Any]] = None,
        job_id: Optional[str] = None,
        affinity_key: Optional[str] = None,
        supersede_key: Optional[str] = None,
        on_disconnect: Optional[str] = None,
        on_progress: Optional[OnProgress] = None,
    ) -> Stream:
        """Run a plugin and take its chunks while it makes them: ``for chunk in client.stream("spell", {...})``.

        The arguments are those of execute; on_progress is called by the iteration, in its thread.
        """
        told = _wire.execute_params(
            plugin, params, stream=True, timeout=timeout, max_wait=max_wait, priority=priority,
            pool=pool, metadata=metadata, job_id=job_id, affinity_key=affinity_key, supersede_key=supersede_key,
            on_disconnect=on_disconnect,
        )  # fmt: skip
        return self._stream(told, on_progress)

    def cancel(self, job_id: str, force: bool = False) -> Dict[str, Any]:
        """End a job and wait until it has ended: {job_id, status, how}. force: kill its worker at once."""
        params: Dict[str, Any] = {"job_id": job_id}
        if force:
            params["force"] = True
        answered: Dict[str, Any] = self.call("job.cancel", params)
        return answered

    def call(self, method: str, params: Optional[Mapping[str, Any]] = None) -> Any:
        """Call any method of the daemon and give its result, as it came."""
        return self._connected().call(method, params)

    def close(self) -> None:
        """End the connections: what still waits in other threads gets ConnectionLost, its jobs are cancelled."""
        with self._lock:
            self._closed = True
            calls, self._calls = self._calls, None
            streams = list(self._streams)
        if calls is not None:
            calls.socket.end()
        for stream in streams:
            stream.close()

    def _connected(self) -> _Calls:
        with self._lock:
            if self._closed:
                raise ConnectionLost("the client is closed")
            if self._calls is None or self._calls.lost:
                self._calls = _Calls(self._path)
            return self._calls

    def _stream(self, params: Dict[str, Any], on_progress: Optional[OnProgress]) -> Stream:
        stream = Stream(self._path, params, on_progress)
        with self._lock:
            closed = self._closed
            self._streams.add(stream)
        if closed:
            stream.close()
            raise ConnectionLost("the client is closed")
        return stream

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        calls = getattr(self, "_calls", None)
        if calls is not None:
            calls.socket.end()

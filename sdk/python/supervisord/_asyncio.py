"""The asyncio client: calls share one connection, each stream has a connection of its own."""

from __future__ import annotations

import asyncio
import collections
import copy
import itertools
import weakref
from typing import Any, AsyncIterator, Deque, Dict, Mapping, Optional, cast

from . import _wire
from ._errors import ConnectionLost, Error, from_response
from ._wire import OnProgress, Result, StreamChunk


class _Calls(asyncio.Protocol):
    """The shared connection: requests that wait for their answers. Lives in one event loop."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lost: Optional[Error] = None
        self._ids = itertools.count(1)
        self._lines = _wire.Lines()
        self._waiting: Dict[int, "asyncio.Future[Dict[str, Any]]"] = {}
        self._transport: asyncio.Transport  # from connection_made on, which precedes every call

    async def call(self, method: str, params: Optional[Mapping[str, Any]]) -> Any:
        """Send a request and wait for its answer. A caller that is cancelled cancels the request."""
        request_id = next(self._ids)
        data = _wire.request(request_id, method, params)
        if self.lost is not None:
            raise copy.copy(self.lost)
        arrived = self._waiting[request_id] = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        try:
            message = await arrived
        except asyncio.CancelledError:
            if self.lost is None:
                self._transport.write(_wire.cancel_request(request_id))
            raise
        finally:
            self._waiting.pop(request_id, None)
        return _wire.answer(message)

    def end(self, error: Error) -> None:
        """Close the connection; what waits gets the error."""
        if self.lost is None:
            self.lost = error
        for arrived in self._waiting.values():
            if not arrived.done():
                arrived.set_exception(copy.copy(self.lost))
        self._transport.abort()

    def abandon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close the connection from __del__."""
        _abandon(loop, self._transport)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._lines.feed(data):
                self._dispatch(message)
        except ValueError as nonsense:
            self.end(_wire.no_daemon(self.path, nonsense))

    def connection_lost(self, exc: Optional[Exception]) -> None:
        why = "closed the connection" if exc is None else f"is gone: {exc}"
        self.end(ConnectionLost(f"the daemon at {self.path} {why}"))

    def _dispatch(self, message: Dict[str, Any]) -> None:
        if "method" in message:
            return
        request_id = message.get("id")
        if request_id is None:
            # About the connection and not about one request: it was refused.
            self.end(from_response(message.get("error")))
            return
        arrived = self._waiting.get(request_id)
        if arrived is not None and not arrived.done():
            arrived.set_result(message)


def _abandon(loop: asyncio.AbstractEventLoop, transport: asyncio.BaseTransport) -> None:
    """Close a connection whose owner is garbage, which may be found out in any thread."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    abort = cast(asyncio.Transport, transport).abort
    if here is loop:
        abort()
    elif not loop.is_closed():
        loop.call_soon_threadsafe(abort)


class AsyncStream:
    """The chunks of one job, while it makes them. From AsyncClient.stream; the first step of the iteration starts it.

    ``async for`` gives the chunks' values; ``chunks`` gives them with seq and metadata. At the end, ``result`` is
    there; a job that failed raises its Error at the point where the next chunk would have come. Leaving the loop early,
    aclose, the end of an ``async with`` block, the cancellation of the task, and dropping the last reference cancel
    the job.
    """

    def __init__(self, client: "AsyncClient", params: Dict[str, Any], on_progress: Optional[OnProgress]) -> None:
        self._exchange = _wire.Exchange(params, on_progress)
        self._lines = _wire.Lines()
        self._arrived: Deque[Dict[str, Any]] = collections.deque()
        self._client = client
        self._reader: Optional[asyncio.StreamReader] = None
        self._writer: Optional[asyncio.StreamWriter] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[Any]:
        chunks = self.chunks()
        try:
            async for chunk in chunks:
                if not _wire.is_end_mark(chunk):
                    yield chunk.value
        finally:
            self.close()

    async def __anext__(self) -> Any:
        chunk = await self._next()
        while chunk is not None and _wire.is_end_mark(chunk):
            chunk = await self._next()
        if chunk is None:
            raise StopAsyncIteration
        return chunk.value

    async def chunks(self) -> AsyncIterator[StreamChunk]:
        """The chunks with seq, is_final and metadata, the empty one that may end a stream included."""
        try:
            while True:
                chunk = await self._next()
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

    async def wait(self) -> Result:
        """Let the rest of the chunks pass, and give the result."""
        while await self._next() is not None:
            pass
        return self.result

    def cancel(self) -> None:
        """Ask the daemon to end the job. The iteration goes on until it has, and ends with Cancelled then."""
        if self._writer is not None and not self._exchange.ended and not self._closed:
            self._writer.write(_wire.cancel_request(_wire.Exchange.REQUEST_ID))

    def close(self) -> None:
        """Cancel the job if it still runs, and leave it. More of it is not to be had."""
        if self._closed:
            return
        self.cancel()
        self._closed = True
        self._client._streams.discard(self)
        if self._writer is not None:
            self._writer.close()  # after what was written has gone out

    async def aclose(self) -> None:
        """close, and wait until the connection is closed."""
        self.close()
        if self._writer is not None:
            try:
                await self._writer.wait_closed()
            except OSError:
                pass  # closed by the other side first

    async def _next(self) -> Optional[StreamChunk]:
        """The next chunk, None at the end of a job that did well."""
        try:
            while not self._exchange.ended:
                if not self._arrived:
                    await self._read()
                    continue
                chunk = self._exchange.take(self._arrived.popleft())
                if chunk is not None:
                    return chunk
        except asyncio.CancelledError:
            self.close()
            raise
        self.close()
        self._exchange.outcome()
        return None

    async def _read(self) -> None:
        # The only place that reads: what nobody takes stays with the daemon, which lets the worker wait.
        path = self._client.path
        try:
            if self._closed:
                raise ConnectionLost("the stream is closed")
            if self._reader is None:
                await self._start(path)
            assert self._reader is not None
            data = await self._reader.read(_wire.READ)
            if not data:
                raise ConnectionLost("the stream is closed" if self._closed else f"the daemon at {path} closed the connection")
            self._arrived.extend(self._lines.feed(data))
        except ConnectionLost as error:
            self._exchange.error = error
        except OSError as error:
            self._exchange.error = ConnectionLost(f"the daemon at {path} is gone: {error}")
        except ValueError as nonsense:
            self._exchange.error = _wire.no_daemon(path, nonsense)

    async def _start(self, path: str) -> None:
        if self._client._closed:
            raise ConnectionLost("the client is closed")
        self._loop = asyncio.get_running_loop()
        try:
            self._reader, self._writer = await asyncio.open_unix_connection(path)
        except OSError as error:
            raise ConnectionLost(f"no daemon at {path}: {error}") from error
        self._writer.write(self._exchange.request)
        self._client._streams.add(self)

    def __del__(self) -> None:
        if self._writer is not None and self._loop is not None and not self._closed:
            _abandon(self._loop, self._writer.transport)

    async def __aenter__(self) -> "AsyncStream":
        if self._reader is None:
            await self._start(self._client.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class AsyncClient:
    """Calls plugins from asyncio. Used in one event loop, by any number of its tasks at the same time.

    As with Client, all calls share one connection, which the first one makes, and a stream has a connection of its own,
    so that slowly taken chunks hold up nothing but their own job. Cancelling the task that waits in a call or iterates
    a stream cancels the job.

    socket_path: as for Client.
    """

    def __init__(self, socket_path: Optional[str] = None) -> None:
        self.path = socket_path or _wire.default_socket()
        # Made in the loop: an older Python's lock belongs to the loop that runs when it is made.
        self._connecting: Optional[asyncio.Lock] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._calls: Optional[_Calls] = None
        self._streams: "weakref.WeakSet[AsyncStream]" = weakref.WeakSet()
        self._closed = False

    async def execute(
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
        """Run a plugin and wait for its result. The arguments are those of Client.execute."""
        told = _wire.execute_params(
            plugin, params, stream=on_progress is not None, timeout=timeout, max_wait=max_wait, priority=priority,
            pool=pool, metadata=metadata, job_id=job_id, affinity_key=affinity_key, supersede_key=supersede_key,
            on_disconnect=on_disconnect,
        )  # fmt: skip
        if on_progress is None:
            return _wire.result(await self.call("execute", told))
        collected = _wire.Collected()
        async with AsyncStream(self, told, on_progress) as stream:
            async for chunk in stream.chunks():
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
    ) -> AsyncStream:
        """Run a plugin and take its chunks while it makes them: ``async for chunk in client.stream("spell", {...})``.

        The arguments are those of Client.execute; on_progress is called by the iteration.
        """
        told = _wire.execute_params(
            plugin, params, stream=True, timeout=timeout, max_wait=max_wait, priority=priority,
            pool=pool, metadata=metadata, job_id=job_id, affinity_key=affinity_key, supersede_key=supersede_key,
            on_disconnect=on_disconnect,
        )  # fmt: skip
        return AsyncStream(self, told, on_progress)

    async def cancel(self, job_id: str, force: bool = False) -> Dict[str, Any]:
        """End a job and wait until it has ended: {job_id, status, how}. force: kill its worker at once."""
        params: Dict[str, Any] = {"job_id": job_id}
        if force:
            params["force"] = True
        answered: Dict[str, Any] = await self.call("job.cancel", params)
        return answered

    async def call(self, method: str, params: Optional[Mapping[str, Any]] = None) -> Any:
        """Call any method of the daemon and give its result, as it came."""
        return await (await self._connected()).call(method, params)

    async def aclose(self) -> None:
        """End the connections: what still waits in other tasks gets ConnectionLost, its jobs are cancelled."""
        self._closed = True
        if self._calls is not None:
            self._calls.end(ConnectionLost("the client is closed"))
        for stream in list(self._streams):
            await stream.aclose()

    async def _connected(self) -> _Calls:
        self._loop = asyncio.get_running_loop()
        if self._connecting is None:
            self._connecting = asyncio.Lock()
        async with self._connecting:
            if self._closed:
                raise ConnectionLost("the client is closed")
            if self._calls is None or self._calls.lost is not None:
                calls = _Calls(self.path)
                try:
                    await self._loop.create_unix_connection(lambda: calls, self.path)
                except OSError as error:
                    raise ConnectionLost(f"no daemon at {self.path}: {error}") from error
                self._calls = calls
            return self._calls

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._calls is not None and self._loop is not None and self._calls.lost is None:
            self._calls.abandon(self._loop)

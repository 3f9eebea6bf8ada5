"""The asyncio client, against a daemon that the test plays."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import Any, Awaitable, Callable, Coroutine, Dict, List

from supervisord import client as kit
from supervisord.client import AsyncClient, AsyncStream

from .fake_daemon import Connection, Event, FakeDaemonTest, chunk, progress
from .support import LIMIT


def run(test: Coroutine[Any, Any, Any]) -> None:
    """Run it in a loop of its own. What the loop would only log, an exception nobody saw say, is a failure."""
    complaints: List[Dict[str, Any]] = []

    async def watched() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        loop.slow_callback_duration = LIMIT  # which debug mode would tell of
        await asyncio.wait_for(test, LIMIT)
        gc.collect()

    asyncio.run(watched(), debug=True)
    assert not complaints, complaints


async def happened(event: Event) -> Any:
    """The value of an event in a daemon's thread."""
    return await asyncio.get_running_loop().run_in_executor(None, event.wait)


class AsyncCallTest(FakeDaemonTest):
    def test_calls_share_a_connection_and_get_their_own_answers(self) -> None:
        count = 50

        def daemon(connection: Connection) -> None:
            requests = [connection.receive() for _ in range(count)]
            answers = [{"id": r["id"], "result": {"job_id": "j", "data": r["params"]["params"], "chunks": 0}} for r in reversed(requests) if r]
            connection.send({"method": "event", "params": {}}, {"id": 4711, "result": {}}, *answers)

        async def test() -> None:
            async with AsyncClient(self.path) as client:
                results = await asyncio.gather(*[client.execute("p", {"n": n}) for n in range(count)])
            self.assertEqual([result.data["n"] for result in results], list(range(count)))

        self.serve(daemon)
        run(test())

    def test_what_execute_and_cancel_send(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.result(request, request["params"])
            request = connection.receive()
            assert request is not None
            connection.send({"id": request["id"], "result": {"method": request["method"], **request["params"]}})

        async def test() -> None:
            async with AsyncClient(self.path) as client:
                result = await client.execute("p", pool="a", timeout=0.0001, priority=5)
                self.assertEqual(result.data, {"plugin_name": "p", "params": {}, "pool": "a", "timeout_ms": 1, "priority": 5})
                self.assertEqual(await client.cancel("j", force=True), {"method": "job.cancel", "job_id": "j", "force": True})

        self.serve(daemon)
        run(test())

    def test_errors_are_typed(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.error(request, 1004, "unknown_plugin", known=["q"])

        async def test() -> None:
            async with AsyncClient(self.path) as client:
                with self.assertRaises(kit.UnknownPlugin) as caught:
                    await client.execute("p")
                self.assertEqual(caught.exception.known, ["q"])

        self.serve(daemon)
        run(test())

    def test_cancelling_a_task_cancels_its_request_and_no_other(self) -> None:
        arrived, cancelled = Event(), Event()

        def daemon(connection: Connection) -> None:
            requests = [connection.receive(), connection.receive()]
            arrived.happened()
            cancel = connection.receive()
            assert cancel is not None and cancel["method"] == "$/cancelRequest"
            cancelled.happened()
            for request in requests:
                assert request is not None
                if request["id"] == cancel["params"]["id"]:
                    connection.error(request, -32800, "cancelled")
                    assert request["params"]["plugin_name"] == "first"
                else:
                    connection.result(request)

        async def test() -> None:
            async with AsyncClient(self.path) as client:
                first = asyncio.ensure_future(client.execute("first"))
                second = asyncio.ensure_future(client.execute("second"))
                await happened(arrived)
                first.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await first
                await happened(cancelled)
                self.assertEqual((await second).data, {})

        self.serve(daemon)
        run(test())

    def test_a_lost_connection_fails_all_and_the_next_call_connects_again(self) -> None:
        def goes_away(connection: Connection) -> None:
            connection.receive()
            connection.receive()

        def nonsense(connection: Connection) -> None:
            connection.receive()
            connection.send_bytes(b"nonsense\n")

        def refuses(connection: Connection) -> None:
            connection.receive()
            connection.send({"id": None, "error": {"code": 1000, "message": "full", "data": {"kind": "overloaded", "retryable": True}}})

        def is_back(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.result(request, "back")

        async def test() -> None:
            async with AsyncClient(self.path) as client:
                with self.assertRaisesRegex(kit.ConnectionLost, "no daemon at"):
                    await client.execute("p")
                self.serve(goes_away, nonsense, refuses, is_back)
                lost = await asyncio.gather(client.execute("p"), client.execute("p"), return_exceptions=True)
                self.assertEqual([type(error) for error in lost], [kit.ConnectionLost, kit.ConnectionLost])
                with self.assertRaisesRegex(kit.ConnectionLost, "no supervisord"):
                    await client.execute("p")
                with self.assertRaises(kit.Overloaded):
                    await client.execute("p")
                self.assertEqual((await client.execute("p")).data, "back")
            with self.assertRaisesRegex(kit.ConnectionLost, "the client is closed"):
                await client.execute("p")

        run(test())

    def test_a_client_made_outside_of_the_loop(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.result(request)

        async def test(client: AsyncClient) -> None:
            await asyncio.gather(*[client.execute("p")])
            await client.aclose()

        self.serve(daemon)
        run(test(AsyncClient(self.path)))

    def test_progress_makes_it_a_stream_whose_text_is_kept(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None and request["params"]["stream"] is True
            connection.send(progress(request, 0.5, "half"), chunk(request, 0, "a"), chunk(request, 1, "b", True))
            connection.result(request, {"streamed": True}, 2)

        async def test() -> None:
            told: List[Any] = []
            async with AsyncClient(self.path) as client:
                result = await client.execute("p", on_progress=lambda *progress: told.append(progress))
            self.assertEqual((told, result.data["text"]), ([(0.5, "half")], "ab"))

        self.serve(daemon)
        run(test())


class AsyncStreamTest(FakeDaemonTest):
    def test_chunks_come_in_order_and_then_the_result(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None and request["params"] == {"plugin_name": "p", "params": {"x": 1}, "stream": True}
            connection.send(chunk(request, 0, "a", index=0), progress(request, None, "on"), chunk(request, 1, "b"), chunk(request, 2, "", True))
            connection.result(request, {"streamed": True}, 3)

        async def test() -> None:
            told: List[Any] = []
            async with AsyncClient(self.path) as client:
                stream = client.stream("p", {"x": 1}, on_progress=lambda *progress: told.append(progress))
                self.assertEqual([value async for value in stream], ["a", "b"])
                self.assertEqual((stream.job_id, told, stream.result.chunks), ("j-1", [(None, "on")], 3))
                chunks = [part async for part in client.stream("p", {"x": 1}).chunks()]
                self.assertEqual([(c.seq, c.value, c.is_final, c.metadata) for c in chunks], [(0, "a", False, {"index": 0}), (1, "b", False, {}), (2, "", True, {})])
                async with client.stream("p", {"x": 1}) as stream:
                    self.assertEqual(await stream.__anext__(), "a")
                    self.assertEqual((await stream.wait()).chunks, 3)
                    with self.assertRaises(StopAsyncIteration):
                        await stream.__anext__()

        self.serve(daemon, daemon, daemon)
        run(test())

    def test_a_failed_job_fails_the_iteration_after_its_chunks(self) -> None:
        def dies(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.send(chunk(request, 0, "a"))
            connection.error(request, 1001, "worker_died", signal="SIGKILL")

        def goes_away(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.send(chunk(request, 0, "a"))

        async def test() -> None:
            async with AsyncClient(self.path) as client:
                for kind in (kit.WorkerDied, kit.ConnectionLost):
                    values: List[Any] = []
                    with self.assertRaises(kind):
                        async for value in client.stream("p"):
                            values.append(value)
                    self.assertEqual(values, ["a"])

        self.serve(dies, goes_away)
        run(test())

    def test_cancel_lets_the_iteration_go_on_to_the_end_of_the_job(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.send(chunk(request, 0, "a"))
            cancel = connection.receive()
            assert cancel is not None and (cancel["method"], cancel["params"]) == ("$/cancelRequest", {"id": request["id"]})
            connection.send(chunk(request, 1, "last"))
            connection.error(request, -32800, "cancelled")

        async def test() -> None:
            values: List[Any] = []
            async with AsyncClient(self.path) as client:
                stream = client.stream("p")
                with self.assertRaises(kit.Cancelled):
                    async for value in stream:
                        values.append(value)
                        if value == "a":
                            stream.cancel()
            self.assertEqual(values, ["a", "last"])

        self.serve(daemon)
        run(test())

    def test_leaving_a_stream_in_any_way_cancels_its_job_and_hangs_up(self) -> None:
        left = Event()

        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.send(chunk(request, 0, "a"))
            left.happened([message and message["method"] for message in (connection.receive(), connection.receive())])

        async def leave_loop(stream: AsyncStream) -> None:
            async for _ in stream:
                break

        async def leave_chunks(stream: AsyncStream) -> None:
            async for _ in stream.chunks():
                break

        async def leave_block(stream: AsyncStream) -> None:
            async with stream:
                await stream.__anext__()

        async def fail(stream: AsyncStream) -> None:
            with self.assertRaises(ZeroDivisionError):
                async for _ in stream:
                    1 / 0

        async def close(stream: AsyncStream) -> None:
            await stream.__anext__()
            await stream.aclose()
            await stream.aclose()
            with self.assertRaisesRegex(kit.ConnectionLost, "the stream is closed"):
                await stream.__anext__()

        async def cancel_task(stream: AsyncStream) -> None:
            first: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()

            async def iterate() -> None:
                async for _ in stream:
                    first.set_result(None)

            task = asyncio.ensure_future(iterate())
            await first
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        ways: List[Callable[[AsyncStream], Awaitable[None]]] = [leave_loop, leave_chunks, leave_block, fail, close, cancel_task]

        async def test() -> None:
            async with AsyncClient(self.path) as client:
                for way in ways:
                    await way(client.stream("p"))
                    self.assertEqual(await happened(left), ["$/cancelRequest", None], way.__name__)

        self.serve(*[daemon] * len(ways))
        run(test())

    def test_a_stream_that_is_dropped_hangs_up(self) -> None:
        left = Event()

        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.send(chunk(request, 0, "a"))
            left.happened(connection.receive())

        async def test() -> None:
            async with AsyncClient(self.path) as client:
                client.stream("p")  # never begun, so there is nothing to hang up
                stream = client.stream("p")
                await stream.__anext__()
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    del stream
                    gc.collect()
                self.assertIsNone(await happened(left))
                self.assertEqual(told, [])  # no unclosed transport

        self.serve(daemon)
        run(test())

    def test_the_end_of_the_client_ends_its_streams(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.send(chunk(request, 0, "a"))
            while connection.receive() is not None:
                pass

        async def test() -> None:
            client = AsyncClient(self.path)
            stream = client.stream("p")
            await stream.__anext__()
            more = asyncio.ensure_future(stream.__anext__())
            await asyncio.sleep(0)
            await client.aclose()
            with self.assertRaises(kit.ConnectionLost):
                await more
            with self.assertRaises(kit.ConnectionLost):
                await client.stream("p").__anext__()

        self.serve(daemon)
        run(test())

    def test_a_slow_reader_holds_up_its_own_stream_and_nothing_else(self) -> None:
        piece, limit = "x" * 10000, 4 << 20
        stuck, go_on = Event(), Event()

        def flood(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.send(chunk(request, 0, piece))
            connection.socket.settimeout(0.5)
            sent = 0
            try:
                while sent < limit:
                    connection.send(chunk(request, 1, piece))
                    sent += len(piece)
            except OSError:
                pass
            stuck.happened(sent)
            go_on.wait()

        def calls(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.result(request)

        async def test() -> None:
            async with AsyncClient(self.path) as client:
                stream = client.stream("p")
                self.assertEqual(await stream.__anext__(), piece)
                self.assertLess(await happened(stuck), limit)
                self.assertEqual((await client.execute("q")).data, {})
                self.assertEqual(await stream.__anext__(), piece)
                go_on.happened()

        self.serve(flood, calls)
        run(test())

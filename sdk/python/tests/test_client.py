"""The blocking client, against a daemon that the test plays."""

from __future__ import annotations

import gc
import math
import os
import pickle
import signal
import sys
import threading
import time
import unittest
import warnings
from typing import Any, Callable, Dict, List, Tuple
from unittest import mock

from supervisord import client as kit
from supervisord.client import Client

from .fake_daemon import Connection, Event, FakeDaemonTest, chunk, progress


def open_sockets() -> int:
    """How many this process has."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except FileNotFoundError:
            pass  # the directory itself
    return found


class CallTest(FakeDaemonTest):
    def test_execute_sends_what_it_was_given_and_gives_the_result(self) -> None:
        received: List[Dict[str, Any]] = []

        def daemon(connection: Connection) -> None:
            for _ in range(2):
                request = connection.receive()
                assert request is not None
                received.append(request)
                connection.result(request, {"text": "é"}, 3)

        self.serve(daemon)
        with Client(self.path) as client:
            result = client.execute("p", {"x": 1})
            client.execute(
                "p", {}, pool="a", timeout=1.5, max_wait=0, priority=-3, metadata={"k": "v"}, job_id="mine",
                affinity_key="f", supersede_key="s", on_disconnect="continue",
            )  # fmt: skip
        self.assertEqual(result, kit.Result("j-1", {"text": "é"}, 3))
        self.assertEqual((received[0]["jsonrpc"], received[0]["method"]), ("2.0", "execute"))
        self.assertEqual(received[0]["params"], {"plugin_name": "p", "params": {"x": 1}})
        self.assertEqual(
            received[1]["params"],
            {
                "plugin_name": "p", "params": {}, "pool": "a", "timeout_ms": 1500, "max_wait_ms": 0, "priority": -3,
                "metadata": {"k": "v"}, "job_id": "mine", "affinity_key": "f", "supersede_key": "s", "on_disconnect": "continue",
            },
        )  # fmt: skip

    def test_other_methods_go_as_they_are(self) -> None:
        def daemon(connection: Connection) -> None:
            for want in (("pool.list", None), ("job.cancel", {"job_id": "j"}), ("job.cancel", {"job_id": "j", "force": True})):
                request = connection.receive()
                assert request is not None and (request["method"], request.get("params")) == want, request
                connection.send({"id": request["id"], "result": {"n": 1}})

        self.serve(daemon)
        with Client(self.path) as client:
            self.assertEqual(client.call("pool.list"), {"n": 1})
            self.assertEqual(client.cancel("j"), {"n": 1})
            self.assertEqual(client.cancel("j", force=True), {"n": 1})

    def test_threads_share_a_connection_and_get_their_own_answers(self) -> None:
        count = 20

        def daemon(connection: Connection) -> None:
            requests = [connection.receive() for _ in range(count)]
            # The other way round, and in one write, with something between that nobody asked for.
            answers: List[Dict[str, Any]] = [{"id": r["id"], "result": r["params"]} for r in reversed(requests) if r]
            connection.send({"method": "event", "params": {}}, {"id": 4711, "result": {}}, *answers)

        self.serve(daemon)
        answers: Dict[int, Any] = {}
        with Client(self.path) as client:
            threads = [threading.Thread(target=lambda n=n: answers.update({n: client.call("m", {"n": n})})) for n in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(answers, {n: {"n": n} for n in range(count)})

    def test_an_answer_in_pieces_and_a_large_one(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            for byte in b'\n{"jsonrpc":"2.0","id":%d,"result":"\xc3\xa9"}\n' % request["id"]:
                connection.send_bytes(bytes([byte]))
            request = connection.receive()
            assert request is not None
            connection.send({"id": request["id"], "result": "x" * (8 << 20)})

        self.serve(daemon)
        with Client(self.path) as client:
            self.assertEqual(client.call("m"), "é")
            self.assertEqual(len(client.call("m")), 8 << 20)

    def test_params_that_json_cannot_hold_are_refused_and_the_client_goes_on(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.result(request, request["params"]["params"])

        self.serve(daemon)
        with Client(self.path) as client:
            with self.assertRaisesRegex(ValueError, r"found at params\.params\.loss"):
                client.execute("p", {"loss": math.nan})
            with self.assertRaisesRegex(TypeError, "bytes has no JSON form"):
                client.execute("p", {"data": b""})
            self.assertEqual(client.execute("p", {"n": 1}).data, {"n": 1})

    def test_progress_makes_it_a_stream_whose_text_is_kept(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None and request["params"]["stream"] is True
            connection.send(progress(request, 0.5, "half"), chunk(request, 0, "a"), chunk(request, 1, "b"))
            connection.send(progress(request, None, ""), chunk(request, 2, "", True))
            connection.result(request, {"streamed": True}, 3)

        self.serve(daemon)
        told: List[Any] = []
        with Client(self.path) as client:
            result = client.execute("p", on_progress=lambda fraction, message: told.append((fraction, message)))
        self.assertEqual(told, [(0.5, "half"), (None, "")])
        self.assertEqual(result.data, {"streamed": True, "text": "ab"})


class ErrorTest(FakeDaemonTest):
    def test_every_code_has_its_class(self) -> None:
        cases = {
            -32700: kit.Error, -32600: kit.InvalidRequest, -32601: kit.MethodNotFound, -32602: kit.InvalidParams,
            -32603: kit.InternalError, -32800: kit.Cancelled, -32802: kit.ServerCancelled, 1000: kit.Overloaded,
            1001: kit.WorkerDied, 1002: kit.JobFailed, 1003: kit.DeadlineExceeded, 1004: kit.UnknownPlugin,
            1005: kit.UnknownPool, 1006: kit.UnknownJob, 1007: kit.UnknownWorker, 1008: kit.PoolUnavailable,
            1009: kit.PermissionDenied, 1010: kit.ClientTooSlow, 1011: kit.Superseded, 1012: kit.Quarantined,
            1013: kit.ConfigInvalid, 1014: kit.Conflict, 1015: kit.ResultTooLarge, 1016: kit.ChunksGone, 4711: kit.Error,
        }  # fmt: skip

        def daemon(connection: Connection) -> None:
            for code in cases:
                request = connection.receive()
                assert request is not None
                connection.error(request, code, f"kind{code}", retryable=code == 1000, job_id="j-9", more=[1])

        self.serve(daemon)
        with Client(self.path) as client:
            for code, kind in cases.items():
                with self.subTest(code), self.assertRaises(kit.Error) as caught:
                    client.execute("p")
                error = caught.exception
                self.assertIs(type(error), kind)
                self.assertEqual((error.code, error.kind, error.message, error.job_id), (code, f"kind{code}", f"it is kind{code}", "j-9"))
                self.assertEqual((error.retryable, error.data["more"]), (code == 1000, [1]))
                self.assertEqual(str(error), f"kind{code} ({code}): it is kind{code}")
                again = pickle.loads(pickle.dumps(error))
                self.assertEqual((type(again), again.code, again.data), (kind, code, error.data))

    def test_errors_tell_their_details(self) -> None:
        cases: List[Tuple[int, Dict[str, Any]]] = [
            (1001, {"cause": "signal", "signal": "SIGKILL", "stderr_tail": ["a", "b"]}),
            (1001, {"cause": "exit", "exit_code": 0}),
            (1002, {"error_info": {"category": "user_input"}}),
            (1000, {"retry_after_ms": 1500}),
            (1004, {"known": ["word_count"]}),
            (-32602, {"fields": [{"path": "params", "reason": "no object"}]}),
            (1008, {}),
        ]

        def daemon(connection: Connection) -> None:
            for code, data in cases:
                request = connection.receive()
                assert request is not None
                connection.error(request, code, "kind", **data)

        self.serve(daemon)
        errors: List[Any] = []
        with Client(self.path) as client:
            for _ in range(7):
                with self.assertRaises(kit.Error) as caught:
                    client.execute("p")
                errors.append(caught.exception)
        died, exited, failed, overloaded, unknown, params, unavailable = errors
        self.assertEqual((died.cause, died.signal, died.exit_code, died.stderr_tail), ("signal", "SIGKILL", None, ["a", "b"]))
        self.assertEqual((exited.cause, exited.signal, exited.exit_code, exited.stderr_tail), ("exit", None, 0, []))
        self.assertEqual((failed.category, overloaded.retry_after, unavailable.retry_after), ("user_input", 1.5, None))
        self.assertEqual((unknown.known, params.fields), (["word_count"], [{"path": "params", "reason": "no object"}]))


class ConnectionTest(FakeDaemonTest):
    def test_without_a_daemon_a_call_says_so(self) -> None:
        with Client(self.path) as client:
            calls: List[Callable[[], object]] = [lambda: client.execute("p"), lambda: client.stream("p")]
            for call in calls:
                with self.assertRaisesRegex(kit.ConnectionLost, f"no daemon at {self.path}") as caught:
                    call()
                self.assertTrue(caught.exception.retryable)
                self.assertEqual(caught.exception.kind, "connection_lost")

    def test_a_daemon_that_goes_away_fails_every_call_and_the_next_connects_again(self) -> None:
        def goes_away(connection: Connection) -> None:
            for _ in range(3):
                connection.receive()

        def is_back(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.result(request, {"back": True})

        self.serve(goes_away, is_back)
        lost: List[BaseException] = []
        with Client(self.path) as client:

            def call() -> None:
                try:
                    client.execute("p")
                except kit.ConnectionLost as error:
                    lost.append(error)

            threads = [threading.Thread(target=call) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(len(lost), 3)
            self.assertEqual(len(set(map(id, lost))), 3)
            self.assertEqual(client.execute("p").data, {"back": True})

    def test_nonsense_ends_the_connection(self) -> None:
        for nonsense in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"[1]\n", b"\xff\n"):

            def daemon(connection: Connection, nonsense: bytes = nonsense) -> None:
                connection.receive()
                connection.send_bytes(nonsense)
                assert connection.receive() is None

            with self.subTest(nonsense):
                self.setUp()
                self.serve(daemon, daemon)
                with Client(self.path) as client:
                    with self.assertRaisesRegex(kit.ConnectionLost, "no supervisord"):
                        client.execute("p")
                    with self.assertRaisesRegex(kit.ConnectionLost, "no supervisord"):
                        list(client.stream("p"))

    def test_a_refused_connection_gives_the_reason(self) -> None:
        def daemon(connection: Connection) -> None:
            data = {"kind": "overloaded", "retryable": True, "limit": "connections"}
            connection.receive()
            connection.send({"id": None, "error": {"code": 1000, "message": "too many connections", "data": data}})
            connection.receive()

        self.serve(daemon, daemon)
        with Client(self.path) as client:
            with self.assertRaises(kit.Overloaded):
                client.execute("p")
            with self.assertRaises(kit.Overloaded):
                list(client.stream("p"))

    def test_close_ends_what_waits(self) -> None:
        waiting = Event()

        def daemon(connection: Connection) -> None:
            request = connection.receive()
            if request is not None and request["params"].get("stream"):
                connection.send(chunk(request, 0, "a"))
            else:
                waiting.happened()
            while connection.receive() is not None:
                pass

        self.serve(daemon, daemon)
        client, ended = Client(self.path), Event()

        def call() -> None:
            try:
                client.execute("p")
            except kit.ConnectionLost as error:
                ended.happened(error)

        def iterate() -> None:
            try:
                for value in client.stream("p"):
                    waiting.happened(value)
            except kit.ConnectionLost as error:
                ended.happened(error)

        threads = [threading.Thread(target=call), threading.Thread(target=iterate)]
        for thread in threads:
            thread.start()
        waiting.wait()
        waiting.wait()
        client.close()
        for thread in threads:
            thread.join()
        self.assertIn("closed", str(ended.wait()))
        self.assertIn("closed", str(ended.wait()))
        with self.assertRaisesRegex(kit.ConnectionLost, "the client is closed"):
            client.execute("p")
        client.close()

    def test_a_client_that_is_dropped_hangs_up(self) -> None:
        gone = Event()

        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.result(request)
            gone.happened(connection.receive())

        self.serve(daemon)
        client = Client(self.path)
        client.execute("p")
        del client
        gc.collect()
        self.assertIsNone(gone.wait())

    def test_ctrl_c_cancels_the_call_that_waits(self) -> None:
        cancelled = Event()

        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            # An interrupt while it still sends would end the connection instead.
            main = threading.main_thread().ident
            while sys._current_frames()[main or 0].f_code.co_name != "call":
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)
            cancel = connection.receive()
            assert cancel is not None
            cancelled.happened((request["id"] == cancel["params"]["id"], cancel["method"], "id" in cancel))
            connection.error(request, -32800, "cancelled")
            request = connection.receive()
            assert request is not None
            connection.result(request)

        self.serve(daemon)
        with Client(self.path) as client:
            with self.assertRaises(KeyboardInterrupt):
                client.execute("p")
            self.assertEqual(cancelled.wait(), (True, "$/cancelRequest", False))
            self.assertEqual(client.execute("p").data, {})


class SocketPathTest(unittest.TestCase):
    def test_where_the_socket_is_looked_for(self) -> None:
        for environment, user, want in (
            ({"SUPERVISORD_SOCKET": "/a", "XDG_RUNTIME_DIR": "/run/user/1"}, 1, "/a"),
            ({"SUPERVISORD_SOCKET": "", "XDG_RUNTIME_DIR": "/run/user/1"}, 1, "/run/user/1/supervisord.sock"),
            ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/run/supervisord/supervisord.sock"),
            ({}, 1, "/run/supervisord/supervisord.sock"),
        ):
            with mock.patch.dict(os.environ, environment, clear=True), mock.patch("os.geteuid", return_value=user):
                self.assertEqual(kit.default_socket(), want)


class StreamTest(FakeDaemonTest):
    def test_chunks_come_in_order_and_then_the_result(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None and request["params"] == {"plugin_name": "p", "params": {"x": 1}, "stream": True}
            connection.send(chunk(request, 0, "a", index=0), progress(request, 0.5, "half"), chunk(request, 1, {"b": 1}), chunk(request, 2, "", True))
            connection.result(request, {"streamed": True}, 3)

        self.serve(daemon, daemon, daemon)
        with Client(self.path) as client:
            told: List[Any] = []
            stream = client.stream("p", {"x": 1}, on_progress=lambda *progress: told.append(progress))
            self.assertRaises(RuntimeError, lambda: stream.result)
            self.assertEqual(list(stream), ["a", {"b": 1}])
            self.assertEqual((stream.job_id, told), ("j-1", [(0.5, "half")]))
            self.assertEqual(stream.result, kit.Result("j-1", {"streamed": True}, 3))
            self.assertEqual(list(stream), [])

            chunks = list(client.stream("p", {"x": 1}).chunks())
            self.assertEqual(chunks[0], kit.StreamChunk("j-1", 0, "a", False, {"index": 0}))
            self.assertEqual([(c.seq, c.value, c.is_final) for c in chunks], [(0, "a", False), (1, {"b": 1}, False), (2, "", True)])

            stream = client.stream("p", {"x": 1})
            self.assertEqual(next(stream), "a")
            self.assertEqual(stream.wait().chunks, 3)
            self.assertRaises(StopIteration, next, stream)

    def test_a_final_chunk_with_something_in_it_is_given(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.send(chunk(request, 0, ""), chunk(request, 1, "end", True))
            connection.result(request)

        self.serve(daemon)
        with Client(self.path) as client:
            self.assertEqual(list(client.stream("p")), ["", "end"])

    def test_a_failed_job_fails_the_iteration_after_its_chunks(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.send(chunk(request, 0, "a"))
            connection.error(request, 1001, "worker_died", signal="SIGKILL", job_id="j-1")

        self.serve(daemon)
        with Client(self.path) as client:
            stream = client.stream("p")
            self.assertEqual(next(stream), "a")
            for _ in range(2):
                with self.assertRaises(kit.WorkerDied) as caught:
                    next(stream)
                self.assertEqual(caught.exception.signal, "SIGKILL")
            self.assertRaises(kit.WorkerDied, lambda: stream.result)

    def test_cancel_lets_the_iteration_go_on_to_the_end_of_the_job(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.send(chunk(request, 0, "a"))
            cancel = connection.receive()
            assert cancel is not None and cancel["method"] == "$/cancelRequest" and cancel["params"] == {"id": request["id"]}
            connection.send(chunk(request, 1, "last"))
            connection.error(request, -32800, "cancelled")

        self.serve(daemon)
        with Client(self.path) as client:
            stream = client.stream("p")
            self.assertEqual(next(stream), "a")
            threading.Thread(target=stream.cancel).start()
            self.assertEqual(next(stream), "last")
            self.assertRaises(kit.Cancelled, next, stream)

    def test_leaving_a_stream_in_any_way_cancels_its_job_and_hangs_up(self) -> None:
        def leave_loop(stream: kit.Stream) -> None:
            for _ in stream:
                break

        def leave_chunks(stream: kit.Stream) -> None:
            for _ in stream.chunks():
                break

        def fail(stream: kit.Stream) -> None:
            with self.assertRaises(ZeroDivisionError):
                for _ in stream:
                    1 / 0

        def leave_block(stream: kit.Stream) -> None:
            with stream:
                next(stream)

        def close(stream: kit.Stream) -> None:
            stream.close()
            stream.close()
            with self.assertRaisesRegex(kit.ConnectionLost, "the stream is closed"):
                next(stream)

        ways = (leave_loop, leave_chunks, fail, leave_block, close)
        left = Event()

        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.send(chunk(request, 0, "a"))
            left.happened([message and message["method"] for message in (connection.receive(), connection.receive())])

        self.serve(*[daemon] * len(ways))
        with Client(self.path) as client:
            for way in ways:
                with self.subTest(way.__name__):
                    stream = client.stream("p")
                    way(stream)
                    self.assertEqual(left.wait(), ["$/cancelRequest", None])

    def test_a_stream_that_is_dropped_hangs_up(self) -> None:
        left = Event()

        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.send(chunk(request, 0, "a"))
            left.happened(connection.receive())

        self.serve(daemon, daemon)
        with Client(self.path) as client:
            begins: List[Callable[[kit.Stream], object]] = [lambda stream: None, next]
            for begin in begins:
                stream = client.stream("p")
                begin(stream)
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    del stream
                    gc.collect()
                self.assertIsNone(left.wait())
                self.assertEqual(told, [])  # no unclosed socket

    def test_streams_leave_no_descriptors_and_no_threads(self) -> None:
        def daemon(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.send(chunk(request, 0, "a"))
            while connection.receive() is not None:
                pass

        count = 50
        sockets, threads = open_sockets(), threading.active_count()
        self.serve(*[daemon] * count)
        with Client(self.path) as client:
            for n in range(count):
                stream = client.stream("p")
                next(stream)
                if n % 2:
                    stream.close()
                del stream
            self.join()
            self.assertEqual((open_sockets(), threading.active_count()), (sockets, threads))

    def test_a_slow_reader_holds_up_its_own_stream_and_nothing_else(self) -> None:
        piece, limit = "x" * 10000, 4 << 20
        stuck, go_on = Event(), threading.Event()

        def flood(connection: Connection) -> None:
            request = connection.receive()
            assert request is not None
            connection.socket.setblocking(False)
            sent, seq = 0, 0
            try:
                while sent < limit:
                    connection.send(chunk(request, seq, piece))
                    sent, seq = sent + len(piece), seq + 1
            except BlockingIOError:
                pass
            stuck.happened(sent)
            go_on.wait()

        def calls(connection: Connection) -> None:
            for _ in range(2):
                request = connection.receive()
                assert request is not None
                connection.result(request)

        self.serve(flood, calls)
        with Client(self.path) as client:
            stream = client.stream("p")
            self.assertEqual(next(stream), piece)
            # The client takes no more than it is asked for, so that the daemon cannot send more either.
            self.assertLess(stuck.wait(), limit)
            # In the middle of it, from the thread that should take the chunks.
            self.assertEqual(client.execute("q").data, {})
            self.assertEqual(next(stream), piece)
            self.assertEqual(client.execute("q").data, {})
            go_on.set()

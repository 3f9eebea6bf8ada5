"""The kit and the examples with the real daemon between them: bin/supervisord, which `make build` builds."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from typing import Any, List

from supervisord import client as kit
from supervisord.client import AsyncClient, Client

from .support import DEBIANS_PYTHON, LIMIT, RECORDINGS, ROOT, missing, need_speech
from .test_entry import SOURCE as ENTRY

SUPERVISORD = ROOT / "bin" / "supervisord"

FAULTY = '''
from supervisord import worker
import os, signal, sys

@worker.plugin
def dies():
    print("last words", file=sys.stderr)
    yield "a"
    yield "b"
    worker.current_job().sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

@worker.plugin
def fails():
    raise worker.PluginError("no good", category="user_input")

@worker.plugin
def prints(n):
    print("noise " * n)
    os.system("echo from a child")
    return {"printed": n}

@worker.plugin
def counts(n):
    yield from range(n)

worker.serve()
'''


class EndToEndTest(unittest.TestCase):
    directory: str
    socket: str
    daemon: "subprocess.Popen[bytes]"

    @classmethod
    def setUpClass(cls) -> None:
        if not SUPERVISORD.exists():
            missing("there is no bin/supervisord; make build builds it")
        cls.directory = tempfile.mkdtemp(prefix="sv")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.socket = os.path.join(cls.directory, "s")
        for name, source in (("faulty.py", FAULTY), ("entry.py", ENTRY)):
            with open(os.path.join(cls.directory, name), "w") as file:
                file.write(source)
        with open(os.path.join(cls.directory, "corpus"), "w") as file:
            file.write("a rose is a rose is a rose")
        cls.daemon = cls.start(cls.socket)

    @classmethod
    def start(cls, path: str) -> "subprocess.Popen[bytes]":
        """A daemon that answers at this path."""
        configuration = path + ".yaml"
        with open(configuration, "w") as file:
            file.write(cls.configuration(path))
        with open(path + ".log", "wb") as log:
            daemon = subprocess.Popen(
                [str(SUPERVISORD), "serve", "--config", configuration, "--socket", path],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        cls.addClassCleanup(daemon.wait)
        cls.addClassCleanup(daemon.kill)
        deadline = time.monotonic() + LIMIT
        with Client(path) as client:
            while True:
                try:
                    client.call("daemon.ping")
                    return daemon
                except kit.ConnectionLost as error:
                    if daemon.poll() is not None or time.monotonic() > deadline:
                        with open(path + ".log") as log_file:
                            raise AssertionError(f"the daemon does not answer: {error}\n{log_file.read()}") from error
                    time.sleep(0.02)

    @classmethod
    def configuration(cls, path: str) -> str:
        root = "true" if os.geteuid() == 0 else "false"
        corpus = os.path.join(cls.directory, "corpus")

        def pool(name: str, python: str, script: object, *more: str) -> str:
            lines = [f"  - name: {name}", f"    command: [{python}, {script}]", f'    env: ["PYTHONPATH={ROOT}/sdk/python"]']
            lines += [f"    allow_root: {root}", "    restart_backoff_base: 100ms", *(f"    {line}" for line in more)]
            return "\n".join(lines) + "\n"

        return (
            f"version: 1\nsocket: {{path: {path}}}\nshutdown_timeout: 500ms\npools:\n"
            + pool("text", sys.executable, ROOT / "examples/text/worker.py")
            + pool("markov", sys.executable, ROOT / "examples/markov/worker.py", f"plugins: [{{name: poet, config: {{corpus: {corpus}, order: 1}}}}]")
            + pool("faulty", sys.executable, os.path.join(cls.directory, "faulty.py"))
            + pool("entry", sys.executable, os.path.join(cls.directory, "entry.py"), "plugins: [{name: entry_words}]")
            + pool("transcribe", DEBIANS_PYTHON, ROOT / "examples/transcribe/worker.py", "min_workers: 0", "plugins: [{name: transcribe}]")
        )

    def setUp(self) -> None:
        self.client = Client(self.socket)
        self.addCleanup(self.client.close)

    def test_results(self) -> None:
        result = self.client.execute("word_count", {"text": "the quick brown fox"})
        self.assertEqual((result.data["words"], result.chunks), (4, 0))
        self.assertTrue(result.job_id)
        self.assertEqual(self.client.execute("reverse", {"text": "né 漢字"}, pool="text").data, {"text": "字漢 én"})
        self.assertEqual(self.client.execute("prints", {"n": 1000}).data, {"printed": 1000})

    def test_a_plugin_manager_loads_what_is_configured(self) -> None:
        text = self.client.execute("poet", {"words": 5}).data["text"]
        self.assertEqual("".join(self.client.stream("poet", {"words": 5})), text)

    def test_an_entry_point_with_queues(self) -> None:
        chunks = list(self.client.stream("entry_words", {"text": "a b"}).chunks())
        self.assertEqual([(chunk.value, chunk.metadata) for chunk in chunks], [("a", {"index": 0}), ("b", {"index": 1})])

    def test_a_stream(self) -> None:
        stream = self.client.stream("stream_words", {"text": "one two three", "delay": 0.001})
        self.assertEqual(list(stream), ["one ", "two ", "three "])
        self.assertEqual((stream.result.data, stream.result.chunks), ({"streamed": True}, 4))
        self.assertEqual(list(self.client.stream("counts", {"n": 20000})), list(range(20000)))

    def test_threads(self) -> None:
        results: List[Any] = []

        def call(n: int) -> None:
            results.append(self.client.execute("reverse", {"text": str(n)}).data["text"] == str(n)[::-1])

        threads = [threading.Thread(target=call, args=(n,)) for n in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(results, [True] * 30)

    def test_errors(self) -> None:
        with self.assertRaises(kit.UnknownPlugin) as unknown:
            self.client.execute("word_cuont")
        self.assertIn("word_count", unknown.exception.known)
        with self.assertRaises(kit.JobFailed) as failed:
            self.client.execute("fails")
        self.assertEqual(failed.exception.category, "user_input")
        with self.assertRaises(kit.InvalidParams):
            self.client.call("execute", {"plugin_name": "reverse", "params": [1]})
        with self.assertRaises(kit.InvalidParams):
            self.client.execute("reverse", {"text": "x", "job_id": "reserved"})
        with self.assertRaises(kit.MethodNotFound):
            self.client.call("no.such.method")

    def test_a_killed_worker_is_told_and_replaced(self) -> None:
        values: List[Any] = []
        with self.assertRaises(kit.WorkerDied) as died:
            for value in self.client.stream("dies"):
                values.append(value)
        self.assertEqual((values, died.exception.cause, died.exception.signal), (["a", "b"], "signal", "SIGKILL"))
        self.assertIn("last words", died.exception.stderr_tail)
        self.assertEqual(self.client.execute("prints", {"n": 1}).data, {"printed": 1})

    def test_leaving_a_stream_frees_its_worker(self) -> None:
        for _ in self.client.stream("stream_words", {"text": "word " * 100000, "delay": 0.01}):
            break
        # The pool's only worker would be busy for a quarter of an hour.
        self.assertEqual(self.client.execute("reverse", {"text": "ab"}).data, {"text": "ba"})

    def test_cancel_by_job_id(self) -> None:
        outcome: List[Any] = []

        def cancel(*_: object) -> None:
            thread.start()

        thread = threading.Thread(target=lambda: outcome.append(self.client.cancel("mine")))
        with self.assertRaises(kit.Cancelled) as cancelled:
            stream = self.client.stream("slow", {"seconds": 3600}, job_id="mine", on_progress=cancel)
            stream.wait()
        thread.join()
        self.assertEqual(cancelled.exception.job_id, "mine")
        self.assertEqual((outcome[0]["job_id"], outcome[0]["status"], outcome[0]["how"]), ("mine", "cancelled", "cooperative"))

    def test_progress_and_deadline(self) -> None:
        told: List[Any] = []
        result = self.client.execute("slow", {"seconds": 0.1}, on_progress=lambda fraction, message: told.append(fraction))
        self.assertEqual((told, result.data), ([step / 10 for step in range(10)], {"slept": 0.1}))
        with self.assertRaises(kit.DeadlineExceeded) as exceeded:
            self.client.execute("slow", {"seconds": 3600}, timeout=0.2)
        self.assertEqual(exceeded.exception.data["phase"], "run")

    def test_asyncio(self) -> None:
        async def test() -> None:
            async with AsyncClient(self.socket) as client:
                results = await asyncio.gather(*[client.execute("reverse", {"text": str(n)}) for n in range(50)])
                self.assertEqual([result.data["text"] for result in results], [str(n)[::-1] for n in range(50)])
                self.assertEqual([value async for value in client.stream("counts", {"n": 1000})], list(range(1000)))
                begun = asyncio.Event()
                slow = asyncio.ensure_future(client.execute("slow", {"seconds": 3600}, on_progress=lambda *_: begun.set()))
                await begun.wait()
                slow.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await slow
                self.assertEqual((await client.execute("reverse", {"text": "ab"})).data, {"text": "ba"})

        asyncio.run(asyncio.wait_for(test(), LIMIT))

    def test_speech_becomes_text(self) -> None:
        need_speech()
        stream = self.client.stream("transcribe", {"path": str(RECORDINGS / "sense_and_sensibility_01_austen_64kb-0930.wav")})
        text = "".join(stream)
        self.assertIn("he might even have been made", text)
        self.assertEqual(stream.result.data["text"], text)

    def test_the_daemons_end_is_told(self) -> None:
        path = self.socket + "2"
        daemon = self.start(path)
        begun = threading.Event()
        ended: List[BaseException] = []
        with Client(path) as client:

            def call() -> None:
                try:
                    client.execute("slow", {"seconds": 3600}, on_progress=lambda *_: begun.set())
                except kit.Error as error:
                    ended.append(error)

            thread = threading.Thread(target=call)
            thread.start()
            self.assertTrue(begun.wait(LIMIT))
            daemon.send_signal(signal.SIGTERM)
            self.assertEqual(daemon.wait(LIMIT), 0)
            thread.join()
            self.assertIsInstance(ended[0], (kit.ServerCancelled, kit.ConnectionLost))
            with self.assertRaises(kit.ConnectionLost):
                client.execute("slow")

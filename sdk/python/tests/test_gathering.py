"""Chunks that come fast leave together, and none is held for want of a successor."""

from __future__ import annotations

from .support import WorkerTest

SOURCE = '''
from supervisord import worker
import time

@worker.plugin
def fast(n, size=64):
    for i in range(n):
        yield "x" * size

@worker.plugin
def slow(n):
    for i in range(n):
        yield str(i)
        time.sleep(0.005)

@worker.plugin
def then(what):
    """A burst, and then nothing more for ever."""
    for i in range(10):
        yield i
    while what == "spin":
        pass
    time.sleep(3600)

@worker.plugin
def short():
    return {}

worker.serve()
'''


class GatheringTest(WorkerTest):
    def setUp(self) -> None:
        self.worker = self.start(SOURCE, packets=True)
        self.worker.init()
        self.worker.writes.clear()

    def test_fast_chunks_share_writes(self) -> None:
        chunks, _ = self.worker.call("fast", stream=True, n=5000)
        self.assertEqual(len(chunks), 5001)
        self.assertLess(len(self.worker.writes), 1000)

    def test_slow_chunks_leave_one_by_one(self) -> None:
        self.worker.call("slow", stream=True, n=20)
        self.assertGreaterEqual(len(self.worker.writes), 20)

    def test_a_write_takes_no_more_than_a_pipe_does(self) -> None:
        self.worker.call("fast", stream=True, n=200, size=10000)
        self.assertLess(max(map(len, self.worker.writes)), 64 * 1024 + 11000)

    def test_what_is_held_leaves_while_the_plugin_sleeps_or_computes(self) -> None:
        for what in ("sleep", "spin"):
            with self.subTest(what):
                self.worker.execute("then", what, stream=True, what=what)
                self.assertEqual([self.worker.receive()["chunk"] for _ in range(10)], list(range(10)))
                if what == "spin":
                    return
                self.worker.close()
                self.setUp()

    def test_an_answer_does_not_wait_for_the_job_after_it(self) -> None:
        self.worker.execute("short", "j-1")
        self.worker.execute("then", "j-2", stream=True, what="sleep")
        self.assertEqual(self.worker.receive()["job_id"], "j-1")

    def test_answers_of_short_jobs_share_writes(self) -> None:
        self.worker.call("short", "warm")
        self.worker.writes.clear()
        for n in range(500):
            self.worker.execute("short", str(n))
        for n in range(500):
            self.assertEqual(self.worker.receive()["job_id"], str(n))
        self.assertLess(len(self.worker.writes), 250)

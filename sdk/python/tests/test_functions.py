"""A worker whose plugins are functions, driven as the daemon drives it."""

from __future__ import annotations

from .support import WorkerTest

SOURCE = '''
from supervisord import worker
import asyncio, sys, threading

@worker.plugin
def echo(**params):
    "Give the params back.\\n\\nMore text."
    return {"params": params}

@worker.plugin("total", description="adds", schema={"type": "object"})
def add(a, b=1):
    return a + b

@worker.plugin
def letters(text):
    for letter in text:
        yield letter

@worker.plugin
def pieces():
    yield worker.Chunk({"n": 1}, {"index": 0})
    yield "né\\ud800"
    return {"text": "whole", "count": 2}

@worker.plugin
def until_cancelled():
    yield "started"
    try:
        while True:
            yield "x"
    finally:
        print("cleaned up")

@worker.plugin
def sleeper():
    worker.current_job().progress(None, "sleeping")
    worker.current_job().sleep(3600)

@worker.plugin
def stubborn():
    job = worker.current_job()
    job.progress(0.5)
    while not job.cancelled:
        pass
    job.check()

@worker.plugin
def about():
    job = worker.current_job()
    return {"id": job.id, "config": job.config, "metadata": job.metadata, "trace": job.traceparent,
            "left": job.remaining is not None and 0 < job.remaining <= 60, "params": job.params, "stream": job.stream}

@worker.plugin
def fail(how):
    if how == "plugin":
        raise worker.PluginError("no good", category="user_input", retry_after_seconds=2, fields_invalid={"how": "wrong"})
    if how == "memory":
        raise MemoryError()
    if how == "type":
        return len(5)
    raise {"key": KeyError("missing"), "timeout": TimeoutError("slow"), "value": ValueError("bad")}[how]

@worker.plugin
def nan(where):
    if where == "chunk":
        yield "fine"
        yield {"loss": float("nan")}
    return {"loss": float("inf")}

@worker.plugin
async def wait_a_little(n):
    await asyncio.sleep(0)
    return {"n": n}

@worker.plugin
async def count(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i

@worker.plugin
async def wait_for_ever():
    worker.current_job().progress(0)
    await asyncio.sleep(3600)

@worker.plugin
def logs():
    worker.current_job().log("warn", "hot", celsius=91)
    return {}

@worker.plugin
def leave(code):
    sys.exit(code)

worker.serve()
'''


class FunctionsTest(WorkerTest):
    def setUp(self) -> None:
        self.worker = self.start(SOURCE)
        self.ready = self.worker.init(about={"Model": {"Id": 1}}, unheard_of=None)

    def test_ready_names_every_function_configured_or_not(self) -> None:
        ready = self.ready
        self.assertEqual(ready["type"], "ready")
        self.assertEqual(ready["protocol"], 1)
        self.assertIn("echo", ready["loaded_plugins"])
        self.assertIn("total", ready["loaded_plugins"])
        self.assertNotIn("unheard_of", ready["loaded_plugins"])
        for feature in ("cancel", "progress", "log", "meta", "request_id", "load_progress", "concurrent"):
            self.assertIn(feature, ready["features"])
        described = {plugin["name"]: plugin for plugin in ready["plugins"]}
        self.assertEqual(described["echo"], {"name": "echo", "streaming": False, "description": "Give the params back."})
        self.assertEqual(described["total"]["schema"], {"type": "object"})
        self.assertTrue(described["letters"]["streaming"])
        self.assertTrue(described["count"]["streaming"])

    def test_results(self) -> None:
        _, result = self.worker.call("echo", "j-1", text="é", n=[1, None])
        self.assertEqual(result, {"type": "result", "job_id": "j-1", "status": "success", "data": {"params": {"text": "é", "n": [1, None]}}})
        _, result = self.worker.call("total", a=2)
        self.assertEqual(result["data"], {"text": "3", "metadata": {}})
        _, result = self.worker.call("wait_a_little", n=1)
        self.assertEqual(result["data"], {"n": 1})

    def test_a_stream_is_its_chunks_an_empty_final_one_and_a_result_that_says_so(self) -> None:
        chunks, result = self.worker.call("letters", "j-2", stream=True, text="ab")
        self.assertEqual([(chunk["chunk"], chunk["is_final"], chunk["metadata"]) for chunk in chunks], [("a", False, {}), ("b", False, {}), ("", True, {})])
        self.assertEqual({chunk["job_id"] for chunk in chunks}, {"j-2"})
        self.assertEqual(result["data"], {"streamed": True})

    def test_chunks_of_any_kind_with_metadata_and_a_returned_result(self) -> None:
        chunks, result = self.worker.call("pieces", stream=True)
        self.assertEqual([(chunk["chunk"], chunk["metadata"]) for chunk in chunks], [({"n": 1}, {"index": 0}), ("né\ud800", {}), ("", {})])
        self.assertEqual(result["data"], {"text": "whole", "count": 2, "streamed": True})
        chunks, _ = self.worker.call("count", stream=True, n=3)
        self.assertEqual([chunk["chunk"] for chunk in chunks], [0, 1, 2, ""])

    def test_a_stream_nobody_asked_for_is_collected(self) -> None:
        self.assertEqual(self.worker.call("letters", text="abc"), ([], {"type": "result", "job_id": "j", "status": "success", "data": {"text": "abc", "metadata": {}}}))
        self.assertEqual(self.worker.call("pieces")[1]["data"], {"text": "whole", "count": 2})
        self.assertEqual(self.worker.call("count", n=2)[1]["data"], {"chunks": [0, 1]})

    def test_what_belongs_to_a_job(self) -> None:
        meta = {"deadline_ms": 60000, "traceparent": "00-1-2-03", "metadata": {"k": "v"}, "later": True}
        self.worker.send(**{"type": "execute", "job_id": "j", "plugin_name": "about", "$meta": meta, "$later": 1})
        data = self.worker.receive()["data"]
        self.assertEqual(data, {"id": "j", "config": {"Model": {"Id": 1}}, "metadata": {"k": "v"}, "trace": "00-1-2-03", "left": True, "params": {}, "stream": False})

    def test_failures_say_what_they_are(self) -> None:
        for how, error, category, retriable in (
            ("plugin", "no good", "user_input", False),
            ("memory", "MemoryError", "resource", True),
            ("timeout", "slow", "transient", True),
            ("value", "bad", "fatal", False),
            ("key", "KeyError('missing')", "fatal", False),
            ("type", "object of type 'int' has no len()", "fatal", False),
        ):
            with self.subTest(how):
                _, result = self.worker.call("fail", how=how)
                info = result["error_info"]
                self.assertEqual((result["status"], result["error"], info["category"], info["retriable"]), ("error", error, category, retriable))
                if category == "user_input":
                    self.assertNotIn("traceback", info)
                else:
                    self.assertIn("in fail\n", info["traceback"])
                    self.assertNotIn("_engine.py", info["traceback"])
                self.assertNotIn("data", result)
                if how == "plugin":
                    self.assertEqual(info["retry_after_seconds"], 2)
                    self.assertEqual(info["fields_invalid"], [{"path": "how", "reason": "wrong"}])

    def test_params_that_do_not_fit_are_the_callers_error(self) -> None:
        _, result = self.worker.call("total", b=2, c=3)
        self.assertEqual(result["error"], "missing a; unknown c")
        self.assertEqual(result["error_info"]["category"], "user_input")
        self.assertEqual(result["error_info"]["fields_invalid"], [{"path": "a", "reason": "missing"}, {"path": "c", "reason": "unknown"}])
        _, result = self.worker.call("nobody")
        self.assertIn("not known here", result["error"])

    def test_nan_fails_the_job_and_names_the_place(self) -> None:
        for where, stream, chunks in (("result", False, 0), ("chunk", True, 1)):
            before, result = self.worker.call("nan", stream=stream, where=where)
            self.assertEqual(len(before), chunks)
            self.assertEqual(result["status"], "error")
            self.assertIn("NaN and Infinity cannot be sent", result["error"])
            self.assertIn("loss", result["error"])
        self.assertEqual(self.worker.call("total", a=1)[1]["status"], "success")

    def test_a_cancelled_generator_is_ended_at_its_yield(self) -> None:
        self.worker.execute("until_cancelled", "j-3", stream=True)
        self.assertEqual(self.worker.receive()["chunk"], "started")
        self.worker.send(type="cancel", job_id="j-3")
        message = self.worker.receive()
        while message["type"] == "stream_chunk":
            self.assertFalse(message["is_final"])
            message = self.worker.receive()
        self.assertEqual(message, {"type": "result", "job_id": "j-3", "status": "cancelled"})
        self.assertEqual(self.worker.call("total", a=1)[1]["data"]["text"], "2")
        self.assertIn("cleaned up", self.worker.output())

    def test_sleep_check_and_async_waits_end_on_cancel(self) -> None:
        for plugin in ("sleeper", "stubborn", "wait_for_ever"):
            with self.subTest(plugin):
                self.worker.execute(plugin, plugin)
                progress = self.worker.receive()
                self.assertEqual((progress["type"], progress["job_id"]), ("progress", plugin))
                self.worker.send(type="cancel", job_id=plugin)
                self.assertEqual(self.worker.receive(), {"type": "result", "job_id": plugin, "status": "cancelled"})

    def test_a_job_cancelled_while_it_waits_is_answered_at_once_and_never_runs(self) -> None:
        self.worker.execute("sleeper", "first")
        self.worker.receive()
        self.worker.execute("leave", "second", code=1)
        self.worker.send(type="cancel", job_id="second")
        self.assertEqual(self.worker.receive(), {"type": "result", "job_id": "second", "status": "cancelled"})
        self.worker.send(type="cancel", job_id="first")
        self.assertEqual(self.worker.receive()["job_id"], "first")
        self.assertEqual(self.worker.call("total", a=1)[1]["status"], "success")

    def test_a_cancel_of_a_job_not_there_is_ignored(self) -> None:
        self.worker.send(type="cancel", job_id="gone")
        self.worker.send(type="news", of="a later daemon")
        self.assertEqual(self.worker.call("total", a=1)[1]["status"], "success")

    def test_jobs_sent_together_are_answered_in_order(self) -> None:
        for n in range(100):
            self.worker.execute("total", f"j-{n}", a=n)
        self.assertEqual([self.worker.receive()["job_id"] for _ in range(100)], [f"j-{n}" for n in range(100)])

    def test_logs_are_tied_to_the_job(self) -> None:
        (log,), _ = self.worker.call("logs", "j-4")
        self.assertEqual(log, {"type": "log", "level": "warn", "message": "hot", "job_id": "j-4", "fields": {"celsius": 91}})

    def test_state_and_control_messages(self) -> None:
        self.worker.send(type="reload", plugin_name="about", config={"v": 2}, request_id="r-1")
        self.assertEqual(self.worker.receive(), {"type": "response", "request_type": "reload", "status": "success", "plugin_name": "about", "request_id": "r-1"})
        self.assertEqual(self.worker.call("about")[1]["data"]["config"], {"v": 2})
        self.worker.send(type="get_state", request_id="r-2")
        state = self.worker.receive()
        self.assertEqual((state["type"], state["current_plugin"], state["current_config"], state["request_id"]), ("state", "about", {"v": 2}, "r-2"))
        self.worker.send(type="unload", plugin_name="about")
        answer = self.worker.receive()
        self.assertEqual((answer["request_type"], answer["status"]), ("unload", "error"))
        self.assertNotIn("request_id", answer)

    def test_stop_ends_it_and_so_does_an_exit_of_the_plugin(self) -> None:
        self.worker.send(type="stop")
        self.assertEqual(self.worker.wait(), 0)
        second = self.start(SOURCE)
        second.init()
        second.execute("leave", code=125)
        self.assertEqual(second.wait(), 125)


class EndOfTheLinkTest(WorkerTest):
    def test_an_idle_worker_ends_with_the_link(self) -> None:
        worker = self.start(SOURCE)
        worker.init()
        worker.close_requests()
        worker.receive_end()
        self.assertEqual(worker.wait(), 0)

    def test_a_job_does_not_keep_a_worker_whose_link_is_closed(self) -> None:
        for plugin in ("sleeper", "stubborn"):
            with self.subTest(plugin):
                worker = self.start(SOURCE)
                worker.init()
                worker.execute(plugin)
                self.assertEqual(worker.receive()["type"], "progress")
                worker.close_requests()
                worker.receive_end()
                self.assertEqual(worker.wait(), 0)

    def test_neither_does_a_thread_of_the_plugins(self) -> None:
        worker = self.start(
            """
            from supervisord import worker
            import threading, time
            threading.Thread(target=time.sleep, args=(3600,)).start()
            worker.plugin("p")(lambda: {})
            worker.serve()
            """
        )
        worker.init()
        worker.close_requests()
        self.assertEqual(worker.wait(), 0)

    def test_a_worker_that_nobody_reads_ends_with_the_link(self) -> None:
        worker = self.start(
            """
            from supervisord import worker

            @worker.plugin
            def flood():
                while True:
                    yield "x" * 1000

            worker.serve()
            """
        )
        worker.init()
        worker.execute("flood", stream=True)
        worker.receive()
        worker.close_requests()
        self.assertEqual(worker.wait(), 0)

    def test_garbage_from_the_daemon_ends_it(self) -> None:
        worker = self.start(SOURCE)
        worker.init()
        worker.send_bytes(b"\x00\x00\x00\x02[]")
        self.assertEqual(worker.wait(), 0)
        self.assertIn("the link to the daemon broke", worker.output())


class StartTest(WorkerTest):
    def test_progress_of_a_load_is_told_before_ready(self) -> None:
        worker = self.start(
            """
            from supervisord import worker
            worker.load_progress(0.5, "weights", "llm")
            worker.serve()
            """
        )
        self.assertEqual(worker.receive(), {"type": "load_progress", "plugin_name": "llm", "progress": 0.5, "message": "weights"})
        self.assertEqual(worker.init()["loaded_plugins"], [])

    def test_records_of_logging_reach_the_daemons_log(self) -> None:
        worker = self.start(
            """
            from supervisord import worker
            import logging
            logging.getLogger().addHandler(worker.LogHandler())

            @worker.plugin
            def p():
                logging.getLogger("mine").warning("%d left", 3, extra={"fields": {"disk": "sda"}})
                return {}

            worker.serve()
            """
        )
        worker.init()
        (log,), _ = worker.call("p")
        self.assertEqual(log, {"type": "log", "level": "warn", "message": "3 left", "fields": {"logger": "mine", "disk": "sda"}, "job_id": "j"})

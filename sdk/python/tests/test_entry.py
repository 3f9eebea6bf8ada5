"""A worker entry point that was written for multiprocessing's queues runs unchanged."""

from __future__ import annotations

from .support import WorkerTest

# As such entries are: prints, a polling get with a timeout, messages as dicts.
SOURCE = '''
import queue, sys

def entry(request_queue, result_queue, response_queue):
    print("worker process started")
    plugins = {}
    idle = 0
    while True:
        try:
            message = request_queue.get(timeout=0.05)
        except queue.Empty:
            idle += 1
            continue
        kind = message["type"]
        print("got", kind)
        if kind == "init":
            plugins = message["plugin_configs"]
            response_queue.put({"type": "ready", "loaded_plugins": list(plugins)})
        elif kind == "execute":
            if message["plugin_name"] == "nan":
                try:
                    result_queue.put({"type": "result", "job_id": message["job_id"], "status": "success", "data": {"loss": float("nan")}})
                except ValueError as error:
                    result_queue.put({"type": "result", "job_id": message["job_id"], "status": "error", "error": str(error)})
                continue
            if message["plugin_name"] == "busy":
                result_queue.put({"type": "stream_chunk", "job_id": message["job_id"], "chunk": "busy", "is_final": False, "metadata": {}})
                while True:
                    pass
            for index, word in enumerate(message["text"].split()):
                print("word", word)
                result_queue.put({"type": "stream_chunk", "job_id": message["job_id"], "chunk": word, "is_final": False, "metadata": {"index": index}})
            result_queue.put({"type": "result", "job_id": message["job_id"], "status": "success", "data": {"idle": idle > 0}})
        elif kind == "get_state":
            response_queue.put({"type": "state", "current_plugin": None, "current_config": None, "loaded_plugins": list(plugins)})
        elif kind == "stop":
            print("worker process stopped")
            return

if __name__ == "__main__":
    from supervisord.worker import run_entry
    run_entry(entry)
'''


class EntryTest(WorkerTest):
    def test_an_entry_runs_unchanged_prints_and_all(self) -> None:
        worker = self.start(SOURCE)
        self.assertEqual(worker.init(p={}), {"type": "ready", "loaded_plugins": ["p"]})
        chunks, result = worker.call("p", "j-1", text="a b c")
        self.assertEqual([(chunk["chunk"], chunk["metadata"]["index"]) for chunk in chunks], [("a", 0), ("b", 1), ("c", 2)])
        self.assertEqual(result["status"], "success")
        worker.send(type="get_state")
        self.assertEqual(worker.receive()["loaded_plugins"], ["p"])
        worker.send(type="stop")
        self.assertEqual(worker.wait(), 0)
        for line in ("worker process started\n", "got init\n", "word b\n", "worker process stopped\n"):
            self.assertIn(line, worker.output())

    def test_the_end_of_the_link_is_a_stop(self) -> None:
        worker = self.start(SOURCE)
        worker.init(p={})
        worker.close_requests()
        worker.receive_end()
        self.assertEqual(worker.wait(), 0)
        self.assertIn("got stop\nworker process stopped\n", worker.output())

    def test_an_entry_too_busy_for_its_stop_is_ended(self) -> None:
        worker = self.start(SOURCE)
        worker.init(p={})
        worker.execute("busy")
        self.assertEqual(worker.receive()["chunk"], "busy")
        worker.close_requests()
        worker.receive_end()
        self.assertEqual(worker.wait(), 0)

    def test_an_entry_that_does_not_heed_its_stop_is_ended(self) -> None:
        worker = self.start(
            """
            from supervisord.worker import run_entry

            def entry(requests, results, responses):
                while True:
                    responses.put({"type": "state", "current_plugin": requests.get()["type"]})

            run_entry(entry)
            """
        )
        worker.send(type="get_state")
        self.assertEqual(worker.receive()["current_plugin"], "get_state")
        worker.close_requests()
        self.assertEqual(worker.receive()["current_plugin"], "stop")
        self.assertEqual(worker.wait(), 0)

    def test_one_that_was_told_to_stop_may_take_its_time(self) -> None:
        worker = self.start(
            """
            import time
            from supervisord.worker import run_entry

            def entry(requests, results, responses):
                assert requests.get()["type"] == "stop"
                time.sleep(3)  # longer than one gets that was not told
                print("tidied up")

            run_entry(entry)
            """
        )
        worker.send(type="stop")
        worker.close_requests()
        self.assertEqual(worker.wait(), 0)
        self.assertIn("tidied up\n", worker.output())

    def test_nan_is_refused_and_nothing_was_sent(self) -> None:
        worker = self.start(SOURCE)
        worker.init(nan={})
        before, result = worker.call("nan")
        self.assertEqual((before, result["status"]), ([], "error"))
        self.assertIn("NaN and Infinity cannot be sent, JSON has no such numbers (found at data.loss)", result["error"])

    def test_an_entry_that_fails_says_why(self) -> None:
        worker = self.start("from supervisord.worker import run_entry\nrun_entry(lambda *queues: 1 / 0)")
        self.assertEqual(worker.receive(), {"type": "error", "error": "ZeroDivisionError: division by zero"})
        self.assertEqual(worker.wait(), 1)
        self.assertIn("Traceback", worker.output())


class QueueTest(WorkerTest):
    """The methods that multiprocessing's queues have."""

    SOURCE = '''
import queue, threading
from supervisord.worker import run_entry

class Message:
    def to_dict(self):
        return {"type": "state", "current_plugin": "object"}

def state(text):
    return {"type": "state", "current_plugin": text}

def raises(error, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except error as raised:
        return type(raised).__name__
    return "nothing"

def entry(requests, results, responses):
    responses.put(state(raises(queue.Empty, requests.get, timeout=0.01)))
    responses.put(state(raises(queue.Empty, requests.get, False)))
    responses.put(state(raises(queue.Empty, requests.get_nowait)))
    responses.put(state(raises(ValueError, requests.get, timeout=-1)))
    responses.put_nowait(Message())
    responses.put(state(raises(TypeError, responses.put, "text")))
    responses.put(state(raises(TypeError, responses.put, {"no": "type"})))
    responses.put(state(str([requests.empty(), requests.qsize(), results.empty(), results.full(), results.qsize()])))
    found = []
    threads = [threading.Thread(target=lambda: found.append(requests.get()["plugin_name"])) for _ in range(3)]
    for thread in threads:
        thread.start()
    responses.put(state("threads wait"))
    for thread in threads:
        thread.join()
    responses.put(state(",".join(sorted(found))))
    first = requests.get()
    responses.put(state(str([requests.get() == {"type": "stop"}, requests.get(timeout=5) == {"type": "stop"}, requests.empty()])))
    for each in (requests, results, responses):
        each.close(); each.join_thread(); each.cancel_join_thread()

run_entry(entry)
'''

    def test_queues_behave_as_entries_expect(self) -> None:
        worker = self.start(self.SOURCE)

        def told() -> object:
            return worker.receive()["current_plugin"]

        self.assertEqual([told() for _ in range(4)], ["Empty", "Empty", "Empty", "ValueError"])
        self.assertEqual([told() for _ in range(3)], ["object", "TypeError", "TypeError"])
        self.assertEqual(told(), "[True, 0, True, False, 0]")
        self.assertEqual(told(), "threads wait")
        for name in ("x", "y", "z"):
            worker.send(type="unload", plugin_name=name)
        self.assertEqual(told(), "x,y,z")
        worker.send(type="get_state")
        worker.close_requests()
        self.assertEqual(told(), "[True, True, False]")
        self.assertEqual(worker.wait(), 0)

    def test_waiting_costs_no_processor_time(self) -> None:
        worker = self.start(
            """
            import queue, resource
            from supervisord.worker import run_entry

            def switches():
                usage = resource.getrusage(resource.RUSAGE_SELF)
                return usage.ru_nvcsw

            def entry(requests, results, responses):
                before = switches()
                try:
                    requests.get(timeout=0.3)
                except queue.Empty:
                    pass
                responses.put({"type": "state", "current_config": {"switches": switches() - before}})

            run_entry(entry)
            """
        )
        # A poll every 10 ms would be 30.
        self.assertLess(worker.receive()["current_config"]["switches"], 10)

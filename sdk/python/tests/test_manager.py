"""A worker that serves a plugin manager by its seven methods."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from .support import WorkerTest

SOURCE = '''
from supervisord import worker

class Data:
    def __init__(self, name):
        self.name = name
        self.description = "the plugin " + name

class Answer:
    text = "by attribute"
    metadata = {"m": 1}

class Manager:
    def __init__(self):
        self.log = []
    def discover_plugins(self):
        return [Data("a"), {"name": "b"}, "c", Data("broken"), Data("refused")]
    def load_plugin(self, plugin_data, config):
        name = plugin_data if isinstance(plugin_data, str) else plugin_data["name"] if isinstance(plugin_data, dict) else plugin_data.name
        worker.load_progress(0.5)
        self.log.append(["load", name, config])
        if name == "broken":
            raise RuntimeError("no model")
        return False if name == "refused" else None
    def execute_plugin(self, name, **params):
        if name == "c":
            return Answer()
        return params.get("answer", {"name": name, "params": params, "log": self.log})
    def execute_plugin_stream(self, name, **params):
        return ["%s%d" % (name, i) for i in range(params["n"])]
    def reload_plugin(self, name, config):
        self.log.append(["reload", name, config])
        return config.get("works")
    def unload_plugin(self, name):
        self.log.append(["unload", name])
    def check_streaming_support(self, name):
        return name == "a"

worker.run_worker(Manager OPTIONS)
'''

ALL: Dict[str, Any] = {"a": {"Id": 1}, "b": {}, "c": None, "broken": {}, "refused": {}, "unheard_of": {}}


class ManagerTest(WorkerTest):
    def begin(self, options: str = "", **configs: Any) -> None:
        self.worker = self.start(SOURCE.replace(" OPTIONS", options))
        self.worker.send(type="init", plugin_configs=configs)
        self.loading = []
        message = self.worker.receive()
        while message["type"] == "load_progress":
            self.loading.append(message["plugin_name"])
            message = self.worker.receive()
        self.ready = message

    def test_loaded_is_what_is_discovered_and_configured(self) -> None:
        self.begin(**ALL)
        self.assertEqual(self.ready["loaded_plugins"], ["a", "b", "c"])
        self.assertEqual(self.loading, ["a", "b", "c", "broken", "refused"])
        self.assertIn("plugin broken was not loaded: RuntimeError: no model", self.worker.output())
        self.assertIn("plugin refused was not loaded", self.worker.output())
        self.assertEqual(self.ready["plugins"][0], {"name": "a", "streaming": True, "description": "the plugin a"})
        self.assertFalse(self.ready["plugins"][1]["streaming"])
        self.assertNotIn("concurrent", self.ready["features"])
        log = self.worker.call("b")[1]["data"]["log"]
        self.assertEqual(log[:3], [["load", "a", {"Id": 1}], ["load", "b", {}], ["load", "c", {}]])

    def test_nothing_is_loaded_that_is_not_configured(self) -> None:
        self.begin()
        self.assertEqual(self.ready["loaded_plugins"], [])

    def test_results_become_objects(self) -> None:
        self.begin(**ALL)
        cases: List[Tuple[str, Dict[str, Any], Dict[str, Any]]] = [
            ("a", {"answer": {"x": 1}}, {"x": 1}),
            ("a", {"answer": "text"}, {"text": "text", "metadata": {}}),
            ("a", {"answer": [1, 2]}, {"text": "[1, 2]", "metadata": {}}),
            ("c", {}, {"text": "by attribute", "metadata": {"m": 1}}),
        ]
        for plugin, params, data in cases:
            self.assertEqual(self.worker.call(plugin, **params)[1]["data"], data)

    def test_a_result_adapter_is_asked_first(self) -> None:
        for options in (", lambda result: {'adapted': str(result)}", ", result_adapter=str"):
            self.begin(options, a={})
            data = self.worker.call("a", answer=5)[1]["data"]
            self.assertIn(data, ({"adapted": "5"}, {"text": "5", "metadata": {}}))

    def test_the_simple_adapter_wraps_a_manager(self) -> None:
        worker = self.start(
            SOURCE.replace("run_worker(Manager OPTIONS)", "run_worker(lambda: worker.create_simple_adapter(Manager(), lambda r: {'wrapped': r}))")
        )
        worker.send(type="init", plugin_configs={"a": {}})
        while worker.receive()["type"] != "ready":
            pass
        self.assertEqual(worker.call("a", answer=5)[1]["data"], {"wrapped": 5})
        self.assertEqual([chunk["chunk"] for chunk in worker.call("a", stream=True, n=1)[0]], ["a0", ""])

    def test_a_stream_needs_the_callers_wish_and_the_managers_support(self) -> None:
        self.begin(**ALL)
        chunks, result = self.worker.call("a", stream=True, n=2)
        self.assertEqual([(chunk["chunk"], chunk["is_final"]) for chunk in chunks], [("a0", False), ("a1", False), ("", True)])
        self.assertEqual(result["data"], {"streamed": True})
        for plugin, stream in (("a", False), ("b", True)):
            chunks, result = self.worker.call(plugin, stream=stream, n=2)
            self.assertEqual((chunks, result["data"]["params"]), ([], {"n": 2}))

    def test_streams_can_be_switched_off(self) -> None:
        self.begin(", supports_streaming=False", **ALL)
        self.assertFalse(self.ready["plugins"][0]["streaming"])
        chunks, result = self.worker.call("a", stream=True, n=2)
        self.assertEqual((chunks, result["data"]["params"]), ([], {"n": 2}))

    def test_concurrent_is_offered_on_demand(self) -> None:
        self.begin(", concurrent=True")
        self.assertIn("concurrent", self.ready["features"])

    def test_reload_and_unload(self) -> None:
        self.begin(a={}, b={})
        self.worker.call("a")
        cases: List[Tuple[Dict[str, Any], str]] = [
            ({"type": "reload", "plugin_name": "a", "config": {"works": True}}, "success"),
            ({"type": "reload", "plugin_name": "a", "config": {"works": False}}, "error"),
            ({"type": "unload", "plugin_name": "b"}, "success"),
            ({"type": "reload", "plugin_name": "unheard_of", "config": {}}, "error"),
        ]
        for message, status in cases:
            self.worker.send(**message)
            answer = self.worker.receive()
            self.assertEqual((answer["type"], answer["request_type"], answer["status"]), ("response", message["type"], status), answer)
        log = self.worker.call("a")[1]["data"]["log"]
        self.assertEqual(log[2:], [["reload", "a", {"works": True}], ["reload", "a", {"works": False}], ["unload", "b"]])

    def test_a_reload_loads_what_is_not_loaded_and_the_current_plugin_makes_room(self) -> None:
        self.begin(a={})
        self.worker.call("a")
        self.worker.send(type="reload", plugin_name="b", config={"v": 1})
        self.assertEqual(self.worker.receive()["type"], "load_progress")
        self.assertEqual(self.worker.receive()["status"], "success")
        self.worker.send(type="get_state")
        state = self.worker.receive()
        self.assertEqual((state["current_plugin"], state["current_config"], state["loaded_plugins"]), ("b", {"v": 1}, ["b"]))
        self.assertEqual(self.worker.call("b")[1]["data"]["log"][1:], [["unload", "a"], ["load", "b", {"v": 1}]])

    def test_a_failed_load_leaves_no_plugin_current(self) -> None:
        self.begin(a={})
        self.worker.call("a")
        self.worker.send(type="reload", plugin_name="broken", config={})
        self.worker.receive()
        answer = self.worker.receive()
        self.assertEqual((answer["status"], answer["error"]), ("error", "no model"))
        self.worker.send(type="get_state")
        state = self.worker.receive()
        self.assertEqual((state["current_plugin"], state["loaded_plugins"]), (None, []))


class BrokenFactoryTest(WorkerTest):
    def test_a_factory_that_fails_is_fatal(self) -> None:
        worker = self.start("from supervisord import worker\nworker.run_worker(lambda: 1 / 0)")
        self.assertEqual(worker.init(), {"type": "error", "error": "ZeroDivisionError: division by zero"})
        self.assertEqual(worker.wait(), 1)
        self.assertIn("ZeroDivisionError", worker.output())

"""Write a worker: a program that supervisord keeps running and gives jobs.

The short way is a function under a name::

    from supervisord import worker

    @worker.plugin
    def reverse(text):
        return {"text": text[::-1]}

    @worker.plugin("words")
    def stream_words(text):
        for word in text.split():
            yield word + " "

    worker.serve()

A generator streams to callers who ask for it and is collected for those who don't; what it returns joins the result.
``async def`` works too. ``run_worker`` serves a plugin manager with the seven methods, ``run_entry`` an entry point
that takes three queues.

Import this module before anything else in the worker: importing it takes the link to the daemon (descriptors 3 and 4)
out of the reach of what is imported afterwards. A print, a C library that writes to descriptor 1 and a child process
are log lines then, and nothing more. Jobs run one after the other in the main thread. When the daemon is gone or
closes the link, the process ends at once, in the middle of a job too.
"""

from __future__ import annotations

import os
import traceback
from typing import Any, Callable, Mapping, Optional, TypeVar, Union, overload

from . import _engine, _link, frames
from ._job import Cancelled, Chunk, Job, PluginError
from ._logs import LogHandler
from ._plugins import FunctionPlugins, ManagerPlugins, ResultAdapter, create_simple_adapter, default_result_adapter
from ._queues import ReplyQueue, RequestQueue

__all__ = [
    "Cancelled",
    "Chunk",
    "Job",
    "LogHandler",
    "PluginError",
    "Worker",
    "create_simple_adapter",
    "current_job",
    "default_result_adapter",
    "load_progress",
    "plugin",
    "run_entry",
    "run_worker",
    "serve",
]

F = TypeVar("F", bound=Callable[..., Any])

if os.environ.get("SUPERVISORD_PROTOCOL"):
    _link.take()


class Worker:
    """Functions registered under names, and the loop that serves them. ``plugin`` and ``serve`` are those of one."""

    def __init__(self) -> None:
        self._plugins = FunctionPlugins()

    @overload
    def plugin(self, name: F) -> F: ...

    @overload
    def plugin(
        self, name: Optional[str] = None, *, description: Optional[str] = None, schema: Optional[Mapping[str, Any]] = None
    ) -> Callable[[F], F]: ...

    def plugin(
        self,
        name: Union[Callable[..., Any], str, None] = None,
        *,
        description: Optional[str] = None,
        schema: Optional[Mapping[str, Any]] = None,
    ) -> Any:
        """Register a function as a plugin: ``@plugin``, or ``@plugin("name")``.

        The caller's params are its keyword arguments; params that don't fit its signature are the caller's error.
        A plain function's result is the job's, a generator's chunks are its stream. ``description`` is by default the
        first line of the docstring, ``schema`` a JSON Schema of the params; both are for people and tools to read.
        """
        if callable(name):
            self._plugins.register(name.__name__, name, description, schema)
            return name
        label = name

        def register(function: F) -> F:
            self._plugins.register(label or function.__name__, function, description, schema)
            return function

        return register

    def serve(self) -> None:
        """Serve the registered functions until the daemon stops the worker. Called once, in the main thread.

        Started by hand, without the daemon's pipes, the program ends with status 2 and says why.
        """
        _engine.Engine(self._plugins, _link.take_or_exit()).run()


_default = Worker()
plugin = _default.plugin
serve = _default.serve


def run_worker(
    factory: Callable[[], Any],
    result_adapter: Optional[ResultAdapter] = None,
    supports_streaming: bool = True,
    *,
    concurrent: bool = False,
) -> None:
    """Serve the plugin manager that ``factory`` makes until the daemon stops the worker.

    It needs these methods, and no base class: discover_plugins() -> objects with a name (or dicts, or names);
    load_plugin(plugin_data, config); execute_plugin(name, **params); execute_plugin_stream(name, **params) -> iterator
    of chunks; reload_plugin(name, config); unload_plugin(name); check_streaming_support(name).

    Loaded are the plugins that are discovered and configured; one that fails to load is left out, and stderr says why.
    result_adapter makes a JSON object of a result, by default default_result_adapter. A stream is used when the caller
    asked for one, ``supports_streaming`` is true and check_streaming_support agrees; else the plain result answers.
    concurrent: let the daemon send the next jobs while one runs (as many as the pool's ``concurrency``); they still
    run one after the other, so it pays for short jobs only.
    """
    link = _link.take_or_exit()
    _engine.Engine(ManagerPlugins(factory, result_adapter, supports_streaming, concurrent), link).run()


def run_entry(entry: Callable[[Any, Any, Any], object]) -> None:
    """Call ``entry(request_queue, result_queue, response_queue)``, a worker entry point written for multiprocessing.

    request_queue.get gives the daemon's messages as dicts, and {"type": "stop"} when the daemon closes the link or is
    gone; an entry that does not come for that within two seconds is ended. Both other queues write to the daemon. The
    entry is a worker of the base profile: it gets no message that it could not know.
    """
    link = _link.take_or_exit()
    _engine.prepare_process()
    replies = ReplyQueue(link.writer)
    try:
        entry(RequestQueue(link), replies, ReplyQueue(link.writer))
    except Exception as error:
        traceback.print_exc()
        replies.put({"type": "error", "error": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from None
    finally:
        link.writer.flush()


def current_job() -> Job:
    """The job that runs. RuntimeError where none does."""
    engine = _engine.running()
    job = None if engine is None else engine.job
    if job is None:
        raise RuntimeError("no job is running")
    return job


def load_progress(fraction: Optional[float], message: str = "", plugin: str = "") -> None:
    """Tell, while plugins are loaded, how far that is (0 to 1, or None): it gives a long load more time.

    May be called before serve, too. ``plugin`` is by default the one whose load_plugin runs. Nothing happens where
    this process is no worker.
    """
    link, engine = _link.taken(), _engine.running()
    if link is None:
        return
    name = plugin or ("" if engine is None else engine.loading)
    told = {"type": "load_progress", "plugin_name": name, "progress": fraction, "message": message}
    link.writer.send(frames.encode_value(told))
    link.writer.flush()  # what is loaded next may not let another thread run for a while

"""What a worker can run: functions registered under a name, or a plugin manager with the seven methods."""

from __future__ import annotations

import collections.abc
import inspect
import sys
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Coroutine, Dict, Iterator, List, Mapping, Optional, Protocol, Tuple

from ._job import Cancelled, Job, PluginError

if TYPE_CHECKING:
    import asyncio

Config = Dict[str, Any]
ResultAdapter = Callable[[Any], Any]


class Streamed:
    """The chunks of a job that is answered by a stream, or by what ``collect`` makes of them."""

    def __init__(self, chunks: Iterator[Any]) -> None:
        self.chunks = chunks


class Plugins(Protocol):
    """What the engine needs of either kind. Every method is called in the main thread."""

    features: Tuple[str, ...]
    loading: str  # the plugin that is being loaded, else ""

    def load(self, configs: Dict[str, Config]) -> List[str]:
        """Load what the daemon configures; the names that can be called."""

    def loaded(self) -> List[str]:
        """The names that can be called."""

    def describe(self) -> List[Dict[str, Any]]:
        """``plugins`` of the message ready."""

    def call(self, job: Job) -> Any:
        """Run the job: a JSON object, or Streamed."""

    def reload(self, name: str, config: Config, current: Optional[str]) -> None:
        """Load a plugin, or load it again with another configuration; ``current`` ran last."""

    def unload(self, name: str) -> None:
        """Free what a plugin holds."""


def default_result_adapter(result: Any) -> Dict[str, Any]:
    """A result as a JSON object: itself, else its attributes ``text`` and ``metadata``, else its text."""
    if isinstance(result, dict):
        return result
    if isinstance(result, collections.abc.Mapping):
        return dict(result)
    text = getattr(result, "text", None)
    return {
        "text": str(result) if text is None else text,
        "metadata": getattr(result, "metadata", None) or {},
    }


class _AdaptedManager:
    def __init__(self, plugin_manager: Any, result_adapter: Optional[ResultAdapter]) -> None:
        self._manager = plugin_manager
        self._adapt = result_adapter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    def execute_plugin(self, *args: Any, **params: Any) -> Any:
        result = self._manager.execute_plugin(*args, **params)
        return result if self._adapt is None else self._adapt(result)


def create_simple_adapter(plugin_manager: Any, result_adapter: Optional[ResultAdapter] = None) -> Any:
    """A plugin manager whose results pass through ``result_adapter``; everything else is the given manager's.

    For a factory: ``run_worker(lambda: create_simple_adapter(MyManager(), to_dict))``.
    """
    return _AdaptedManager(plugin_manager, result_adapter)


class ManagerPlugins:
    """A plugin manager, by duck typing.

    Loads what is discovered and configured. A method that returns False has failed, as one that raises has.
    """

    features: Tuple[str, ...]

    def __init__(
        self,
        factory: Callable[[], Any],
        result_adapter: Optional[ResultAdapter],
        supports_streaming: bool,
        concurrent: bool,
    ) -> None:
        self.features = ("concurrent",) if concurrent else ()
        self.loading = ""
        self._factory = factory
        self._adapt = result_adapter or default_result_adapter
        self._supports_streaming = supports_streaming
        self._manager: Any = None
        self._discovered: Dict[str, Any] = {}
        self._loaded: Dict[str, Config] = {}

    def load(self, configs: Dict[str, Config]) -> List[str]:
        self._manager = self._factory()
        for data in self._manager.discover_plugins():
            name = _name_of(data)
            self._discovered[name] = data
            if name not in configs:
                continue
            try:
                self._load(name, configs[name])
            except Exception as error:
                print(f"plugin {name} was not loaded: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return self.loaded()

    def loaded(self) -> List[str]:
        return list(self._loaded)

    def describe(self) -> List[Dict[str, Any]]:
        described = []
        for name in self._loaded:
            plugin: Dict[str, Any] = {"name": name, "streaming": self._streams(name)}
            description = getattr(self._discovered[name], "description", None)
            if isinstance(description, str) and description:
                plugin["description"] = description
            described.append(plugin)
        return described

    def call(self, job: Job) -> Any:
        job.config = self._loaded.get(job.plugin, {})
        if job.stream and self._streams(job.plugin):
            return Streamed(iter(self._manager.execute_plugin_stream(job.plugin, **job.params)))
        return default_result_adapter(self._adapt(self._manager.execute_plugin(job.plugin, **job.params)))

    def reload(self, name: str, config: Config, current: Optional[str]) -> None:
        if name not in self._discovered:
            raise PluginError(f"plugin {name} is not known here", category="user_input")
        # Two models seldom fit a device together: what ran last makes room first, as the daemon expects of it.
        if current is not None and current != name and current in self._loaded:
            self.unload(current)
        if name in self._loaded:
            self.loading = name
            try:
                _must(self._manager.reload_plugin(name, config), f"plugin {name} was not reloaded")
            finally:
                self.loading = ""
            self._loaded[name] = config
        else:
            self._load(name, config)

    def unload(self, name: str) -> None:
        _must(self._manager.unload_plugin(name), f"plugin {name} was not unloaded")
        self._loaded.pop(name, None)

    def _load(self, name: str, config: Config) -> None:
        self.loading = name
        try:
            _must(self._manager.load_plugin(self._discovered[name], config), f"load_plugin refused {name}")
        finally:
            self.loading = ""
        self._loaded[name] = config

    def _streams(self, name: str) -> bool:
        return self._supports_streaming and bool(self._manager.check_streaming_support(name))


def _must(answer: object, message: str) -> None:
    if answer is False:
        raise PluginError(message)


def _name_of(plugin_data: Any) -> str:
    if isinstance(plugin_data, str):
        return plugin_data
    name = plugin_data.get("name") if isinstance(plugin_data, dict) else getattr(plugin_data, "name", None)
    if not isinstance(name, str):
        raise TypeError(f"discover_plugins gave {plugin_data!r}, which has no name")
    return name


class _Function:
    def __init__(self, function: Callable[..., Any], description: str, schema: Optional[Mapping[str, Any]]) -> None:
        self.function = function
        self.description = description
        self.schema = schema
        self.awaitable = inspect.iscoroutinefunction(function)
        self.async_stream = inspect.isasyncgenfunction(function)
        self.stream = inspect.isgeneratorfunction(function) or self.async_stream


class FunctionPlugins:
    """Functions registered under a name: plain ones, generators, and both kinds of async ones. Always loaded."""

    # Small calls are pipelined: ten times cheaper than one at a time, though they run one after the other here too.
    features: Tuple[str, ...] = ("concurrent",)
    loading = ""

    def __init__(self) -> None:
        self._functions: Dict[str, _Function] = {}
        self._configs: Dict[str, Config] = {}
        self._loop: Optional["asyncio.AbstractEventLoop"] = None

    def register(
        self,
        name: str,
        function: Callable[..., Any],
        description: Optional[str],
        schema: Optional[Mapping[str, Any]],
    ) -> None:
        if name in self._functions:
            raise ValueError(f"plugin {name} is registered twice")
        if description is None:
            description = (inspect.getdoc(function) or "").partition("\n")[0]
        self._functions[name] = _Function(function, description, schema)

    def load(self, configs: Dict[str, Config]) -> List[str]:
        self._configs = configs
        return self.loaded()

    def loaded(self) -> List[str]:
        return list(self._functions)

    def describe(self) -> List[Dict[str, Any]]:
        described = []
        for name, function in self._functions.items():
            plugin: Dict[str, Any] = {"name": name, "streaming": function.stream}
            if function.description:
                plugin["description"] = function.description
            if function.schema is not None:
                plugin["schema"] = function.schema
            described.append(plugin)
        return described

    def call(self, job: Job) -> Any:
        found = self._functions.get(job.plugin)
        if found is None:
            raise PluginError(f"plugin {job.plugin} is not known here", category="user_input")
        job.config = self._configs.get(job.plugin, {})
        try:
            value = found.function(**job.params)
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                # Raised by the call itself, not in the function: the params don't fit its signature.
                raise _misfit(found.function, job.params, error) from None
            raise
        if found.async_stream:
            return Streamed(self._iterate(value, job))
        if found.stream:
            return Streamed(value)
        if found.awaitable:
            value = self._wait(value, job)
        return value if type(value) is dict else default_result_adapter(value)

    def reload(self, name: str, config: Config, current: Optional[str]) -> None:
        if name not in self._functions:
            raise PluginError(f"plugin {name} is not known here", category="user_input")
        self._configs[name] = config

    def unload(self, name: str) -> None:
        raise PluginError(f"plugin {name} is a function and always loaded", category="user_input")

    def _iterate(self, stream: AsyncIterator[Any], job: Job) -> Iterator[Any]:
        steps = stream.__aiter__()
        try:
            while True:
                try:
                    chunk = self._wait(steps.__anext__(), job)
                except StopAsyncIteration:
                    return
                yield chunk
        finally:
            close = getattr(steps, "aclose", None)
            if close is not None and self._loop is not None:
                self._loop.run_until_complete(close())

    def _wait(self, awaitable: Any, job: Job) -> Any:
        import asyncio  # half of this package's start-up time and memory, which most workers can do without

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        loop = self._loop

        async def wait() -> Any:
            return await awaitable

        coroutine: Coroutine[Any, Any, Any] = wait()
        task = loop.create_task(coroutine)
        job._on_cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        if job.cancelled:
            task.cancel()
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            if job.cancelled:
                raise Cancelled() from None
            raise PluginError("the task was cancelled from inside") from None
        finally:
            job._on_cancel = None


def _misfit(function: Callable[..., Any], params: Mapping[str, Any], error: TypeError) -> PluginError:
    expected = inspect.signature(function).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in expected.values())
    missing = [
        name
        for name, parameter in expected.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and name not in params
    ]
    unknown = [] if takes_any else [name for name in params if name not in expected]
    said = [f"missing {', '.join(missing)}"] * bool(missing) + [f"unknown {', '.join(unknown)}"] * bool(unknown)
    fields = {**dict.fromkeys(missing, "missing"), **dict.fromkeys(unknown, "unknown")}
    return PluginError("; ".join(said) or str(error), category="user_input", fields_invalid=fields)

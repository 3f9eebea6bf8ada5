"""Call plugins that supervisord runs, blocking or with asyncio.

::

    from supervisord.client import Client

    with Client() as client:
        print(client.execute("word_count", {"text": "the quick brown fox"}).data)
        for chunk in client.stream("stream_words", {"text": "one word after the other"}):
            print(chunk, end="", flush=True)

Every failure is an ``Error`` with code, kind, message and data; the subclasses below are its kinds. ValueError and
TypeError mean params that JSON has no form for, and nothing was sent then.
"""

from ._asyncio import AsyncClient, AsyncStream
from ._blocking import Client, Stream
from ._errors import (
    Cancelled,
    ChunksGone,
    ClientTooSlow,
    ConfigInvalid,
    Conflict,
    ConnectionLost,
    DeadlineExceeded,
    Error,
    InternalError,
    InvalidParams,
    InvalidRequest,
    JobFailed,
    Later,
    MethodNotFound,
    Overloaded,
    PermissionDenied,
    PoolUnavailable,
    Quarantined,
    ResultTooLarge,
    ServerCancelled,
    Superseded,
    Unknown,
    UnknownJob,
    UnknownPlugin,
    UnknownPool,
    UnknownWorker,
    WorkerDied,
)
from ._wire import Result, StreamChunk, default_socket

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "Cancelled",
    "ChunksGone",
    "Client",
    "ClientTooSlow",
    "ConfigInvalid",
    "Conflict",
    "ConnectionLost",
    "DeadlineExceeded",
    "Error",
    "InternalError",
    "InvalidParams",
    "InvalidRequest",
    "JobFailed",
    "Later",
    "MethodNotFound",
    "Overloaded",
    "PermissionDenied",
    "PoolUnavailable",
    "Quarantined",
    "Result",
    "ResultTooLarge",
    "ServerCancelled",
    "Stream",
    "StreamChunk",
    "Superseded",
    "Unknown",
    "UnknownJob",
    "UnknownPlugin",
    "UnknownPool",
    "UnknownWorker",
    "WorkerDied",
    "default_socket",
]

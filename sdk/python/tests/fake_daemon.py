"""A daemon in a thread, for what a client must do with a daemon's behaviour that a real one shows seldom."""

from __future__ import annotations

import json
import os
import queue
import shutil
import socket
import tempfile
import threading
import unittest
from typing import Any, Callable, Dict, List, Optional

from .support import LIMIT


class Connection:
    """The daemon's end of one client connection. Every method is called by the connection's own thread."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.file = connected.makefile("rb")
        connected.settimeout(LIMIT)

    def receive(self) -> Optional[Dict[str, Any]]:
        """The client's next message; None when it has hung up."""
        try:
            line = self.file.readline()
        except ConnectionError:
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are. A client that has hung up doesn't get them; receive tells."""
        try:
            self.socket.sendall(data)
        except ConnectionError:
            pass

    def send(self, *messages: Dict[str, Any]) -> None:
        """All messages in one write."""
        self.send_bytes(b"".join(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n" for message in messages))

    def result(self, request: Dict[str, Any], data: Any = None, chunks: int = 0) -> None:
        """Answer an execute."""
        answer = {"job_id": "j-1", "status": "success", "data": {} if data is None else data, "chunks": chunks}
        self.send({"id": request["id"], "result": answer})

    def error(self, request: Dict[str, Any], code: int, kind: str, **data: Any) -> None:
        """Answer with an error."""
        told = {"kind": kind, "retryable": False, **data}
        self.send({"id": request["id"], "error": {"code": code, "message": f"it is {kind}", "data": told}})


def chunk(request: Dict[str, Any], seq: int, value: Any, is_final: bool = False, **metadata: Any) -> Dict[str, Any]:
    """A stream.chunk notification."""
    params = {"job_id": "j-1", "request_id": request["id"], "seq": seq, "chunk": value, "is_final": is_final, "metadata": metadata}
    return {"method": "stream.chunk", "params": params}


def progress(request: Dict[str, Any], fraction: Optional[float], message: str) -> Dict[str, Any]:
    """A job.progress notification."""
    return {"method": "job.progress", "params": {"job_id": "j-1", "request_id": request["id"], "progress": fraction, "message": message}}


class FakeDaemonTest(unittest.TestCase):
    """A test with a daemon at self.path, which does with each connection what the test says."""

    def setUp(self) -> None:
        directory = tempfile.mkdtemp(prefix="sv")
        self.addCleanup(shutil.rmtree, directory)
        self.path = os.path.join(directory, "s")
        self._failures: List[BaseException] = []
        self._threads: List[threading.Thread] = []

    def serve(self, *scripts: Callable[[Connection], None]) -> None:
        """Accept one connection for each script, in order, and run it in a thread. Their failures are the test's."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(64)
        listener.settimeout(LIMIT)

        def accept() -> None:
            with listener:
                for script in scripts:
                    try:
                        connected, _ = listener.accept()
                    except OSError:
                        return  # no such connection came, which the test may want
                    self._start(self._run, script, connected)

        self._listener = listener
        self.addCleanup(self._finish)
        self._start(accept)

    def join(self) -> None:
        """Wait until every connection's script has ended, and the connections are closed."""
        for thread in self._threads:
            thread.join(LIMIT)
            self.assertFalse(thread.is_alive(), "a connection's script does not end")

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, script: Callable[[Connection], None], connected: socket.socket) -> None:
        with connected:
            connection = Connection(connected)
            try:
                script(connection)
            except BaseException as error:
                self._failures.append(error)
            finally:
                connection.file.close()

    def _finish(self) -> None:
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed already
        self.join()
        for failure in self._failures:
            raise failure


class Event:
    """Something that happened in another thread, with what came of it."""

    def __init__(self) -> None:
        self._values: "queue.Queue[Any]" = queue.Queue()

    def happened(self, value: Any = None) -> None:
        self._values.put(value)

    def wait(self) -> Any:
        """The value, once it happened. queue.Empty where it doesn't."""
        return self._values.get(timeout=LIMIT)

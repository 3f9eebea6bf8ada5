"""What the tests stand on: a worker process with a real link, and the conformance vectors of the protocol."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple, Type

from supervisord import frames

ROOT = Path(__file__).resolve().parents[3]
KIT = ROOT / "sdk" / "python"
DEBIANS_PYTHON = "/usr/bin/python3"
RECORDINGS = Path("/usr/share/pocketsphinx/test/data/librivox")
# How long anything may take. Nothing is measured by it: it only ends what hangs.
LIMIT = 30.0

# The members that the daemon requires, by type, and what each must be.
_REQUIRED: Dict[str, Dict[str, Tuple[Type[Any], ...]]] = {
    "ready": {"loaded_plugins": (list,)},
    "stream_chunk": {"job_id": (str,), "chunk": (object,)},
    "result": {"job_id": (str,), "status": (str,)},
    "response": {"request_type": (str,), "status": (str,)},
    "state": {},
    "error": {"error": (str,)},
    "progress": {"job_id": (str,)},
    "log": {"message": (str,)},
    "load_progress": {"plugin_name": (str,)},
}


def check_message(message: Dict[str, Any]) -> None:
    """Fail where the daemon would call the message a protocol error or ignore it."""
    kind = message["type"]
    assert kind in _REQUIRED, f"unknown message type: {message}"
    for member, types in _REQUIRED[kind].items():
        assert member in message and isinstance(message[member], types), f"member {member} of {message}"
    if kind == "result":
        assert message["status"] in ("success", "error", "cancelled"), message
    if kind == "response":
        assert message["status"] in ("success", "error"), message


class Worker:
    """A worker process as the daemon starts one: requests on descriptor 3, replies on 4, output to files.

    source is the program's text. With ``packets`` the replies go through a socket that keeps each write apart.
    """

    def __init__(self, source: str = "", *, command: Optional[List[str]] = None, packets: bool = False, cwd: Optional[str] = None) -> None:
        request_end, self._requests = (_high(end) for end in os.pipe())
        if packets:
            pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._replies, reply_end = (_high(end.detach()) for end in pair)
        else:
            self._replies, reply_end = (_high(end) for end in os.pipe())
        self._decoder = frames.Decoder()
        self._arrived: List[Dict[str, Any]] = []
        self.writes: List[bytes] = []
        self._stdout, self._stderr = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        environment = {
            **os.environ,
            "PYTHONPATH": str(KIT),
            "SUPERVISORD_PROTOCOL": "1",
            "SUPERVISORD_POOL": "test",
            "SUPERVISORD_WORKER": "test/0",
            "SUPERVISORD_SLOT": "0",
            "SUPERVISORD_INCARNATION": "1",
        }
        # The shell, since only it can give a program descriptors of certain numbers.
        redirect = f'exec "$@" 3<&{request_end} 4>&{reply_end} {request_end}<&- {reply_end}>&-'
        self.process = subprocess.Popen(
            ["bash", "-c", redirect, "worker", *(command or [sys.executable, "-c", textwrap.dedent(source)])],
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            stderr=self._stderr,
            pass_fds=(request_end, reply_end),
            env=environment,
            cwd=cwd,
        )
        os.close(request_end)
        os.close(reply_end)

    def init(self, **configs: Any) -> Dict[str, Any]:
        """Send init with these plugin configurations, and give the answer."""
        self.send(type="init", plugin_configs=configs, protocol=1, pool="test", worker="test/0", incarnation=1, max_message=1 << 24)
        return self.receive()

    def send(self, **message: Any) -> None:
        """Send one message."""
        self.send_bytes(frames.encode(message))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        while data:
            data = data[os.write(self._requests, data) :]

    def execute(self, plugin: str, job_id: str = "j", stream: bool = False, **params: Any) -> None:
        """Send an execute."""
        told: Dict[str, Any] = dict(type="execute", job_id=job_id, plugin_name=plugin, **params)
        if stream:
            told["stream"] = True
        self.send(**told)

    def receive(self) -> Dict[str, Any]:
        """The next message from the worker. AssertionError where none comes."""
        while not self._arrived:
            if not self._read():
                raise AssertionError(f"the worker closed the link; it printed:\n{self.output()}")
        return self._arrived.pop(0)

    def call(self, plugin: str, job_id: str = "j", stream: bool = False, **params: Any) -> Tuple[List[Dict[str, Any]], Dict[str, Any]]:
        """Run a job: what came before its result, and the result."""
        self.execute(plugin, job_id, stream, **params)
        before: List[Dict[str, Any]] = []
        while True:
            message = self.receive()
            if message["type"] == "result":
                assert message["job_id"] == job_id, message
                return before, message
            before.append(message)

    def close_requests(self) -> None:
        """Close the daemon's end of descriptor 3."""
        if self._requests >= 0:
            os.close(self._requests)
            self._requests = -1

    def receive_end(self) -> None:
        """Wait until the worker's end of descriptor 4 is closed, and nothing came before that."""
        assert not self._arrived and not self._read(), f"unexpected: {self._arrived}"

    def wait(self) -> int:
        """The exit status, once it ends."""
        return self.process.wait(LIMIT)

    def output(self) -> str:
        """All that it printed, both streams."""
        texts = []
        for stream in (self._stdout, self._stderr):
            stream.seek(0)
            texts.append(stream.read().decode())
        return "".join(texts)

    def close(self) -> None:
        """Kill it and forget everything."""
        self.close_requests()
        if self._replies >= 0:
            os.close(self._replies)
            self._replies = -1
        self.process.kill()
        self.process.wait()
        self._stdout.close()
        self._stderr.close()

    def _read(self) -> bool:
        ready, _, _ = select.select([self._replies], [], [], LIMIT)
        if not ready:
            raise AssertionError(f"nothing came within {LIMIT} s; the worker printed:\n{self.output()}")
        data = os.read(self._replies, 1 << 20)
        if not data:
            return False
        self.writes.append(data)
        for message in self._decoder.feed(data):
            check_message(message)
            self._arrived.append(message)
        return True


def _high(descriptor: int) -> int:
    # Above 10, so that none is 3 or 4 in the shell before it puts them there.
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


class WorkerTest(unittest.TestCase):
    """A test with worker processes, which it ends."""

    def start(self, source: str = "", **options: Any) -> Worker:
        """A worker that runs this program."""
        worker = Worker(source, **options)
        self.addCleanup(worker.close)
        return worker


def missing(what: str) -> None:
    """End a test that needs something which is not there: skipped on a developer's machine, failed in CI."""
    if os.environ.get("CI"):
        raise AssertionError(what)
    raise unittest.SkipTest(what)


def need_speech() -> None:
    """End a test of the speech example where Debian's Python does not have its packages."""
    probe = "import os, pocketsphinx; os.stat('/usr/share/pocketsphinx/model/en-us'); os.stat('%s')" % RECORDINGS
    if not os.path.exists(DEBIANS_PYTHON) or subprocess.run([DEBIANS_PYTHON, "-c", probe], stderr=subprocess.DEVNULL).returncode != 0:
        missing("speech recognition is not installed; scripts/install-deps.sh demo installs it")


class Vector(NamedTuple):
    """A case of the conformance vectors."""

    name: str
    data: bytes
    want: bytes


def vectors(archive: str) -> Iterator[Vector]:
    """The cases of a txtar archive."""
    content = (ROOT / "protocol" / "testdata" / "conformance" / archive).read_bytes()
    inputs: Dict[str, bytes] = {}
    for name, text in _txtar(content):
        stem, _, kind = name.rpartition(".")
        if kind == "json":
            inputs[stem] = text[:-1] if text.endswith(b"\n") else text
        elif kind == "hex":
            inputs[stem] = bytes.fromhex(text.decode())
        else:
            yield Vector(stem, inputs[stem], text)


def _txtar(content: bytes) -> Iterator[Tuple[str, bytes]]:
    name = ""
    lines: List[bytes] = []
    for line in content.splitlines(keepends=True):
        if line.startswith(b"-- ") and line.rstrip().endswith(b" --"):
            if name:
                yield name, b"".join(lines)
            name, lines = line.strip()[3:-3].decode(), []
        else:
            lines.append(line)
    if name:
        yield name, b"".join(lines)


def wait_until_gone(pid: int) -> None:
    """Wait until there is no process of that id, or only what is left of one for its parent to see."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} is still there")

"""What a plugin prints, loads and starts cannot disturb the protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from .support import KIT, WorkerTest, wait_until_gone

SOURCE = '''
print("before the kit is imported")
from supervisord import worker
import ctypes, multiprocessing, os, subprocess, sys
libc = ctypes.CDLL(None)
print("while it starts", flush=True)

@worker.plugin
def prints():
    print("from print")
    print("from stderr", file=sys.stderr)
    sys.stdout.write("from write, no newline")
    return {"ok": 1}

@worker.plugin
def c_library():
    libc.puts(b"from puts")
    libc.fflush(None)
    libc.write(1, b"from write(1)\\n", 14)
    libc.write(2, b"from write(2)\\n", 14)
    return {"ok": 1}

@worker.plugin
def descriptors():
    """Write to the numbers that the link came by, and close them."""
    for number in (3, 4):
        libc.write(number, b"\\x00\\x00\\x00\\x02{}", 6)
        os.close(number)
    opened = [os.open(os.devnull, os.O_RDWR) for _ in range(8)]
    for number in opened:
        os.write(number, b"noise")
    for number in opened:
        os.close(number)
    return {"reused": sorted(opened)[:2] == [3, 4]}

@worker.plugin
def child():
    script = """
import os
print("from the child")
print(sorted(int(n) for n in os.listdir("/proc/self/fd") if os.path.realpath("/proc/self/fd/" + n).startswith("/proc")))
for number in range(3, 256):
    try:
        os.write(number, b"noise")
    except OSError:
        pass
assert "SUPERVISORD_PROTOCOL" not in os.environ
"""
    return {"code": subprocess.run([sys.executable, "-c", script], close_fds=False).returncode}

@worker.plugin
def child_with_the_kit():
    script = "from supervisord import worker\\nworker.serve()"
    return {"code": subprocess.run([sys.executable, "-c", script], close_fds=False).returncode}

@worker.plugin
def shell():
    return {"code": os.system("echo from the shell; echo noise >&3; echo noise >&4; true")}

@worker.plugin
def fork():
    pid = os.fork()
    if pid == 0:
        print("from the fork", flush=True)
        worker.current_job().progress(0.5, "noise of the fork")
        worker.current_job().log("info", "noise of the fork")
        os._exit(0)
    return {"code": os.waitpid(pid, 0)[1]}

def helper(n):
    print("from the pool", flush=True)
    return n * n

@worker.plugin
def pool():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return {"squares": pool.map(helper, range(8))}

@worker.plugin
def reads_stdin():
    return {"read": sys.stdin.read()}

@worker.plugin
def leaves_a_child():
    """One that outlives the worker."""
    return {"pid": subprocess.Popen(["sleep", "3600"], close_fds=False).pid}

@worker.plugin
def leaves_a_fork():
    pid = os.fork()
    if pid == 0:
        import time
        time.sleep(3600)
    return {"pid": pid}

worker.serve()
'''


class NoiseTest(WorkerTest):
    def setUp(self) -> None:
        self.worker = self.start(SOURCE)
        self.worker.init()

    def run_plugin(self, plugin: str) -> Any:
        before, result = self.worker.call(plugin)
        self.assertEqual((before, result["status"]), ([], "success"), result)
        # The link is as good as before.
        self.assertEqual(self.worker.call("prints", "after")[1]["data"], {"ok": 1})
        return result["data"]

    def test_prints_are_log_lines(self) -> None:
        self.run_plugin("prints")
        output = self.worker.output()
        for line in ("before the kit is imported\n", "while it starts\n", "from print\n", "from stderr\n"):
            self.assertIn(line, output)

    def test_a_c_library_that_writes_to_descriptor_1_writes_log_lines(self) -> None:
        self.run_plugin("c_library")
        for line in ("from puts\n", "from write(1)\n", "from write(2)\n"):
            self.assertIn(line, self.worker.output())

    def test_descriptors_3_and_4_are_nobodys_link_any_more(self) -> None:
        self.assertEqual(self.run_plugin("descriptors"), {"reused": True})

    def test_a_child_process_has_no_part_in_the_link(self) -> None:
        self.assertEqual(self.run_plugin("child"), {"code": 0})
        self.assertIn("from the child\n", self.worker.output())
        self.assertEqual(self.run_plugin("shell"), {"code": 0})
        self.assertIn("from the shell\n", self.worker.output())

    def test_a_child_that_imports_the_kit_is_no_worker(self) -> None:
        self.assertEqual(self.run_plugin("child_with_the_kit"), {"code": 2})
        self.assertIn("This program is a supervisord worker", self.worker.output())

    def test_a_fork_cannot_speak_for_the_worker(self) -> None:
        self.assertEqual(self.run_plugin("fork"), {"code": 0})
        self.assertIn("from the fork\n", self.worker.output())
        self.assertEqual(self.run_plugin("pool"), {"squares": [n * n for n in range(8)]})
        self.assertIn("from the pool\n", self.worker.output())

    def test_nothing_is_to_be_read_from_stdin(self) -> None:
        self.assertEqual(self.run_plugin("reads_stdin"), {"read": ""})

    def test_children_left_behind_do_not_hold_the_link(self) -> None:
        for plugin in ("leaves_a_child", "leaves_a_fork"):
            pid = self.run_plugin(plugin)["pid"]
            self.addCleanup(wait_until_gone, pid)
            self.addCleanup(os.kill, pid, 9)
        self.worker.send(type="stop")
        self.worker.receive_end()
        self.assertEqual(self.worker.wait(), 0)


class StartedByHandTest(WorkerTest):
    def test_without_a_daemon_it_says_what_it_is(self) -> None:
        for serve in ("worker.serve()", "worker.run_worker(object)", "worker.run_entry(print)"):
            done = subprocess.run(
                [sys.executable, "-c", f"from supervisord import worker; {serve}"],
                env={**os.environ, "PYTHONPATH": str(KIT)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            self.assertEqual(done.returncode, 2)
            self.assertIn("the daemon starts it", done.stderr)

"""A hung forward pass ends its process, whether or not it holds Python's lock."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.worker.watchdog import WATCHDOG_EXIT

CODE = """
import ctypes, time
from app.queue.scheduling import Claimed
from app.queue.messages import Job
from app.telemetry import configure_logging
from app.worker.watchdog import Watchdog

configure_logging()
watchdog = Watchdog(0.2)
watchdog.start()
batch = [Claimed(Job("f", 0, 1, request_id="r1", job_id="j1"), "stream", "1-0", "r", 0, 0)]
for _ in range(4):
    with watchdog.watching(batch):
        time.sleep(0.1)
print("alive", flush=True)
with watchdog.watching(batch):
    {hang}
"""
WHERE = f'File "<string>", line {CODE.splitlines().index("    {hang}") + 1} in <module>'


def end(hang: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE.format(hang=hang)], capture_output=True, text=True, timeout=20
    )


def test_a_pass_that_hangs_ends_the_process_and_says_whose_jobs_it_held() -> None:
    """Passes within the limit do not, however many follow one another."""
    ended = end("time.sleep(60)")
    assert (ended.returncode, ended.stdout) == (WATCHDOG_EXIT, "alive\n")
    assert "SAGAN_WATCHDOG_S=0.2: the device hangs" in ended.stderr
    assert '"jobs": ["j1"], "request_ids": ["r1"]' in ended.stderr
    assert WHERE in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="PyDLL(None)")
def test_a_pass_that_hangs_with_the_lock_of_python_ends_the_process_too() -> None:
    """No thread of Python runs then."""
    ended = end("ctypes.PyDLL(None).sleep(60)")
    assert (ended.returncode, ended.stdout) == (1, "alive\n")
    assert "Timeout" in ended.stderr
    assert WHERE in ended.stderr

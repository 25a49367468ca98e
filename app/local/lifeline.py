"""`python -P -m app.local.lifeline PARENT_PID COMMAND...`: a command that dies with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

PR_SET_PDEATHSIG = 1  # linux/prctl.h
POLL_S = 0.2
KILL_AFTER_S = 30.0
PARENT_GONE_EXIT = 143


def tied(parent_pid: int) -> list[str]:
    """The start of a command line whose process gets SIGTERM when `parent_pid` dies."""
    return [sys.executable, "-P", "-m", "app.local.lifeline", str(parent_pid)]


def main(arguments: Sequence[str]) -> int:
    """Becomes the command (Linux) or supervises it (elsewhere); returns its exit status."""
    parent_pid, command = int(arguments[0]), list(arguments[1:])
    if sys.platform == "linux":
        return _become(parent_pid, command)
    return _watch(parent_pid, command)


def _become(parent_pid: int, command: list[str]) -> int:
    """Asks the kernel for SIGTERM at the parent's death, then becomes the command."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:  # the parent died before the call above
        return PARENT_GONE_EXIT
    os.execvp(command[0], command)  # noqa: S606
    raise AssertionError("execvp returned")


def _watch(parent_pid: int, command: list[str]) -> int:
    """Starts the command, forwards signals to it and ends it when the parent has died."""
    child = subprocess.Popen(command)  # noqa: S603

    def forward(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        child.send_signal(number)

    def end_with_parent() -> None:
        while os.getppid() == parent_pid:
            time.sleep(POLL_S)
        child.terminate()
        time.sleep(KILL_AFTER_S)
        child.kill()

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    threading.Thread(target=end_with_parent, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

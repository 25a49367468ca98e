"""`python -P -m app.local.lifeline PARENT_PID SIGNAL COMMAND...`: ends with its parent."""

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

from app.stopping import GROUP_SIGNALS

PR_SET_PDEATHSIG = 1  # linux/prctl.h
POLL_S = 0.2
KILL_AFTER_S = 30.0
PARENT_GONE_EXIT = 143


def tied(parent_pid: int, ended_by: signal.Signals = signal.SIGTERM) -> list[str]:
    """The start of a command line whose process gets the signal `ended_by` when its parent dies.

    If `ended_by` is not SIGTERM, the process does not receive GROUP_SIGNALS. So the parent decides
    when it ends, even if a signal goes to all processes at once.
    """
    module = [sys.executable, "-P", "-m", "app.local.lifeline"]
    return [*module, str(parent_pid), str(int(ended_by))]


def main(arguments: Sequence[str]) -> int:
    """Becomes the command (Linux) or supervises it (elsewhere); returns its exit status."""
    parent_pid, ended_by, command = int(arguments[0]), int(arguments[1]), list(arguments[2:])
    if ended_by != signal.SIGTERM:
        signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)  # a command inherits the mask
    if sys.platform == "linux":
        return _become(parent_pid, ended_by, command)
    return _watch(parent_pid, ended_by, command)


def _become(parent_pid: int, ended_by: int, command: list[str]) -> int:
    """Asks the kernel for a signal at the parent's death, then becomes the command."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, ended_by, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:  # the parent died before the call above
        return PARENT_GONE_EXIT
    os.execvp(command[0], command)  # noqa: S606
    raise AssertionError("execvp returned")


def _watch(parent_pid: int, ended_by: int, command: list[str]) -> int:
    """Starts the command, forwards signals to it and ends it when the parent has died."""
    child = subprocess.Popen(command, close_fds=False)  # noqa: S603

    def forward(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        child.send_signal(number)

    def end_with_parent() -> None:
        while os.getppid() == parent_pid:
            time.sleep(POLL_S)
        child.send_signal(ended_by)
        time.sleep(KILL_AFTER_S)
        child.kill()

    for number in {signal.SIGTERM, signal.SIGINT, ended_by} - {signal.SIGKILL}:
        signal.signal(number, forward)
    threading.Thread(target=end_with_parent, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

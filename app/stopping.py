"""The signals that end a process of the service."""

from __future__ import annotations

import signal

# Those that also reach a whole group of processes: systemd and dynos send SIGTERM to all at once,
# a terminal SIGINT (Ctrl-C) and, when it closes, SIGHUP.
GROUP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LEAVE = signal.SIGUSR1  # `sagan serve` sends it to its children, which hear no group signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """The signals on which a process finishes its work and ends.

    A signal that is ignored, as SIGHUP is under nohup, stays ignored.
    """
    return tuple(
        number
        for number in (*GROUP_SIGNALS, LEAVE)
        if signal.getsignal(number) is not signal.SIG_IGN
    )

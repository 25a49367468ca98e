"""The signals that end a process of the service."""

from __future__ import annotations

import signal

# Those that also reach a whole group of processes: systemd and dynos send SIGTERM to all at once,
# a terminal SIGINT (Ctrl-C) and, when it closes, SIGHUP.
GROUP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LEAVE = signal.SIGUSR1  # `sagan serve` sends it to its children, which hear no group signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """The signals on which a process finishes its work and ends.

    If SIGHUP is ignored, as under nohup, it stays ignored. The other signals end the process even
    if they were ignored: a script's background jobs ignore SIGINT, but the script must be able to
    stop them.
    """
    numbers = (*GROUP_SIGNALS, LEAVE)
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(number for number in numbers if not (number == signal.SIGHUP and ignored))

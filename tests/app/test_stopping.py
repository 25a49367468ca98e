"""Which signals end a process of the service."""

from __future__ import annotations

import signal

import pytest

from app.stopping import GROUP_SIGNALS, LEAVE, stop_signals


@pytest.mark.parametrize(
    ("ignored", "heard"),
    [
        ([], {*GROUP_SIGNALS, LEAVE}),
        ([signal.SIGHUP], {signal.SIGTERM, signal.SIGINT, LEAVE}),
        ([signal.SIGINT, signal.SIGTERM], {*GROUP_SIGNALS, LEAVE}),
    ],
)
def test_only_a_hangup_stays_ignored(
    ignored: list[signal.Signals], heard: set[signal.Signals]
) -> None:
    """As under nohup; a background job of a script, which ignores SIGINT, is stopped by it."""
    former = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    try:
        assert set(stop_signals()) == heard
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)

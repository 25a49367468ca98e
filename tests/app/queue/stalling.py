"""A Redis that hangs for a while."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from app.local.private_redis import PrivateRedis


@contextmanager
def stalled(server: PrivateRedis) -> Iterator[None]:
    """Inside the block Redis hangs."""
    assert server.process
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)

"""ConnectionBound: how many connections of clients this process accepts."""

from __future__ import annotations

import logging
import resource
import time

logger = logging.getLogger(__name__)
NUM_SURPLUS = 20  # connections beyond the bound that are told so; those beyond them are closed
SPARE_FILES = 48  # for Redis, logs and pages, and for what comes before a connection is closed
TELL_AGAIN_S = 60.0


class ConnectionBound:
    """The most connections that may exist; logs refusals at most once a minute."""

    def __init__(self, max_connections: int) -> None:
        self.max_connections = max_connections
        self._told_s = -TELL_AGAIN_S

    def log_refusal(self) -> None:
        """Logs that connections are refused, unless it did so within TELL_AGAIN_S."""
        now_s = time.monotonic()
        if now_s - self._told_s >= TELL_AGAIN_S:
            self._told_s = now_s
            logger.warning(
                "refusing connections beyond %d: raise SAGAN_MAX_CONNECTIONS and `ulimit -n`, or "
                "add replicas",
                self.max_connections,
            )


def connections_within_files(wanted: int) -> int:
    """The number of connections for which the process may open files, at most `wanted`.

    Raises the soft limit of open files as far as is needed and allowed, and warns if the hard limit
    is too low. Beyond the limit all new connections would fail, those to Redis included.
    """
    needed = wanted + NUM_SURPLUS + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft in (resource.RLIM_INFINITY, -1) or soft >= needed:
        return wanted
    most = needed if hard in (resource.RLIM_INFINITY, -1) else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    allowed = max(1, most - NUM_SURPLUS - SPARE_FILES)
    if allowed < wanted:
        logger.warning(
            "this process may open %d files, so it accepts %d connections instead of "
            "SAGAN_MAX_CONNECTIONS=%d: raise the hard limit (`ulimit -Hn`)",
            most,
            allowed,
            wanted,
        )
    return allowed

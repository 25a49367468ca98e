"""Child: a process that the supervisor keeps alive and stops."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Mapping, Sequence

from app.local.lifeline import tied
from app.settings import CONFIGURATION_EXIT

logger = logging.getLogger(__name__)
MAX_BACKOFF_S = 10.0
STEADY_S = 10.0  # a child that lived this long starts again at once


class ConfigurationRefusedError(Exception):
    """A child said at its first start that its configuration cannot work."""


class Child:
    """Starts again when it dies; ends with this process, even when that is killed."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.process: asyncio.subprocess.Process | None = None

    async def keep_alive(self) -> None:
        """Runs until cancelled; raises ConfigurationRefusedError.

        The first restart is immediate; the next ones wait twice as long each, to a bound.
        """
        starts, backoff_s = 0, 0.0
        while True:
            started_s = time.monotonic()
            starts += 1
            status = await self._run()
            if status == CONFIGURATION_EXIT and starts == 1:
                raise ConfigurationRefusedError(f"{self.name} cannot start with this configuration")
            if time.monotonic() - started_s > STEADY_S:
                backoff_s = 0.0
            logger.warning("%s ended with status %s; again in %g s", self.name, status, backoff_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(MAX_BACKOFF_S, max(0.25, 2 * backoff_s))

    async def stop(self, wait_s: float) -> None:
        """Asks it to end, and kills it when it has not within `wait_s`."""
        if self._send(signal.SIGTERM) and self.process:
            try:
                async with asyncio.timeout(wait_s):
                    await self.process.wait()
            except TimeoutError:
                logger.warning("%s did not stop within %g s and is killed", self.name, wait_s)
                self.kill()
                await self.process.wait()

    def kill(self) -> None:
        """Ends it at once."""
        self._send(signal.SIGKILL)

    async def _run(self) -> int:
        # From the main thread: a parent's death, to Linux, is that of the thread that forked.
        self.process = await asyncio.create_subprocess_exec(
            *tied(os.getpid()),
            *self.command,
            env={**os.environ, **self.environment},
            start_new_session=True,
        )
        return await self.process.wait()

    def _send(self, number: signal.Signals) -> bool:
        """Whether there was a process to signal."""
        if self.process is None or self.process.returncode is not None:
            return False
        self.process.send_signal(number)
        return True

"""Process: one that is kept alive as `sagan serve` keeps its children."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress

from app.local.supervisor import Child, ConfigurationRefusedError

STOP_S = 10.0
REFUSED_S = 30.0


class Process:
    """A process that `sagan serve`'s own supervision starts again whenever it ends.

    `module` may be followed by arguments.
    """

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self.child = Child(module, [sys.executable, "-m", *module.split()], environment)
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts it and keeps it alive."""
        self._keeping = asyncio.create_task(self.child.keep_alive())

    def send(self, number: signal.Signals) -> int:
        """Signals it; the process id."""
        if self.child.process is None:
            raise RuntimeError("the process has not started")
        self.child.process.send_signal(number)
        return self.child.process.pid

    async def stop(self) -> None:
        """Ends it for good."""
        if self._keeping is None:
            return
        self._keeping.cancel()
        with suppress(asyncio.CancelledError, ConfigurationRefusedError):
            await self._keeping
        if self.child.process and self.child.process.returncode is None:
            self.send(signal.SIGCONT)
        await self.child.stop(STOP_S)

    async def kill_for_good(self) -> None:
        """kill -9, and nobody starts it again."""
        if self._keeping is not None:
            self._keeping.cancel()
        self.send(signal.SIGKILL)

    async def refused(self) -> None:
        """Waits until it says that its configuration cannot work, and is not started again."""
        if self._keeping is None:
            raise RuntimeError("the process has not started")
        try:
            async with asyncio.timeout(REFUSED_S):
                await self._keeping
        except ConfigurationRefusedError:
            return
        raise AssertionError("it did not refuse to start")

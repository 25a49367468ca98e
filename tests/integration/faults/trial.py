"""Trial: how hard a fault is tried and what came of it; the list of all faults."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.faults.connection import Address
from tests.integration.faults.faulty_worker import DRAWN
from tests.integration.faults.load import Load
from tests.integration.faults.stack import Stack, running_stack


@dataclass
class Trial:
    """`num_requests` succeed before the fault, and as many that are sent after it."""

    folder: Path
    num_requests: int = 40
    loads: list[Load] = field(default_factory=list)

    def stack(
        self,
        *,
        num_api: int = 1,
        num_workers: int = 2,
        data_dir: Path | None = None,
        launcher: Sequence[str] = (),
        redis_url: str | None = None,
        **settings: str,
    ) -> AbstractAsyncContextManager[Stack]:
        """A stack of its own, which is ready; see running_stack."""
        return running_stack(
            self.folder,
            num_api=num_api,
            num_workers=num_workers,
            data_dir=data_dir,
            launcher=launcher,
            redis_url=redis_url,
            settings=settings,
        )

    def num_drawn(self, seed: int) -> int:
        """In how many batches this seed was."""
        return sum(str(seed) in batch for batch in self._batches())

    def num_passes(self) -> int:
        """How many images were drawn, those that were drawn again included."""
        return sum(map(len, self._batches()))

    def batch_sizes(self) -> set[int]:
        """Of all batches that were begun."""
        return set(map(len, self._batches()))

    def _batches(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / DRAWN).read_text().splitlines()]

    @asynccontextmanager
    async def load(
        self,
        stack: Stack,
        *allowed: int,
        num_clients: int = 12,
        timeout_ms: int = 10_000,
        excepted: tuple[Address, ...] = (),
    ) -> AsyncIterator[Load]:
        """Clients, whose requests all have their one answer: 200, or an `allowed` error."""
        async with stack.load(
            allowed=(200, *allowed),
            num_clients=num_clients,
            timeout_ms=timeout_ms,
            excepted=excepted,
        ) as load:
            self.loads.append(load)
            await load.answered(self.num_requests)
            yield load


Test = Callable[[Trial], Coroutine[None, None, None]]
FAULTS: dict[str, Test] = {}


def fault(name: str) -> Callable[[Test], Test]:
    """Lists a test as the fault of this name; its docstring says what must hold."""

    def register(test: Test) -> Test:
        FAULTS[name] = test
        marked: Test = pytest.mark.slow(test)
        return marked

    return register

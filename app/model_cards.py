"""ModelCards: which models are served and by how many live workers, learnt from heartbeats."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self, TypeVar

from redis.asyncio import Redis

from app.background import background
from app.errors import NotFoundError, NotReadyError, QueueUnavailableError, RetiredCheckpointError
from app.heartbeats import CARDS, CARDS_SEEN, WORKERS, WorkerStatus, decode_status
from app.jobs import ModelCard, decode_card
from app.redis_clients import redis_errors_told

logger = logging.getLogger(__name__)
T = TypeVar("T")
FIRST_LOOK_S = 1.0


@dataclass(frozen=True)
class _Snapshot:
    cards: Mapping[str, ModelCard]  # by fingerprint, in no order
    unseen_s: Mapping[str, float]  # by fingerprint: since its last heartbeat
    workers: Mapping[str, WorkerStatus]  # the live ones, by id


class ModelCards:
    """A copy of the cards and live workers, refreshed in the background while `running`.

    Lookups touch no Redis. When Redis is away the last copy stays, and `fresh` turns false.
    """

    def __init__(
        self, client: Redis, *, heartbeat_s: float = 1.0, retire_after_s: float = 300.0
    ) -> None:
        self.client = client
        self.refresh_s = heartbeat_s / 2
        self.alive_s = 3 * heartbeat_s
        self.retire_after_s = retire_after_s
        self._snapshot = _Snapshot({}, {}, {})
        self._refreshed_s = float("-inf")
        self._ready_s = time.monotonic()  # when a live worker was known last
        self._looked = asyncio.Event()
        self._failing = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Keeps the copy fresh inside the block, which begins when Redis was asked once.

        A proxy may send requests to a replica that restarts before it sees that it was gone: one
        that has not looked would refuse them all. A Redis that hangs is not waited for.
        """
        async with background(self._refresh_soon, "model cards"):
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_LOOK_S):
                    await self._looked.wait()
            yield self

    @property
    def fresh(self) -> bool:
        """Whether Redis answered lately."""
        return time.monotonic() - self._refreshed_s < self.alive_s

    @property
    def ready(self) -> bool:
        """Whether Redis answered lately and a warm worker lives."""
        return self.fresh and bool(self._snapshot.workers)

    @property
    def unready_s(self) -> float:
        """For how long no live worker has been known, since Redis is away or they are."""
        return time.monotonic() - self._ready_s

    def current(self) -> tuple[ModelCard, ...]:
        """The cards of models that are served; a dead worker's stay a while.

        By name; of one name first those with a live worker, then the last seen.
        """
        cards = [c for f, c in self._snapshot.cards.items() if not self._retired(f)]
        return tuple(sorted(cards, key=self._rank))

    def workers_ready(self, fingerprint: str | None = None) -> int:
        """How many live workers serve this model (none: any)."""
        workers = self._snapshot.workers.values()
        return sum(fingerprint is None or fingerprint in w.fingerprints for w in workers)

    def images_per_s(self, fingerprint: str) -> float:
        """What the live workers of this model make together when busy; 0 when not known."""
        workers = self._snapshot.workers.values()
        return sum(w.images_per_s for w in workers if fingerprint in w.fingerprints)

    def named(self, name: str | None = None) -> ModelCard:
        """The card of this name, or fingerprint or its first digits.

        No name means the first by name that has a live worker, or the first of all.

        Raises NotReadyError before the first card, NotFoundError, RetiredCheckpointError.
        """
        cards = self.current()
        if not cards:
            raise NotReadyError("no worker has shown a model yet")
        if name is None:
            return next((card for card in cards if self._live(card)), cards[0])
        for card in cards:
            if card.name == name:
                return card
        return self.of_fingerprint(name)

    def of_fingerprint(self, prefix: str) -> ModelCard:
        """The card whose fingerprint starts with `prefix` (12 digits or more).

        Raises NotReadyError before the first card, NotFoundError, RetiredCheckpointError.
        """
        if not self._snapshot.cards:
            raise NotReadyError("no worker has shown a model yet")
        for fingerprint, card in self._snapshot.cards.items():
            if len(prefix) >= 12 and fingerprint.startswith(prefix):
                if self._retired(fingerprint):
                    raise RetiredCheckpointError(f"checkpoint {prefix} is no longer served")
                return card
        names = ", ".join(card.name for card in self.current())
        raise NotFoundError(f"no model is called {prefix!r}; there is {names}")

    async def refresh(self) -> None:
        """Reads the cards and workers now; raises QueueUnavailableError."""
        pipe = self.client.pipeline(transaction=False)
        pipe.time()
        pipe.hgetall(WORKERS)
        pipe.hgetall(CARDS)
        pipe.hgetall(CARDS_SEEN)
        with redis_errors_told():
            (seconds, micros), workers, cards, seen = await pipe.execute()
        now_ms = seconds * 1000 + micros // 1000
        self._snapshot = _Snapshot(
            cards=_readable(cards, decode_card),
            unseen_s={f: (now_ms - ms) / 1000 for f, ms in _readable(seen, int).items()},
            workers=self._read_workers(workers, now_ms),
        )
        self._refreshed_s = time.monotonic()
        if self.ready:
            self._ready_s = self._refreshed_s

    def _retired(self, fingerprint: str) -> bool:
        """Not seen for long while another one was: with no worker at all nothing retires."""
        unseen_s = self._snapshot.unseen_s
        age_s = unseen_s.get(fingerprint, 0.0)
        return age_s - min(unseen_s.values(), default=0.0) > self.retire_after_s

    def _live(self, card: ModelCard) -> bool:
        return self.workers_ready(card.fingerprint) > 0

    def _rank(self, card: ModelCard) -> tuple[str, bool, float, str]:
        live = self._live(card)
        unseen_s = 0.0 if live else self._snapshot.unseen_s.get(card.fingerprint, 0.0)
        return card.name, not live, unseen_s, card.fingerprint

    def _read_workers(self, found: dict[bytes, bytes], now_ms: int) -> dict[str, WorkerStatus]:
        beats = _readable(found, _read_beat)
        alive_ms = self.alive_s * 1000
        return {name: status for name, (ms, status) in beats.items() if now_ms - ms < alive_ms}

    async def _refresh_soon(self) -> None:
        try:
            await self.refresh()
            self._failing = False
        except QueueUnavailableError as error:
            if not self._failing:
                logger.warning("cannot refresh the model cards: %s", error.with_cause)
            self._failing = True
        finally:
            self._looked.set()
        await asyncio.sleep(self.refresh_s)


def _readable(found: Mapping[bytes, bytes], read: Callable[[bytes], T]) -> dict[str, T]:
    """The members of a hash that can be read; what a foreign or newer worker wrote is skipped."""
    members = {}
    for name, value in found.items():
        try:
            members[name.decode()] = read(value)
        except ValueError as error:
            logger.warning("ignored what a worker tells of itself: %s", error)
    return members


def _read_beat(value: bytes) -> tuple[int, WorkerStatus]:
    """When a worker was last seen, in ms by Redis's clock, and what it said; raises ValueError."""
    seen_ms, _, status = value.partition(b" ")
    return int(seen_ms), decode_status(status)

"""ModelCards: which models are served and by how many live workers, learnt from heartbeats."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from redis.asyncio import Redis

from app.errors import NotFoundError, NotReadyError, QueueUnavailableError, RetiredCheckpointError
from app.heartbeats import CARDS, CARDS_SEEN, WORKERS, WorkerStatus
from app.jobs import DecodeError, ModelCard, decode_card
from app.redis_clients import redis_errors_told

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Snapshot:
    cards: Mapping[str, ModelCard]  # by fingerprint, last seen first
    unseen_s: Mapping[str, float]  # by fingerprint
    workers: Mapping[str, WorkerStatus]  # the live ones, by id


class ModelCards:
    """A copy of the cards and live workers, refreshed in the background; an async context manager.

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
        self._refresher: asyncio.Task[None] | None = None
        self._closing = False  # a cancel alone can get lost in Python 3.11's wait_for

    async def __aenter__(self) -> Self:
        self._refresher = asyncio.create_task(self._refresh_until_closed(), name="model cards")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        if self._refresher:
            self._refresher.cancel()
            with suppress(asyncio.CancelledError):
                await self._refresher

    @property
    def fresh(self) -> bool:
        """Whether Redis answered lately."""
        return time.monotonic() - self._refreshed_s < self.alive_s

    @property
    def ready(self) -> bool:
        """Whether Redis answered lately and a warm worker lives."""
        return self.fresh and bool(self._snapshot.workers)

    def current(self) -> tuple[ModelCard, ...]:
        """The cards of models that are served, by name; a dead worker's stay a while."""
        cards = [c for f, c in self._snapshot.cards.items() if not self._retired(f)]
        return tuple(sorted(cards, key=lambda card: card.name))

    def workers_ready(self, fingerprint: str | None = None) -> int:
        """How many live workers serve this model (none: any)."""
        workers = self._snapshot.workers.values()
        return sum(fingerprint is None or fingerprint in w.fingerprints for w in workers)

    def images_per_s(self, fingerprint: str) -> float:
        """What the live workers of this model make together when busy; 0 when not known."""
        workers = self._snapshot.workers.values()
        return sum(w.images_per_s for w in workers if fingerprint in w.fingerprints)

    def named(self, name: str | None = None) -> ModelCard:
        """The card of this name, or fingerprint or its first digits; none: the first by name.

        Raises NotReadyError before the first card, NotFoundError, RetiredCheckpointError.
        """
        cards = self.current()
        if not cards:
            raise NotReadyError("no worker has shown a model yet")
        if name is None:
            return cards[0]
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
            cards=self._read_cards(cards),
            unseen_s={f.decode(): (now_ms - int(ms)) / 1000 for f, ms in seen.items()},
            workers=self._read_workers(workers, now_ms),
        )
        self._refreshed_s = time.monotonic()

    def _retired(self, fingerprint: str) -> bool:
        """Not seen for long while another one was: with no worker at all nothing retires."""
        unseen_s = self._snapshot.unseen_s
        age_s = unseen_s.get(fingerprint, 0.0)
        return age_s - min(unseen_s.values(), default=0.0) > self.retire_after_s

    def _read_cards(self, found: dict[bytes, bytes]) -> dict[str, ModelCard]:
        cards = {}
        for fingerprint, data in found.items():
            try:
                cards[fingerprint.decode()] = decode_card(data)
            except DecodeError:
                logger.warning("ignored a model card that cannot be read")
        return cards

    def _read_workers(self, found: dict[bytes, bytes], now_ms: int) -> dict[str, WorkerStatus]:
        workers = {}
        for worker_id, value in found.items():
            seen_ms, _, status = value.partition(b" ")
            if now_ms - int(seen_ms) < self.alive_s * 1000:
                workers[worker_id.decode()] = WorkerStatus(**json.loads(status))
        return workers

    async def _refresh_until_closed(self) -> None:
        while not self._closing:
            with suppress(QueueUnavailableError):
                await self.refresh()
            await asyncio.sleep(self.refresh_s)

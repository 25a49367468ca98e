"""The registry of workers and models: workers write heartbeats and cards, replicas read them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Self, TypeVar

from redis.asyncio import Redis

from app.background import background
from app.errors import NotFoundError, NotReadyError, QueueUnavailableError, RetiredCheckpointError
from app.queue.connection import Calls, Script, redis_errors_translated
from app.queue.keys import CARDS, CARDS_SEEN, JOBS, WORKERS, renderer_key
from app.queue.messages import ModelCard, WorkerStatus, decode_card, decode_status
from app.queue.renderers import differences

FORGET_WORKER_S = 60.0
DEFAULT_STAYS_S = 86400.0  # how long a model without workers stays the default
FORGET_MODEL_S = 7 * 86400.0  # until then its images are answered 410, after it 404
logger = logging.getLogger(__name__)
T = TypeVar("T")
FIRST_LOOK_S = 1.0  # how long a replica that starts waits for Redis


class RendererMismatchError(Exception):
    """Other workers serve this model with another renderer, which makes other bytes."""


class NameTakenError(RendererMismatchError):
    """A live worker serves this checkpoint under another name; a checkpoint has only one."""


class Heartbeats:
    """The heartbeats of one worker; the first worker of a model records its renderer."""

    def __init__(self, client: Redis, worker_id: str, *, renderer_ttl_s: float) -> None:
        self.client = client
        self.worker_id = worker_id
        self.renderer_ttl_s = renderer_ttl_s
        self.beaten_s = float("-inf")  # when the last heartbeat succeeded, by this machine's clock
        self._beat = Script(Calls(client), "heartbeat")

    async def beat(self, status: WorkerStatus, cards: Sequence[ModelCard]) -> None:
        """Registers this worker as alive, with the models that it serves.

        Raises RendererMismatchError if another renderer is recorded, QueueUnavailableError if Redis
        does not answer.
        """
        if self.beaten_s == float("-inf"):
            await self._refuse_second_names(cards)
        with redis_errors_translated():
            disputed = await self._beat(
                keys=[WORKERS, CARDS, CARDS_SEEN, *(renderer_key(c.fingerprint) for c in cards)],
                args=[
                    self.worker_id,
                    status.encode(),
                    int(FORGET_WORKER_S * 1000),
                    int(self.renderer_ttl_s * 1000),
                    int(FORGET_MODEL_S * 1000),
                    JOBS,
                    *(p for c in cards for p in (c.fingerprint, c.renderer, c.encode())),
                ],
            )
        if disputed:
            await self._refuse(next(c for c in cards if c.fingerprint == disputed.decode()))
        self.beaten_s = time.monotonic()

    async def withdraw(self) -> None:
        """Removes this worker from the registry; raises QueueUnavailableError."""
        with redis_errors_translated():
            await self.client.hdel(WORKERS, self.worker_id)

    async def remove(self, card: ModelCard) -> None:
        """Records that a model was removed, unless another live worker still serves it.

        A heartbeat of a worker that serves it takes the record back. Raises QueueUnavailableError.
        """
        with redis_errors_translated():
            removed = replace(card, removed=True).encode()
            await self.client.hset(CARDS, card.fingerprint, removed)

    async def mismatch(self, card: ModelCard) -> str | None:
        """Why a heartbeat with this card would be refused now; raises QueueUnavailableError."""
        with redis_errors_translated():
            recorded = await self.client.get(renderer_key(card.fingerprint))
        other = recorded.decode() if isinstance(recorded, bytes) else card.renderer
        return None if other == card.renderer else self._told(card, other)

    async def _refuse_second_names(self, cards: Sequence[ModelCard]) -> None:
        """Raises NameTakenError if a live worker has one of the checkpoints under another name."""
        registry = ModelCards(self.client)
        await registry.refresh()
        named = {card.fingerprint: card.name for card in registry.current()}
        for card in cards:
            other = named.get(card.fingerprint, card.name)
            if other != card.name and registry.others_live(card.fingerprint, self.worker_id):
                raise NameTakenError(
                    f"checkpoint {card.fingerprint[:12]} is served as {other!r} by another worker "
                    f"and as {card.name!r} by this one: a checkpoint has one name, so give both "
                    "the same, or stop the others before you rename it"
                )

    async def _refuse(self, card: ModelCard) -> None:
        with redis_errors_translated():
            recorded = await self.client.get(renderer_key(card.fingerprint))
        other = recorded.decode() if isinstance(recorded, bytes) else "another one"
        raise RendererMismatchError(self._told(card, other))

    def _told(self, card: ModelCard, other: str) -> str:
        return (
            f"checkpoint {card.fingerprint[:12]} is served by renderer {other} and this worker's "
            f"is {card.renderer}. They differ in {differences(card.renderer, other)}. Or start "
            f"this one {self.renderer_ttl_s:g} s after the last of the others stopped"
        )


class _Snapshot:
    """The registry as it was read once; lookups use what is computed here."""

    def __init__(
        self,
        cards: Mapping[str, ModelCard],
        unseen_s: Mapping[str, float],
        workers: Mapping[str, WorkerStatus],
        retire_after_s: float,
    ) -> None:
        self.cards = cards  # by fingerprint, in no order
        self.workers = workers  # the live ones, by id
        self.live = {f for status in workers.values() for f in status.fingerprints}
        latest_s: dict[str, float] = {}  # by name, when a checkpoint of that name was last seen
        for fingerprint, card in cards.items():
            seen_s = unseen_s.get(fingerprint, 0.0)
            latest_s[card.name] = min(latest_s.get(card.name, seen_s), seen_s)
        # A checkpoint retires when another one has had its name for so long, or when its operator
        # has removed it: one whose workers are gone is missing, not retired.
        self.retired = {
            fingerprint
            for fingerprint, card in cards.items()
            if unseen_s.get(fingerprint, 0.0) - latest_s[card.name] > retire_after_s
            or (card.removed and fingerprint not in self.live)
        }

        def rank(card: ModelCard) -> tuple[str, bool, float, str]:
            is_live = card.fingerprint in self.live
            card_unseen_s = 0.0 if is_live else unseen_s.get(card.fingerprint, 0.0)
            return card.name, not is_live, card_unseen_s, card.fingerprint

        served = (card for fingerprint, card in cards.items() if fingerprint not in self.retired)
        self.current = tuple(sorted(served, key=rank))
        self.default = self._default(unseen_s)

    def _default(self, unseen_s: Mapping[str, float]) -> ModelCard | None:
        """The first model by name that had a worker of late, or the first of all.

        A request without a model must not get another model's image while a worker is away.
        """
        first = self.current[0] if self.current else None
        for card in self.current:
            unseen = unseen_s.get(card.fingerprint, 0.0)
            if card.fingerprint in self.live or unseen < DEFAULT_STAYS_S:
                return card
        return first


class ModelCards:
    """A copy of the registry that is refreshed in the background while `running`.

    Lookups do not access Redis. While Redis is unreachable the last copy stays, and `fresh` is
    False.
    """

    def __init__(
        self, client: Redis, *, heartbeat_s: float = 1.0, retire_after_s: float = 300.0
    ) -> None:
        self.client = client
        self.refresh_s = heartbeat_s / 2
        self.alive_s = 3 * heartbeat_s
        self.retire_after_s = retire_after_s
        self._snapshot = _Snapshot({}, {}, {}, retire_after_s)
        self._read_cards: dict[bytes, ModelCard] = {}  # decoded cards by their JSON
        self._refreshed_s = float("-inf")
        self._began_s = time.monotonic()
        self._ready_s = self._began_s  # when a live worker was last known
        self._live_s: dict[str, float] = {}  # the same, by fingerprint
        self._looked = asyncio.Event()
        self._failing = False
        self._ignored: dict[str, set[bytes]] = {}  # what the log has a line about, by kind

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Refreshes the copy inside the block, which begins after the first read.

        Without that read a restarted replica would refuse requests of a proxy that has not noticed
        the restart. If Redis hangs, the block begins after FIRST_LOOK_S.
        """
        async with background(self._refresh_soon, "model cards"):
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_LOOK_S):
                    await self._looked.wait()
            yield self

    @property
    def fresh(self) -> bool:
        """Whether Redis replied recently."""
        return time.monotonic() - self._refreshed_s < self.alive_s

    @property
    def ready(self) -> bool:
        """Whether Redis replied recently and a worker is alive that serves a model."""
        return self.fresh and any(w.fingerprints for w in self._snapshot.workers.values())

    def unready_s(self, fingerprint: str | None = None) -> float:
        """The seconds since a live worker of this model (None: of any model) was last known.

        It counts from when Redis became unreachable or the last worker died.
        """
        known_s = self._ready_s if fingerprint is None else self._live_s.get(fingerprint)
        return time.monotonic() - (self._began_s if known_s is None else known_s)

    def current(self) -> tuple[ModelCard, ...]:
        """The cards of the served models; a dead worker's models stay for a while.

        They are sorted by name. Of the models with the same name, those with a live worker come
        first, and then those that were seen last.
        """
        return self._snapshot.current

    def workers_ready(self, fingerprint: str | None = None) -> int:
        """How many live workers serve this model (None: any)."""
        workers = self._snapshot.workers.values()
        return sum(fingerprint is None or fingerprint in w.fingerprints for w in workers)

    def workers_loaded(self, fingerprint: str) -> int:
        """How many live workers have this model in memory."""
        serving = [w for w in self._snapshot.workers.values() if fingerprint in w.fingerprints]
        return sum(w.loaded is None or fingerprint in w.loaded for w in serving)

    def workers_by_model(self) -> dict[str, int]:
        """How many live workers each model has, by its name."""
        found: dict[str, int] = {}
        for card in self.current():
            found[card.name] = found.get(card.name, 0) + self.workers_ready(card.fingerprint)
        return found

    def others_live(self, fingerprint: str, worker_id: str) -> bool:
        """Whether another worker than this one is alive and serves this model."""
        workers = self._snapshot.workers.items()
        return any(name != worker_id and fingerprint in one.fingerprints for name, one in workers)

    def images_per_s(self, fingerprint: str) -> float:
        """The throughput of all live workers of this model when busy; 0 when it is unknown."""
        workers = self._snapshot.workers.values()
        return sum(w.images_per_s for w in workers if fingerprint in w.fingerprints)

    def named(self, name: str | None = None) -> ModelCard:
        """The card with this name, fingerprint, or first digits of a fingerprint.

        None stands for the first model by name that had a worker within DEFAULT_STAYS_S, or the
        first of all.

        Raises NotFoundError, RetiredCheckpointError, and NotReadyError while no worker has
        published a card.
        """
        if (default := self._snapshot.default) is None:
            raise NotReadyError("no worker has registered a model yet")
        if name is None:
            return default
        for card in self.current():
            if card.name == name:
                return card
        return self.of_fingerprint(name)

    def of_fingerprint(self, prefix: str) -> ModelCard:
        """The card whose fingerprint starts with `prefix` (12 digits or more).

        Raises NotFoundError, RetiredCheckpointError, and NotReadyError while no worker has
        published a card.
        """
        if not self._snapshot.cards:
            raise NotReadyError("no worker has registered a model yet")
        for fingerprint, card in self._snapshot.cards.items():
            if len(prefix) >= 12 and fingerprint.startswith(prefix):
                if fingerprint in self._snapshot.retired:
                    raise RetiredCheckpointError(f"checkpoint {prefix} is no longer served")
                return card
        names = ", ".join(card.name for card in self.current())
        raise NotFoundError(f"no model is called {prefix!r}; the models are {names}")

    async def refresh(self) -> None:
        """Reads the registry now; raises QueueUnavailableError."""
        pipe = self.client.pipeline(transaction=False)
        pipe.time()
        pipe.hgetall(WORKERS)
        pipe.hgetall(CARDS)
        pipe.hgetall(CARDS_SEEN)
        with redis_errors_translated():
            (seconds, micros), workers, cards, seen = await pipe.execute()
        now_ms = seconds * 1000 + micros // 1000
        self._snapshot = _Snapshot(
            cards=self._readable_cards(cards),
            unseen_s={
                f: max(0, now_ms - ms) / 1000
                for f, ms in self._readable("time of a model", seen, int).items()
            },
            workers=self._readable_workers(workers, now_ms),
            retire_after_s=self.retire_after_s,
        )
        self._refreshed_s = time.monotonic()
        if self.ready:
            self._ready_s = self._refreshed_s
        known = self._snapshot.cards
        self._live_s = {f: since_s for f, since_s in self._live_s.items() if f in known}
        self._live_s |= dict.fromkeys(self._snapshot.live, self._refreshed_s)

    def _readable_cards(self, found: dict[bytes, bytes]) -> dict[str, ModelCard]:
        """The cards by fingerprint; a card whose JSON has not changed is the same object."""

        def read(value: bytes) -> ModelCard:
            return self._read_cards.get(value) or decode_card(value)

        cards = self._readable("model card", found, read)
        self._read_cards = {found[name.encode()]: card for name, card in cards.items()}
        return cards

    def _readable_workers(self, found: dict[bytes, bytes], now_ms: int) -> dict[str, WorkerStatus]:
        beats = self._readable("heartbeat", found, _read_beat)
        alive_ms = self.alive_s * 1000
        # A heartbeat of the future was sent before Redis's clock was set back.
        return {n: status for n, (ms, status) in beats.items() if abs(now_ms - ms) < alive_ms}

    def _readable(
        self, what: str, found: Mapping[bytes, bytes], read: Callable[[bytes], T]
    ) -> dict[str, T]:
        """The decoded members of a hash; others are ignored, and the log has a line about each."""
        members, told, ignored = {}, self._ignored.get(what, set()), set()
        for name, value in found.items():
            try:
                members[name.decode()] = read(value)
            except ValueError as error:
                ignored.add(name)
                if name not in told:
                    logger.warning("ignored a %s that a worker registered: %s", what, error)
        self._ignored[what] = ignored
        return members

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


def _read_beat(value: bytes) -> tuple[int, WorkerStatus]:
    """The time of a heartbeat in ms by Redis's clock, and the status; raises ValueError."""
    seen_ms, _, status = value.partition(b" ")
    return int(seen_ms), decode_status(status)

"""Heartbeats: a worker tells that it lives, what it serves and with which renderer."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from redis.asyncio import Redis

from app.queue.connection import KEY_PREFIX, Calls, Script, redis_errors_told
from app.queue.messages import ModelCard, decode

WORKERS = f"{KEY_PREFIX}:workers"  # hash: worker id -> "<ms by Redis's clock> <status>"
CARDS = f"{KEY_PREFIX}:cards"  # hash: fingerprint -> card
CARDS_SEEN = f"{KEY_PREFIX}:cards-seen"  # hash: fingerprint -> ms by Redis's clock
FORGET_WORKER_S = 60.0
FORGET_MODEL_S = 7 * 86400.0  # until then its pictures are 410, and 404 after it


def renderer_key(fingerprint: str) -> str:
    """Holds the renderer that every worker of a model has."""
    return f"{KEY_PREFIX}:renderer:{fingerprint}"


class RendererMismatchError(Exception):
    """Other workers serve this model with another renderer, so their bytes would differ."""


@dataclass(frozen=True)
class WorkerStatus:
    """What a worker tells of itself with each heartbeat."""

    fingerprints: tuple[str, ...]
    device: str
    pid: int
    num_images: int = 0  # since it started
    images_per_s: float = 0.0  # while its device was busy; 0 before the first batch

    def encode(self) -> bytes:
        """JSON that `decode_status` reads back to an equal status."""
        return json.dumps(asdict(self)).encode()


def decode_status(data: bytes) -> WorkerStatus:
    """The status that `WorkerStatus.encode` wrote; raises DecodeError for anything else.

    Members that only a newer worker knows are passed over.
    """

    def build(members: dict[str, object]) -> WorkerStatus:
        fingerprints, known = members["fingerprints"], WorkerStatus.__dataclass_fields__
        if not isinstance(fingerprints, list):
            raise TypeError("fingerprints is not a list")
        if not isinstance(members.get("images_per_s", 0.0), int | float):
            raise TypeError("images_per_s is not a number")
        members["fingerprints"] = tuple(map(str, fingerprints))
        return WorkerStatus(**{k: v for k, v in members.items() if k in known})  # type: ignore[arg-type]

    return decode(data, "worker status", build)


class Heartbeats:
    """One worker's heartbeats; the first worker of a model records its renderer for all."""

    def __init__(self, client: Redis, worker_id: str, *, renderer_ttl_s: float) -> None:
        self.client = client
        self.worker_id = worker_id
        self.renderer_ttl_s = renderer_ttl_s
        self.beaten_s = float("-inf")  # when Redis last took a beat, by this machine's clock
        self._beat = Script(Calls(client), "heartbeat")

    async def beat(self, status: WorkerStatus, cards: Sequence[ModelCard]) -> None:
        """Shows this worker, warm, and the models it serves.

        Raises RendererMismatchError when another renderer is on record, QueueUnavailableError.
        """
        with redis_errors_told():
            disputed = await self._beat(
                keys=[WORKERS, CARDS, CARDS_SEEN, *(renderer_key(c.fingerprint) for c in cards)],
                args=[
                    self.worker_id,
                    status.encode(),
                    int(FORGET_WORKER_S * 1000),
                    int(self.renderer_ttl_s * 1000),
                    int(FORGET_MODEL_S * 1000),
                    f"{KEY_PREFIX}:jobs:",
                    *(p for c in cards for p in (c.fingerprint, c.renderer, c.encode())),
                ],
            )
        if disputed:
            await self._refuse(next(c for c in cards if c.fingerprint == disputed.decode()))
        self.beaten_s = time.monotonic()

    async def withdraw(self) -> None:
        """Takes this worker off the list at once; raises QueueUnavailableError."""
        with redis_errors_told():
            await self.client.hdel(WORKERS, self.worker_id)

    async def _refuse(self, card: ModelCard) -> None:
        with redis_errors_told():
            recorded = await self.client.get(renderer_key(card.fingerprint))
        other = recorded.decode() if isinstance(recorded, bytes) else "another one"
        raise RendererMismatchError(
            f"checkpoint {card.fingerprint[:12]} is served by renderer {other} and this worker's "
            f"is {card.renderer}: give all its workers the same SAGAN_DEVICE and SAGAN_PRECISION, "
            f"or start this one {self.renderer_ttl_s:g} s after the last of the others stopped"
        )

"""OrderBook: the orders, which HTTP calls jobs: images that a client asked for without waiting.

An order has up to 100,000 images of one class. It is one record in Redis, whatever its size: the
seeds follow from the first one, and so do the image ids. The images are drawn in chunks of up to 64
through the queue, as bulk jobs.

Who draws it: the replica that holds its lease (OrderDriver). A lease lasts LEASE_MS by Redis's
clock and is renewed several times a second. If its replica dies, another one takes the order over
when the lease has ended; it draws the chunks that have no bit in `order-drawn`. A chunk is stored
by one script that also sets its bit, so it counts once, whoever drew it. Every replica takes the
oldest orders first.

Where the files are: in Redis, until the order expires, so that a result is read as often as one
likes and is drawn once. They are bounded by SAGAN_JOB_MAX_BYTES for all orders together. When that
room is used up, files that a client has received are dropped. If there are none, the order waits
for a reader: it then draws up to four chunks for each reader, whatever the bound. A dropped file
that is read again is drawn again, and has the same bytes, because an image id determines them.

What is bounded: SAGAN_MAX_JOBS orders that have not ended (further ones get 429), MAX_ENDED ended
ones, their age (SAGAN_JOB_TTL_S after the admission, and again after the end), their files, and the
orders and chunks that a replica draws at once. An order that waits for a reader while others wait
for a replica goes to the end of the line.

What it survives: kill -9 of replicas and workers; of Redis if it has an append-only file. If Redis
loses its data, the orders are lost, and a client gets 404.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, cast

from pydantic import TypeAdapter
from redis.asyncio import Redis

from app.errors import RequestInFlightError, ReusedKeyError, TooManyJobsError
from app.queue.connection import Calls, Part, Script, redis_errors_translated
from app.queue.keys import (
    ORDER_WEBHOOKS,
    ORDERS,
    ORDERS_ENDED,
    ORDERS_KEPT,
    idempotency_key,
    order_drawn_key,
    order_files_key,
    order_key,
    order_read_key,
    order_wanted_key,
)
from app.queue.messages import WHOLE, FileFormat, Job, format_image_id, new_id
from app.settings import Settings

State = Literal["queued", "running", "done", "failed", "cancelled"]
Stored = Literal["stored", "known", "done", "full", "over"]
Lease = Literal["held", "busy", "over"]
UNFINISHED: Final[tuple[State, ...]] = ("queued", "running")
LEASE_MS = 5000
RESERVED_MS = 10_000  # how long an idempotency key of a replica that died is in flight
WANTED_MS = 10_000  # how long a reader's wish lasts; readers renew it
TAKEN_MS = 120_000  # how long a webhook belongs to the replica that sends it
MAX_ENDED = 1000
MAX_CHUNK_IMAGES = 64
MAX_CHUNK_PIXELS = 2**20
RETRY_AFTER_S = 30  # of a client that finds too many orders
_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Order:
    """What was ordered; image i has `seed` + i. `owner` is the client's name if keys are set."""

    fingerprint: str
    label: int
    seed: int
    num_images: int
    chunk_images: int
    output: FileFormat = "png"
    truncation_thousandths: int | None = None
    attention_scale_thousandths: int = WHOLE
    model: str = ""
    class_name: str = ""
    owner: str = ""
    webhook: str = ""
    request_id: str | None = None
    order_id: str = field(default_factory=new_id)
    version: Literal[1] = 1

    @property
    def num_chunks(self) -> int:
        """How many chunks the images make."""
        return math.ceil(self.num_images / self.chunk_images)

    def places(self, chunk: int) -> range:
        """Which images are in the chunk, counted from 0."""
        first = chunk * self.chunk_images
        return range(first, min(first + self.chunk_images, self.num_images))

    def image_id(self, place: int) -> str:
        """The image id of one of its images."""
        return format_image_id(
            self.fingerprint,
            self.label,
            self.seed + place,
            self.truncation_thousandths,
            self.attention_scale_thousandths,
        )

    def jobs(self, chunk: int) -> list[Job]:
        """New jobs that draw the images of a chunk."""
        return [
            Job(
                fingerprint=self.fingerprint,
                label=self.label,
                seed=self.seed + place,
                truncation_thousandths=self.truncation_thousandths,
                attention_scale_thousandths=self.attention_scale_thousandths,
                output=self.output,
                priority="bulk",
                request_id=self.request_id,
            )
            for place in self.places(chunk)
        ]


_ORDER = TypeAdapter(Order)


@dataclass(frozen=True)
class OrderStatus:
    """An order and how far it is; `drawn` has a bit for each chunk, the first one highest.

    `num_ahead` is how many unfinished orders come first.
    """

    order: Order
    state: State
    num_drawn: int
    drawn: bytes
    detail: str
    images_per_s: float
    num_ahead: int
    admitted_ms: int
    ended_ms: int | None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state not in UNFINISHED

    def has_drawn(self, chunk: int) -> bool:
        """Whether this chunk was drawn."""
        byte, bit = divmod(chunk, 8)
        return byte < len(self.drawn) and bool(self.drawn[byte] & (128 >> bit))

    def missing(self) -> Iterator[int]:
        """The chunks that were not drawn, in their order."""
        return (chunk for chunk in range(self.order.num_chunks) if not self.has_drawn(chunk))


@dataclass(frozen=True)
class Reservation:
    """An idempotency key that a request holds until its order is admitted."""

    key: str
    digest: str
    token: str = field(default_factory=new_id)

    @property
    def pending(self) -> str:
        """What the key holds meanwhile."""
        return f"{self.digest} ?{self.token}"


def chunk_images(resolution: int, bulk_limit: int) -> int:
    """How many images of this resolution (px) make a chunk; half the queue's limit at most."""
    return max(1, min(MAX_CHUNK_IMAGES, MAX_CHUNK_PIXELS // resolution**2, bulk_limit // 2))


def packed(bodies: Sequence[bytes]) -> bytes:
    """The files of a chunk, each behind its length."""
    return b"".join(len(body).to_bytes(_LENGTH_BYTES, "big") + body for body in bodies)


def unpacked(data: bytes) -> list[bytes]:
    """The files that `packed` joined."""
    bodies, at = [], 0
    while at < len(data):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "big")
        bodies.append(data[start:at])
    return bodies


class OrderBook:
    """Reads and changes orders in Redis; every call raises QueueUnavailableError."""

    def __init__(self, client: Redis, *, max_orders: int, max_bytes: int, ttl_s: float) -> None:
        self.client = client
        self.max_orders = max_orders
        self.max_bytes = max_bytes
        self.ttl_ms = int(ttl_s * 1000)
        calls = Calls(client)
        self._admit = Script(calls, "admit_order")
        self._lease = Script(calls, "lease_order")
        self._store = Script(calls, "store_chunk")
        self._end = Script(calls, "end_order")
        self._drop_read = Script(calls, "drop_read")
        self._release = Script(calls, "release_key")
        self._take_webhook = Script(calls, "take_webhook")

    async def reserve(self, client: str, key: str, digest: str) -> Reservation | str:
        """Holds the client's Idempotency-Key, or returns the id of the order that it made.

        `key` and `digest` are digests of the key and of the request.
        Raises ReusedKeyError, RequestInFlightError.
        """
        held = Reservation(idempotency_key(client, key), digest)
        with redis_errors_translated():
            if await self.client.set(held.key, held.pending, px=RESERVED_MS, nx=True):
                return held
            found = cast(bytes | None, await self.client.get(held.key))
        former, _, made = (found or b"").decode().partition(" ")
        if found and former != digest:
            raise ReusedKeyError("this Idempotency-Key was sent with another request: use another")
        if not made or made.startswith("?"):
            raise RequestInFlightError(
                "the request with this Idempotency-Key is not answered yet", retry_after_s=1
            )
        return made

    async def release(self, held: Reservation) -> None:
        """Frees the key of a request that made no order."""
        with redis_errors_translated():
            await self._release(keys=[held.key], args=[held.pending])

    async def admit(self, order: Order, held: Reservation | None = None) -> None:
        """Adds an order; raises TooManyJobsError, RequestInFlightError (the key is lost)."""
        name = order.order_id
        key, pending = (held.key, held.pending) if held else (order_key(name), "")
        made = f"{held.digest} {name}" if held else ""
        args: list[Part] = [
            name,
            self.max_orders,
            self.ttl_ms,
            _ORDER.dump_json(order, exclude_defaults=True),
        ]
        with redis_errors_translated():
            admitted, waiting = await self._admit(
                keys=[ORDERS, order_key(name), key],
                args=[*args, order.num_images, pending, made, order.webhook],
            )
        if admitted < 0:
            raise RequestInFlightError("the Idempotency-Key is no longer held", retry_after_s=1)
        if not admitted:
            raise TooManyJobsError(
                f"{waiting} jobs are unfinished, the most that may be: retry when one has ended",
                retry_after_s=RETRY_AFTER_S,
            )

    async def status(self, order_id: str) -> OrderStatus | None:
        """How far the order is; None if there is no such order."""
        pipe = self.client.pipeline(transaction=True)
        pipe.hgetall(order_key(order_id))
        pipe.get(order_drawn_key(order_id))
        pipe.zrank(ORDERS, order_id)
        with redis_errors_translated():
            found, drawn, rank = await pipe.execute()
        return _status(found, drawn or b"", rank or 0) if b"order" in found else None

    async def unfinished(self) -> list[str]:
        """The ids of the orders that have not ended, the oldest first."""
        with redis_errors_translated():
            found = cast(list[bytes], await self.client.zrange(ORDERS, 0, -1))
        return [one.decode() for one in found]

    async def states(self) -> dict[str, int]:
        """How many orders are queued, and how many running."""
        ids = await self.unfinished()
        pipe = self.client.pipeline(transaction=False)
        for order_id in ids:
            pipe.hget(order_key(order_id), "state")
        with redis_errors_translated():
            found = await pipe.execute() if ids else []
        return {state: found.count(state.encode()) for state in UNFINISHED}

    async def lease(self, order_id: str, replica: str) -> Lease:
        """Takes or renews the order's lease for this replica."""
        with redis_errors_translated():
            answer: bytes = await self._lease(
                keys=[ORDERS, order_key(order_id)], args=[order_id, replica, LEASE_MS]
            )
        return cast(Lease, answer.decode())

    async def leave(self, order_id: str, *, last: bool = False) -> None:
        """Ends this replica's lease; `last` puts the order behind all others."""
        pipe = self.client.pipeline(transaction=False)
        pipe.time()
        pipe.hset(order_key(order_id), "until_ms", 0)
        with redis_errors_translated():
            (seconds, micros), _ = await pipe.execute()
            if last:
                await self.client.zadd(ORDERS, {order_id: seconds * 10**6 + micros}, xx=True)

    async def store(
        self, order: Order, chunk: int, files: bytes, *, images_per_s: float, beyond: bool = False
    ) -> Stored:
        """Keeps the files of a chunk and counts it as drawn, in one step.

        With `beyond` they are kept even if all files exceed the bound: a reader waits for them.
        """
        name = order.order_id
        keys = [*_keys(name)[:4], ORDERS, ORDERS_ENDED, ORDER_WEBHOOKS]
        num_images, bound = len(order.places(chunk)), self.max_bytes
        args: list[Part] = [name, chunk, num_images, files, bound, int(beyond)]
        with redis_errors_translated():
            answer: bytes = await self._store(
                keys=keys, args=[*args, f"{images_per_s:.3f}", self.ttl_ms]
            )
        return cast(Stored, answer.decode())

    async def end(self, order_id: str, state: State, detail: str = "") -> State | None:
        """Ends an order that is not done; its files are deleted.

        Returns the state that it had before, or None if there is no such order.
        """
        keys = [*_keys(order_id)[:4], ORDERS, ORDERS_ENDED, ORDER_WEBHOOKS]
        with redis_errors_translated():
            former: bytes = await self._end(keys=keys, args=[order_id, state, detail, self.ttl_ms])
        return cast(State, former.decode()) or None

    async def forget(self, *order_ids: str) -> None:
        """Deletes all that there is of ended orders."""
        pipe = self.client.pipeline(transaction=True)
        for order_id in order_ids:
            order, drawn, files, _, read, wanted = _keys(order_id)
            pipe.unlink(order, drawn, files, read, wanted)
            pipe.hdel(ORDERS_KEPT, order_id)
            pipe.zrem(ORDERS_ENDED, order_id)
        with redis_errors_translated():
            await pipe.execute()

    async def sweep(self) -> None:
        """Forgets ended orders beyond MAX_ENDED, and what expired ones have left."""
        with redis_errors_translated():
            surplus = await self.client.zrange(ORDERS_ENDED, 0, -MAX_ENDED - 1)
            kept = await self.client.hkeys(ORDERS_KEPT)
            ended = await self.client.zrange(ORDERS_ENDED, 0, -1)
            known = sorted({*kept, *ended})
            pipe = self.client.pipeline(transaction=False)
            for name in known:
                pipe.exists(order_key(name.decode()))
            alive = await pipe.execute() if known else []
        gone = [name for name, exists in zip(known, alive, strict=True) if not exists]
        if names := {one.decode() for one in (*surplus, *gone)}:
            await self.forget(*names)

    async def files(self, order_id: str, chunk: int) -> list[bytes] | None:
        """The files of a chunk; None if they are not kept."""
        with redis_errors_translated():
            data = cast(bytes | None, await self.client.hget(order_files_key(order_id), str(chunk)))
        return None if data is None else unpacked(data)

    async def want(self, order_id: str, chunk: int) -> None:
        """Says that a reader waits for this chunk, for the next WANTED_MS."""
        key = order_wanted_key(order_id)
        pipe = self.client.pipeline(transaction=False)
        now_ms = await self._now_ms()
        pipe.zadd(key, {str(chunk): now_ms + WANTED_MS})
        pipe.pexpire(key, WANTED_MS)
        with redis_errors_translated():
            await pipe.execute()

    async def is_wanted(self, order_id: str, chunk: int) -> bool:
        """Whether a reader waits for this chunk."""
        with redis_errors_translated():
            until_ms = await self.client.zscore(order_wanted_key(order_id), str(chunk))
        return until_ms is not None and 0 < until_ms - await self._now_ms() <= WANTED_MS

    async def mark_read(self, order_id: str, chunk: int) -> None:
        """Says that a reader has received the chunk, so that its files may be dropped."""
        key = order_read_key(order_id)
        pipe = self.client.pipeline(transaction=False)
        pipe.sadd(key, str(chunk))
        pipe.pexpire(key, self.ttl_ms)
        pipe.zrem(order_wanted_key(order_id), str(chunk))
        with redis_errors_translated():
            await pipe.execute()

    async def make_room(self, num_bytes: int) -> bool:
        """Drops received files until `num_bytes` are free; whether any was dropped."""
        freed = 0
        for order_id in await self.kept():
            _, _, files, kept, read, _ = _keys(order_id)
            while freed < num_bytes:
                with redis_errors_translated():
                    one: int = await self._drop_read(keys=[files, read, kept], args=[order_id, 4])
                if not one:
                    break
                freed += one
        return freed > 0

    async def kept(self) -> Mapping[str, int]:
        """The bytes that are kept, by order."""
        with redis_errors_translated():
            found = cast(dict[bytes, bytes], await self.client.hgetall(ORDERS_KEPT))
        return {name.decode(): int(num_bytes) for name, num_bytes in found.items()}

    async def due_webhook(self) -> str | None:
        """Takes the next order whose webhook is due; it is due again after TAKEN_MS."""
        with redis_errors_translated():
            found: bytes | None = await self._take_webhook(keys=[ORDER_WEBHOOKS], args=[TAKEN_MS])
        return found.decode() if found else None

    async def webhook_sent(self, order_id: str) -> None:
        """Removes an order's webhook: it was sent, or given up."""
        with redis_errors_translated():
            await self.client.zrem(ORDER_WEBHOOKS, order_id)

    async def _now_ms(self) -> int:
        with redis_errors_translated():
            seconds, micros = await self.client.time()
        return int(seconds * 1000 + micros // 1000)


def open_orders(client: Redis, settings: Settings) -> OrderBook:
    """The orders, with the bounds of the settings."""
    return OrderBook(
        client,
        max_orders=settings.max_jobs,
        max_bytes=settings.job_max_bytes,
        ttl_s=settings.job_ttl_s,
    )


def _keys(order_id: str) -> tuple[str, str, str, str, str, str]:
    """Its record, drawn bits, files, the bytes of all orders, chunks read and wanted."""
    own = (order_key(order_id), order_drawn_key(order_id), order_files_key(order_id))
    return (*own, ORDERS_KEPT, order_read_key(order_id), order_wanted_key(order_id))


def _status(found: Mapping[bytes, bytes], drawn: bytes, num_ahead: int) -> OrderStatus:
    ended = found.get(b"ended_ms")
    return OrderStatus(
        order=_ORDER.validate_json(found[b"order"]),
        state=cast(State, found[b"state"].decode()),
        num_drawn=int(found[b"num_drawn"]),
        drawn=drawn,
        detail=found.get(b"detail", b"").decode(),
        images_per_s=float(found.get(b"images_per_s", 0)),
        num_ahead=num_ahead,
        admitted_ms=int(found[b"admitted_ms"]),
        ended_ms=None if ended is None else int(ended),
    )

"""Services: what the endpoints of one replica share, opened and closed with the application."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from starlette.requests import Request

from app.api.class_lookup import ClassLookup, ClassLookups
from app.api.webhooks import Webhooks
from app.errors import InvalidValueError, NotFoundError
from app.queue.admission import JobQueue
from app.queue.client import JobClient, ReplyStream
from app.queue.connection import connect, connect_blocking
from app.queue.messages import ModelCard
from app.queue.order_driver import OrderDriver
from app.queue.orders import OrderBook, open_orders
from app.queue.rate_limit import ClientLimits, open_limits
from app.queue.registry import ModelCards
from app.settings import Settings, require_redis_url
from app.telemetry import ApiMetrics, Tracing
from class_names import MAX_NAME_LENGTH, compatible

DEFAULT_MAX_BYTES = 64 * 1024 * 1024
OVERHEAD_BYTES = 512  # of an entry beside its body, roughly
NUM_COMBINERS = 2  # threads; each may need several times the memory of MAX_PIXELS
MAX_VERIFICATIONS = 32  # files of clients that are in memory at once
CLIENT_NAME = "sagan-api"


@dataclass(frozen=True)
class EncodedFile:
    """The body of an image or attention map and its media type."""

    body: bytes
    media_type: str


class ImageCache:
    """Encoded files by entity tag, at most `max_bytes`; the least recently used are dropped."""

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._files: OrderedDict[str, EncodedFile] = OrderedDict()

    def __len__(self) -> int:
        return len(self._files)

    def get(self, etag: str) -> EncodedFile | None:
        """The file with this tag, which becomes the most recently used."""
        file = self._files.get(etag)
        if file is not None:
            self._files.move_to_end(etag)
        return file

    def put(self, etag: str, file: EncodedFile) -> None:
        """Stores a file, unless it is larger than the cache, and drops others to make room."""
        size_bytes = len(file.body) + OVERHEAD_BYTES
        if size_bytes > self.max_bytes:
            return
        if (former := self._files.pop(etag, None)) is not None:
            self.size_bytes -= len(former.body) + OVERHEAD_BYTES
        self._files[etag] = file
        self.size_bytes += size_bytes
        while self.size_bytes > self.max_bytes:
            _, dropped = self._files.popitem(last=False)
            self.size_bytes -= len(dropped.body) + OVERHEAD_BYTES


@dataclass
class Services:
    """The settings, registry, job client, queue, orders and cache of one replica.

    `order_limits` are the client's limits without the bound of images in flight, which a job would
    exceed at once. `num_readers` counts results of jobs that are being sent.
    """

    settings: Settings
    metrics: ApiMetrics
    cards: ModelCards
    jobs: JobClient
    queue: JobQueue
    combiners: ThreadPoolExecutor
    orders: OrderBook
    driver: OrderDriver
    limits: ClientLimits | None = None
    order_limits: ClientLimits | None = None
    num_readers: int = 0
    cache: ImageCache = field(default_factory=ImageCache)
    verifications: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(MAX_VERIFICATIONS)
    )
    lookups: ClassLookups = field(default_factory=ClassLookups)

    def model(self, name: str | None) -> ModelCard:
        """The card of the model in a request (None: the default).

        Raises InvalidValueError, NotReadyError, RetiredCheckpointError.
        """
        try:
            return self.cards.named(name)  # the usual case
        except NotFoundError:
            pass
        try:
            return self.card_named(name)
        except NotFoundError as error:
            names = [card.name for card in self.cards.current()]
            raise InvalidValueError(
                error.detail, extra={"fields": ["model"], "models": names}
            ) from None

    def card_named(self, name: str | None) -> ModelCard:
        """The same as `model`, but raises NotFoundError for a name that no model has.

        A name that is spelt exactly comes before one that is equal in Unicode's form NFKC.
        """
        try:
            return self.cards.named(name)
        except NotFoundError:
            if name is not None and len(name) <= MAX_NAME_LENGTH:
                for card in self.cards.current():
                    if compatible(card.name) == compatible(name):
                        return card
            raise

    def label(self, card: ModelCard, key: str, field: str = "class") -> int:
        """The label of a class by name, WordNet id, alias or index.

        `field` is the field of the request that has `key`. Raises UnknownClassError,
        AmbiguousClassError.
        """
        label = card.labels.get(key)  # the usual case: exactly a name
        return self.classes(card).label(key, field) if label is None else label

    def classes(self, card: ModelCard) -> ClassLookup:
        """The classes of a model."""
        return self.lookups.of(card)

    def timeout_ms(self, wanted_ms: int | None) -> int:
        """The timeout of a request; raises InvalidValueError if it exceeds the limit."""
        if wanted_ms is None:
            return self.settings.default_timeout_ms
        if wanted_ms > (max_ms := self.settings.max_timeout_ms):
            raise InvalidValueError(
                f"timeout_ms={wanted_ms} is more than the limit, {max_ms}",
                extra={"fields": ["timeout_ms"]},
            )
        return wanted_ms


@asynccontextmanager
async def open_services(
    settings: Settings, metrics: ApiMetrics, tracing: Tracing | None
) -> AsyncIterator[Services]:
    """Creates the clients of Redis, which may be unreachable; closes all in reverse order."""
    url, timeout_s = require_redis_url(settings), settings.redis_timeout_s
    client = connect(url, CLIENT_NAME, timeout_s=timeout_s)
    blocking = connect_blocking(url, CLIENT_NAME, timeout_s=timeout_s)
    queue = JobQueue(
        client, max_images=settings.max_queue_images, max_bulk_images=settings.max_bulk_images
    )
    cards = ModelCards(
        client, heartbeat_s=settings.heartbeat_s, retire_after_s=settings.retire_after_s
    )
    replies = ReplyStream(blocking, ttl_s=settings.reply_ttl_s)
    jobs = JobClient(queue, replies, metrics, cards, tracing)
    limits = open_limits(client, settings)
    order_limits = ClientLimits(client, settings.rate, None) if settings.rate else None
    orders = open_orders(client, settings)
    driver = OrderDriver(orders, jobs, metrics, timeout_ms=settings.max_timeout_ms)
    webhooks = Webhooks(orders, settings, metrics)
    combiners = ThreadPoolExecutor(NUM_COMBINERS, "sheet")
    try:
        async with (
            cards.running(),
            jobs.running(),
            driver.running(),
            webhooks.running(),
        ):
            shared = (settings, metrics, cards, jobs, queue, combiners, orders, driver)
            yield Services(*shared, limits, order_limits)
    finally:
        for one in (limits, order_limits):
            if one is not None:
                await one.close()
        combiners.shutdown(wait=False, cancel_futures=True)
        await blocking.aclose()
        await client.aclose()


def services_of(request: Request) -> Services:
    """The services of the application, from the request's state."""
    return cast(Services, request.state.services)

"""Services: what the handlers of one replica share, opened and closed with the application."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from starlette.requests import Request

from app.api.class_lookup import ClassLookup, ClassLookups
from app.errors import InvalidValueError, NotFoundError
from app.queue.admission import JobQueue
from app.queue.client import JobClient, ReplyStream
from app.queue.connection import connect, connect_blocking
from app.queue.messages import ModelCard
from app.queue.rate_limit import ClientLimits, open_limits
from app.queue.registry import ModelCards
from app.settings import Settings, require_redis_url
from app.telemetry import ApiMetrics, Tracing

DEFAULT_MAX_BYTES = 64 * 1024 * 1024
OVERHEAD_BYTES = 512  # what an entry costs beside its body, roughly
NUM_COMBINERS = 2  # threads; each may need the memory of MAX_PIXELS several times over
CLIENT_NAME = "sagan-api"


@dataclass(frozen=True)
class EncodedFile:
    """A finished body; the entity tag it is kept under names its bytes for good."""

    body: bytes
    media_type: str

    @property
    def size_bytes(self) -> int:
        """What it counts in the cache."""
        return len(self.body) + OVERHEAD_BYTES


class ImageCache:
    """Pictures by entity tag, at most `max_bytes` of them together."""

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._pictures: OrderedDict[str, EncodedFile] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pictures)

    def get(self, etag: str) -> EncodedFile | None:
        """The picture of this tag, which becomes the most recently used."""
        picture = self._pictures.get(etag)
        if picture is not None:
            self._pictures.move_to_end(etag)
        return picture

    def put(self, etag: str, picture: EncodedFile) -> None:
        """Keeps a picture, unless it alone is larger than the cache; makes room for it."""
        if picture.size_bytes > self.max_bytes:
            return
        if (former := self._pictures.pop(etag, None)) is not None:
            self.size_bytes -= former.size_bytes
        self._pictures[etag] = picture
        self.size_bytes += picture.size_bytes
        while self.size_bytes > self.max_bytes:
            _, forgotten = self._pictures.popitem(last=False)
            self.size_bytes -= forgotten.size_bytes


@dataclass(frozen=True)
class Services:
    """One replica's settings, its copy of the model cards, its way to the queue, its cache."""

    settings: Settings
    metrics: ApiMetrics
    cards: ModelCards
    jobs: JobClient
    queue: JobQueue
    combiners: ThreadPoolExecutor
    limits: ClientLimits | None = None
    cache: ImageCache = field(default_factory=ImageCache)
    lookups: ClassLookups = field(default_factory=ClassLookups)

    def model(self, name: str | None) -> ModelCard:
        """The card of the model that a parameter names (none: the default).

        Raises InvalidValueError, NotReadyError, RetiredCheckpointError.
        """
        try:
            return self.cards.named(name)
        except NotFoundError as error:
            names = [card.name for card in self.cards.current()]
            raise InvalidValueError(
                error.detail, extra={"fields": ["model"], "models": names}
            ) from None

    def classes(self, card: ModelCard) -> ClassLookup:
        """The classes of a model."""
        return self.lookups.of(card)

    def timeout_ms(self, wanted_ms: int | None) -> int:
        """The time that a request may take; raises InvalidValueError beyond the longest."""
        if wanted_ms is None:
            return self.settings.default_timeout_ms
        if wanted_ms > (max_ms := self.settings.max_timeout_ms):
            raise InvalidValueError(
                f"timeout_ms={wanted_ms} is more than {max_ms}", extra={"fields": ["timeout_ms"]}
            )
        return wanted_ms


@asynccontextmanager
async def open_services(
    settings: Settings, metrics: ApiMetrics, tracing: Tracing | None
) -> AsyncIterator[Services]:
    """Connects to Redis, which may be away; closes everything in reverse order."""
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
    combiners = ThreadPoolExecutor(NUM_COMBINERS, "sheet")
    try:
        async with (
            cards.running(),
            jobs.running(),
        ):
            yield Services(settings, metrics, cards, jobs, queue, combiners, limits)
    finally:
        if limits is not None:
            await limits.close()
        combiners.shutdown(wait=False, cancel_futures=True)
        await blocking.aclose()
        await client.aclose()


def services_of(request: Request) -> Services:
    """What the lifespan yielded for this request."""
    return cast(Services, request.state.services)

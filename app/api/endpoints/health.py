"""GET /livez, /readyz and /metrics: for probes and Prometheus."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from app.api.documentation import Responses, problems
from app.api.problems import problem_response
from app.api.requests import MAX_ACCEPT_LENGTH
from app.api.schemas import HealthOut, ReadyOut
from app.api.services import Services, services_of
from app.errors import (
    AppError,
    NotFoundError,
    NotReadyError,
    QueueUnavailableError,
    RetiredCheckpointError,
)
from app.queue.admission import QueueStats
from app.queue.messages import PRIORITIES, ModelCard, Priority

router = APIRouter(tags=["operation"])
FORMATS = ("text/plain", "application/openmetrics-text")
METRICS: Responses = {200: {"description": "Metrics", "content": {one: {} for one in FORMATS}}}
MODEL_PARAMETER = {
    "name": "model",
    "in": "query",
    "required": False,
    "description": "A model that has to have a ready worker; may be repeated",
    "schema": {"type": "array", "items": {"type": "string"}},
}
STATS_TIMEOUT_S = 1.0  # how long a scrape waits for Redis
Look = Mapping[Priority, QueueStats]


@router.get("/livez", summary="Liveness", response_model=HealthOut, responses=problems())
async def livez() -> HealthOut:
    """Liveness: the event loop responds; does not check Redis or workers."""
    return HealthOut(status="alive")


@router.get(
    "/readyz",
    summary="Readiness",
    response_model=ReadyOut,
    responses=problems(NotReadyError, QueueUnavailableError, NotFoundError, RetiredCheckpointError),
    openapi_extra={"parameters": [MODEL_PARAMETER]},
)
async def readyz(request: Request) -> ReadyOut | Response:
    """Readiness: Redis replies, a worker is ready, and this server is not draining.

    With `model`, a worker of that model has to be ready too; with several, a worker of each.
    """
    services = services_of(request)
    reason = why_not_ready(services, draining=request.app.state.draining)
    for name in request.query_params.getlist("model"):
        reason = reason or why_model_not_ready(services, name)
    if reason is None:
        return ReadyOut(status="ready", workers_ready=services.cards.workers_by_model())
    return problem_response(reason)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses=METRICS | problems(),
)
async def metrics(request: Request) -> Response:
    """Returns the metrics of this replica, and the state of the queue if Redis replies."""
    services = services_of(request)
    cards = services.cards.current()
    looks = await asyncio.gather(*(_look(services, card) for card in cards))
    set_gauges(services, cards, looks)
    services.metrics.dead_letters.set(await _num_dead_letters(services))
    await _set_job_gauges(services)
    encode, media_type = metrics_format(", ".join(request.headers.getlist("accept")))
    headers = {"Content-Type": media_type, "Vary": "Accept"}
    return Response(encode(services.metrics.registry), headers=headers)


def metrics_format(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """The encoder and media type that a scraper accepts: OpenMetrics, else Prometheus's text."""
    try:
        return choose_encoder(accept if len(accept) <= MAX_ACCEPT_LENGTH else "")
    except (TypeError, ValueError):  # a version that is no number
        return choose_encoder("")


def why_not_ready(services: Services, *, draining: bool) -> AppError | None:
    """Why this replica should receive no requests; None if it should."""
    if draining:
        return NotReadyError("the server is draining")
    if (trouble := services.jobs.trouble) is not None:
        return trouble
    if not services.cards.fresh:
        return QueueUnavailableError("Redis does not answer")
    if not services.cards.ready:
        return NotReadyError("no worker is ready")
    return None


def why_model_not_ready(services: Services, name: str) -> AppError | None:
    """Why requests for this model would not be drawn now; None if they would."""
    try:
        card = services.card_named(name)
    except AppError as error:
        return error
    if services.cards.workers_ready(card.fingerprint):
        return None
    return NotReadyError(f"no worker of model {card.name} is ready")


def set_gauges(
    services: Services, cards: Sequence[ModelCard], looks: Sequence[Look | None]
) -> None:
    """Sets the gauges; a queue whose state is unknown has no gauges rather than old ones.

    Checkpoints with the same name have a queue each: the gauges have their sum, and the age of the
    oldest job of all.
    """
    metrics = services.metrics
    gauges: tuple[Gauge, ...] = (
        metrics.queue_depth_images,
        metrics.queue_limit_images,
        metrics.queue_pending_images,
        metrics.queue_oldest_age_seconds,
        metrics.workers_ready,
        metrics.model_info,
    )
    for gauge in gauges:
        gauge.clear()
    oldest_age_s: dict[tuple[str, Priority], float] = {}
    for card, look in zip(cards, looks, strict=True):
        metrics.model_info.labels(card.name, card.fingerprint, card.renderer).set(1)
        if look is None:
            continue
        workers = services.cards.workers_ready(card.fingerprint)
        metrics.workers_ready.labels(card.name).inc(workers)
        for priority, stats in look.items():
            line = card.name, priority
            metrics.queue_depth_images.labels(*line).inc(stats.depth_images)
            metrics.queue_limit_images.labels(*line).inc(services.queue.limit(priority))
            metrics.queue_pending_images.labels(*line).inc(stats.pending_images)
            oldest_age_s[line] = max(oldest_age_s.get(line, 0.0), stats.oldest_age_s)
    for line, age_s in oldest_age_s.items():
        metrics.queue_oldest_age_seconds.labels(*line).set(age_s)


async def _num_dead_letters(services: Services) -> float:
    try:
        async with asyncio.timeout(STATS_TIMEOUT_S):
            return await services.queue.num_dead_letters()
    except (QueueUnavailableError, TimeoutError):
        return math.nan


async def _set_job_gauges(services: Services) -> None:
    """Jobs and their bytes; without Redis there are no gauges rather than old ones."""
    services.metrics.jobs.clear()
    services.metrics.job_bytes.set(math.nan)
    services.metrics.job_max_bytes.set(services.orders.max_bytes)
    with suppress(QueueUnavailableError, TimeoutError):
        async with asyncio.timeout(STATS_TIMEOUT_S):
            for state, num_jobs in (await services.orders.states()).items():
                services.metrics.jobs.labels(state).set(num_jobs)
            services.metrics.job_bytes.set(sum((await services.orders.kept()).values()))


async def _look(services: Services, card: ModelCard) -> Look | None:
    try:
        async with asyncio.timeout(STATS_TIMEOUT_S):
            return {
                priority: await services.queue.stats(card.fingerprint, priority)
                for priority in PRIORITIES
            }
    except (QueueUnavailableError, TimeoutError):
        return None

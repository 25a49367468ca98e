"""Takes orders: `Prefer: respond-async` (RFC 7240) and `Idempotency-Key` (its IETF draft)."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b

from starlette.requests import Request
from starlette.responses import Response

from app.api.authentication import client_of
from app.api.class_choice import required_class
from app.api.documentation import Responses, document
from app.api.rendering import (
    NO_HEADERS,
    first_seed,
    refuse_scale_without_attention,
)
from app.api.requests import all_fields, prefix_of
from app.api.schemas import JobOut, OrderFields
from app.api.services import Services, services_of
from app.api.webhooks import check_webhook
from app.errors import (
    InvalidValueError,
    NotFoundError,
    QueueUnavailableError,
    RequestInFlightError,
    ReusedKeyError,
    TooManyJobsError,
)
from app.queue.orders import Order, OrderStatus, Reservation, chunk_images
from app.telemetry import request_id

PAGE_IMAGES = 1000  # ids in one page
MAX_KEY_LENGTH = 255
_KEY = re.compile(r'"?([\x21\x23-\x7e]{1,255})"?')  # the draft's quoted string, or without quotes
ORDER_ERRORS = (NotFoundError, RequestInFlightError, ReusedKeyError, TooManyJobsError)
JOB_HEADERS = {"Location": "Path of the job", "Preference-Applied": "respond-async"}
ACCEPTED: Responses = {
    202: {
        **document("The job (`Prefer: respond-async`); Location has its path", JobOut)[200],
        "headers": {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in JOB_HEADERS.items()
        },
    }
}
APPLIED = {"Preference-Applied": "respond-async", "Vary": "Prefer", "Cache-Control": "no-store"}


async def take_order(request: Request) -> Response:
    """The response to `POST /generate` with `Prefer: respond-async`: 202 and where the job is.

    Raises TooManyJobsError, RequestInFlightError, ReusedKeyError, InvalidValueError, and what the
    limits of the client raise.
    """
    services = services_of(request)
    fields = await all_fields(request, OrderFields)
    key = idempotency_key_of(request)
    order = order_of(request, services, fields)
    headers: Mapping[str, str] = NO_HEADERS
    async with reserved(request, services, key, fields) as held:
        if isinstance(held, str):
            order_id = held
        else:
            order_id = order.order_id
            headers = await admit(request, services, order, held)
    status = await services.orders.status(order_id)
    if status is None:  # the client has deleted it meanwhile
        raise NotFoundError(f"job {order_id} of this Idempotency-Key was deleted")
    location = f"{prefix_of(request)}/jobs/{order_id}"
    body = json.dumps(job_document(request, services, status))
    headers = {**APPLIED, "Location": location, **headers}
    return Response(body, 202, headers, "application/json")


def order_of(request: Request, services: Services, fields: OrderFields) -> Order:
    """What the fields order; raises UnknownClassError, InvalidValueError, NotReadyError."""
    if fields.mix is not None:
        raise InvalidValueError(
            "a job has images of one class: give class instead of mix, or leave out "
            "Prefer: respond-async",
            extra={"fields": ["mix"]},
        )
    key = required_class(fields.class_key)
    card = services.model(fields.model)
    label = services.label(card, key)
    refuse_scale_without_attention(card, fields.attention_scale_thousandths)
    if fields.webhook is not None:
        check_webhook(services.settings, fields.webhook)
    return Order(
        fingerprint=card.fingerprint,
        label=label,
        seed=first_seed(fields.seed, fields.n),
        num_images=fields.n,
        chunk_images=chunk_images(card.resolution, services.queue.limit("bulk")),
        output=fields.format or "png",
        truncation_thousandths=fields.truncation_thousandths,
        attention_scale_thousandths=fields.attention_scale_thousandths,
        model=card.name,
        class_name=card.classes[label].name,
        owner=owner_of(request),
        webhook=fields.webhook or "",
        request_id=request_id.get(),
    )


def owner_of(request: Request) -> str:
    """The name of the client's key; "" without keys."""
    return getattr(request.state, "key_name", None) or ""


def idempotency_key_of(request: Request) -> str | None:
    """The Idempotency-Key; raises InvalidValueError for one that is not usable."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    match = _KEY.fullmatch(given[0].strip()) if len(given) == 1 else None
    if match is None:
        raise InvalidValueError(
            f"Idempotency-Key: {given[0][:80]!r} is not usable: send one, of up to "
            f"{MAX_KEY_LENGTH} visible ASCII characters",
            extra={"fields": ["Idempotency-Key"]},
        )
    return match[1]


@asynccontextmanager
async def reserved(
    request: Request, services: Services, key: str | None, fields: OrderFields
) -> AsyncIterator[Reservation | str | None]:
    """Holds the key inside the block, or yields the id of the order that it made before.

    If the block fails, the key is free again.
    """
    if key is None:
        yield None
        return
    asked = blake2b(fields.model_dump_json().encode(), digest_size=16).hexdigest()
    digest = blake2b(key.encode(), digest_size=16).hexdigest()
    held = await services.orders.reserve(client_of(request), digest, asked)
    try:
        yield held
    except BaseException:
        if isinstance(held, Reservation):
            with suppress(QueueUnavailableError):
                await services.orders.release(held)
        raise


async def admit(
    request: Request, services: Services, order: Order, held: Reservation | None
) -> Mapping[str, str]:
    """Admits the order within the client's rate limit, and returns headers about this limit.

    All of its images are spent now; those of an order that is not admitted are given back.
    """
    if services.order_limits is None:
        await services.orders.admit(order, held)
        headers = NO_HEADERS
    else:
        limits, timeout_ms = services.order_limits, services.settings.max_timeout_ms
        async with limits.spent(client_of(request), order.num_images, timeout_ms) as spent:
            await services.orders.admit(order, held)
            headers = spent.headers
    services.driver.wake()
    return headers


async def order_status(request: Request, job_id: str) -> OrderStatus:
    """The client's job; raises NotFoundError for an unknown one and for another client's."""
    status = await services_of(request).orders.status(job_id)
    if status is None or status.order.owner != owner_of(request):
        raise NotFoundError(f"there is no job {job_id}: it has expired, or never was")
    return status


def job_document(
    request: Request, services: Services, status: OrderStatus, page: int | None = None
) -> dict[str, object]:
    """What GET /jobs/{id} returns; `page` (from 1) adds ids of images that were drawn."""
    order = status.order
    path = f"{prefix_of(request)}/jobs/{order.order_id}"
    document: dict[str, object] = {
        "id": order.order_id,
        "state": status.state,
        "model": order.model,
        "class": order.class_name,
        "seed": order.seed,
        "num_images": order.num_images,
        "num_drawn": status.num_drawn,
        "position": None if status.is_over else status.num_ahead,
        "seconds_left": seconds_left(services, status),
        "result": f"{path}/result",
        "events": f"{path}/events",
    }
    if status.detail:
        document["detail"] = status.detail
    if page is not None:
        document |= id_page(status, path, page)
    return document


def id_page(status: OrderStatus, path: str, page: int) -> dict[str, object]:
    """The ids of the images with the numbers of this page, if they are drawn, and the next page."""
    order = status.order
    first, last = (page - 1) * PAGE_IMAGES, min(page * PAGE_IMAGES, order.num_images)
    ids = [
        order.image_id(place)
        for place in range(first, last)
        if status.has_drawn(place // order.chunk_images)
    ]
    more = f"{path}?page={page + 1}" if last < order.num_images else None
    return {"image_ids": ids, "next": more}


def seconds_left(services: Services, status: OrderStatus) -> float | None:
    """The images that are left divided by the measured throughput; None if that is unknown."""
    if status.is_over:
        return 0.0
    per_s = status.images_per_s or services.cards.images_per_s(status.order.fingerprint)
    if not per_s:
        return None
    return round((status.order.num_images - status.num_drawn) / per_s, 1)

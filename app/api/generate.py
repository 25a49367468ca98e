"""POST /generate and GET /images/{image_id}: pictures."""

from __future__ import annotations

import secrets

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.documentation import (
    NOT_MODIFIED,
    json_body,
    pictures,
    problems,
    query_parameters,
)
from app.api.negotiation import negotiated
from app.api.rendering import IMMUTABLE, NO_STORE, respond
from app.api.request_fields import all_fields, query_fields
from app.api.routes import PlainRoute
from app.api.schemas import GenerateFields, ImageFields
from app.api.services import Services, services_of
from app.errors import (
    DeadlineExceededError,
    InvalidValueError,
    JobFailedError,
    NotAcceptableError,
    NotFoundError,
    NotReadyError,
    QueueFullError,
    QueueUnavailableError,
    RequestTimeoutError,
    RetiredCheckpointError,
    UnknownClassError,
    UnsupportedMediaTypeError,
)
from app.image_ids import ImageId, parse_image_id
from app.jobs import Job, ModelCard
from app.telemetry import request_id

router = APIRouter(tags=["pictures"], route_class=PlainRoute)
PNG = "image/png"
SEED_BITS = 32
QUEUE_ERRORS = (
    DeadlineExceededError,
    JobFailedError,
    NotReadyError,
    QueueFullError,
    QueueUnavailableError,
)


@router.post(
    "/generate",
    summary="A picture of a class",
    response_class=Response,
    responses=pictures([PNG])
    | problems(
        InvalidValueError,
        UnknownClassError,
        NotAcceptableError,
        RequestTimeoutError,
        RetiredCheckpointError,
        UnsupportedMediaTypeError,
        *QUEUE_ERRORS,
    ),
    openapi_extra=query_parameters(GenerateFields) | json_body(GenerateFields),
)
async def generate(request: Request) -> Response:
    """Draws one picture and answers with a PNG.

    Fields come as query parameters or as a JSON body. The same class, seed and truncation give
    the same bytes, whatever else is drawn at the time. Without a seed the server picks one and
    tells it in `X-Seed`.
    """
    services = services_of(request)
    fields = await all_fields(request, GenerateFields)
    if fields.format is None:
        negotiated(request.headers, (PNG,))
    timeout_ms = services.timeout_ms(fields.timeout_ms)
    key = required_class(fields.class_key)
    card = services.model(fields.model)
    job = Job(
        fingerprint=card.fingerprint,
        label=services.classes(card).label(key),
        seed=secrets.randbits(SEED_BITS) if fields.seed is None else fields.seed,
        truncation_thousandths=fields.truncation_thousandths,
        request_id=request_id.get(),
    )
    cache_control = NO_STORE if fields.seed is None else IMMUTABLE
    return await respond(
        request, card, job, timeout_ms=timeout_ms, cache_control=cache_control, conditional=False
    )


@router.get(
    "/images/{image_id}",
    summary="The picture of this id",
    response_class=Response,
    responses=pictures([PNG])
    | NOT_MODIFIED
    | problems(
        InvalidValueError,
        NotAcceptableError,
        NotFoundError,
        RetiredCheckpointError,
        *QUEUE_ERRORS,
    ),
    openapi_extra=query_parameters(ImageFields),
)
async def image(request: Request, image_id: str) -> Response:
    """That very picture, cacheable for ever; the id may end in `.png`.

    `If-None-Match` with its ETag is answered 304 at once.
    """
    services = services_of(request)
    fields = query_fields(request, ImageFields)
    timeout_ms = services.timeout_ms(fields.timeout_ms)
    named = parse_image_id(image_id.removesuffix(".png"))
    if not image_id.endswith(".png"):
        negotiated(request.headers, (PNG,))
    card = card_of_image(services, named)
    job = Job(
        fingerprint=card.fingerprint,
        label=named.label,
        seed=named.seed,
        truncation_thousandths=named.truncation_thousandths,
        request_id=request_id.get(),
    )
    return await respond(request, card, job, timeout_ms=timeout_ms)


def required_class(key: str | None) -> str:
    """The class that the request must give; raises InvalidValueError when it does not."""
    if key is None:
        raise InvalidValueError(
            "class is missing: give a name, alias, WordNet id or index; GET /classes lists them",
            extra={"fields": ["class"]},
        )
    return key


def card_of_image(services: Services, named: ImageId) -> ModelCard:
    """The card of the model that draws this image.

    Raises NotReadyError, NotFoundError, RetiredCheckpointError.
    """
    card = services.cards.of_fingerprint(named.prefix)
    if named.label >= len(card.classes):
        raise NotFoundError(
            f"model {card.name} has {len(card.classes)} classes and none has index {named.label}"
        )
    return card

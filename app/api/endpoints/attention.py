"""GET /attention-map: what the generator attended to at a pixel."""

from __future__ import annotations

from typing import Literal, get_args

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.class_choice import required_class
from app.api.documentation import NOT_MODIFIED, images, problems, query_parameters
from app.api.image_headers import IMMUTABLE, REVALIDATE
from app.api.middleware import PlainRoute
from app.api.rendering import (
    JOB_ERRORS,
    card_of_image,
    respond,
)
from app.api.requests import negotiated, query_fields
from app.api.schemas import AttentionFields, AttentionOut
from app.api.services import Services, services_of
from app.errors import (
    AmbiguousClassError,
    InvalidValueError,
    NotAcceptableError,
    NotFoundError,
    RetiredCheckpointError,
    UnknownClassError,
)
from app.queue.messages import MEDIA_TYPES, ImageId, Job, ModelCard, Output, Point, parse_image_id
from app.telemetry import request_id

router = APIRouter(tags=["attention"], route_class=PlainRoute)
AttentionOutput = Literal["png", "json", "npy"]  # that Accept can ask for
NUMBERS = "has numbers, not a picture"
PIXELS = "has the maps of all pixels"
USELESS: dict[Output, dict[str, str]] = {  # fields that an output has no use for, and why
    "json": dict.fromkeys(("view", "size"), NUMBERS),
    "npy": dict.fromkeys(("view", "size"), NUMBERS),
    "bin": dict.fromkeys(("x", "y", "view", "size"), PIXELS),
}
ACCEPTED: dict[str, AttentionOutput] = {MEDIA_TYPES[one]: one for one in get_args(AttentionOutput)}


@router.get(
    "/attention-map",
    summary="Attention map of a pixel",
    response_class=Response,
    responses=images((*ACCEPTED, MEDIA_TYPES["bin"]), document=AttentionOut)
    | NOT_MODIFIED
    | problems(
        InvalidValueError,
        AmbiguousClassError,
        UnknownClassError,
        NotAcceptableError,
        NotFoundError,
        RetiredCheckpointError,
        *JOB_ERRORS,
    ),
    openapi_extra=query_parameters(AttentionFields),
)
async def attention_map(request: Request) -> Response:
    """Returns attention maps of pixels (x, y) of an image.

    `image`, or `class` and `seed`, identify the image. The response is a PNG, or the weights with
    `Accept: application/json` (`format=json`) or `format=npy`: one h×w map for each pixel, each
    summing to 1. `format=bin` has the maps of all pixels of the layer's grid, see
    `X-Attention-Shape`.
    """
    services = services_of(request)
    fields = query_fields(request, AttentionFields)
    output = fields.format or ACCEPTED[negotiated(request.headers, tuple(ACCEPTED))]
    refuse_beside(output, fields)
    timeout_ms = services.timeout_ms(fields.timeout_ms)
    card, shown = image_of(services, fields)
    job = Job(
        fingerprint=card.fingerprint,
        label=shown.label,
        seed=shown.seed,
        truncation_thousandths=shown.truncation_thousandths,
        attention_scale_thousandths=shown.attention_scale_thousandths,
        mix=shown.mix,
        kind="attention-all" if output == "bin" else "attention",
        output=output,
        queries=() if output == "bin" else queries_within(fields.x, fields.y, card.resolution),
        layer=layer_within(fields.layer, len(card.attention_grids)),
        view=fields.view,
        size_px=fields.size,
        request_id=request_id.get(),
    )
    cache_control = REVALIDATE if fields.image is None else IMMUTABLE
    return await respond(
        request, services, card, job, timeout_ms=timeout_ms, cache_control=cache_control
    )


def image_of(services: Services, fields: AttentionFields) -> tuple[ModelCard, ImageId]:
    """The requested image and the card of its model.

    Raises InvalidValueError, UnknownClassError, NotReadyError, NotFoundError,
    RetiredCheckpointError.
    """
    if fields.image is not None:
        refuse_beside_image(fields)
        named = parse_image_id(fields.image)
        return card_of_image(services, named), named
    if fields.seed is None:
        raise InvalidValueError(
            "seed is missing: a class alone does not identify an image; give seed or image",
            extra={"fields": ["seed"]},
        )
    key = required_class(fields.class_key)
    card = services.model(fields.model)
    label = services.label(card, key)
    return card, ImageId(
        card.fingerprint,
        label,
        fields.seed,
        fields.truncation_thousandths,
        fields.attention_scale_thousandths,
    )


def refuse_beside_image(fields: AttentionFields) -> None:
    """Raises InvalidValueError if a field repeats what the image id contains."""
    said = {
        "class_key": "class",
        "seed": "seed",
        "truncation_thousandths": "truncation",
        "attention_scale_thousandths": "attention_scale",
        "model": "model",
    }
    if doubled := [name for field, name in said.items() if field in fields.model_fields_set]:
        raise InvalidValueError(
            f"the image id says this already: leave out {', '.join(doubled)}",
            extra={"fields": doubled},
        )


def refuse_beside(output: Output, fields: AttentionFields) -> None:
    """Raises InvalidValueError if a field has no effect on this output."""
    useless = USELESS.get(output, {})
    if doubled := sorted(fields.model_fields_set & set(useless)):
        raise InvalidValueError(
            f"format={output} {useless[doubled[0]]}: leave out {', '.join(doubled)}",
            extra={"fields": doubled},
        )


def queries_within(
    x_px: tuple[int, ...], y_px: tuple[int, ...], resolution: int
) -> tuple[Point, ...]:
    """The pixels (x, y); raises InvalidValueError if one is missing or outside the image."""
    if missing := [name for name, values in (("x", x_px), ("y", y_px)) if not values]:
        raise InvalidValueError(
            "; ".join(f"{name} is missing" for name in missing), extra={"fields": missing}
        )
    if len(x_px) != len(y_px):
        raise InvalidValueError(
            f"x is given {len(x_px)} times and y {len(y_px)} times: give a y for each x",
            extra={"fields": ["x", "y"]},
        )
    for name, values in (("x", x_px), ("y", y_px)):
        for value in values:
            if not 0 <= value < resolution:
                raise InvalidValueError(
                    f"{name}={value} is not within 0 and {resolution - 1}",
                    extra={"fields": [name]},
                )
    return tuple(zip(x_px, y_px, strict=True))


def layer_within(layer: int, num_layers: int) -> int:
    """The layer counted from 0; raises InvalidValueError if the model has no such layer."""
    if num_layers == 0:
        raise InvalidValueError("the model has no self-attention", extra={"fields": ["layer"]})
    if not -num_layers <= layer < num_layers:
        raise InvalidValueError(
            f"layer={layer} is not within {-num_layers} and {num_layers - 1}",
            extra={"fields": ["layer"]},
        )
    return layer % num_layers

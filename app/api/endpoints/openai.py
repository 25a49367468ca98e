"""POST /v1/images/generations and GET /v1/models: compatible with OpenAI's clients."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.api.combined_files import json_with
from app.api.documentation import json_body, openai_errors
from app.api.middleware import PlainRoute
from app.api.rendering import (
    JOB_ERRORS,
    NO_STORE,
    RenderedFile,
    combine,
    combining_deadline_s,
    image_jobs,
    render,
)
from app.api.requests import all_fields, base_address, query_fields
from app.api.schemas import NoFields, OpenAIFields, OpenAIImages, OpenAIModel, OpenAIModels
from app.api.services import services_of
from app.errors import (
    AmbiguousClassError,
    InvalidValueError,
    NotFoundError,
    NotReadyError,
    RequestTimeoutError,
    RetiredCheckpointError,
    UnknownClassError,
    UnsupportedMediaTypeError,
)
from app.queue.messages import Job, ModelCard

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"], route_class=PlainRoute)
OWNER = "sagan"


@router.post(
    "/images/generations",
    summary="Generate images",
    response_model=OpenAIImages,
    responses=openai_errors(
        InvalidValueError,
        AmbiguousClassError,
        UnknownClassError,
        RequestTimeoutError,
        RetiredCheckpointError,
        UnsupportedMediaTypeError,
        *JOB_ERRORS,
    ),
    openapi_extra=json_body(OpenAIFields, required=("prompt",)),
)
async def generations(request: Request) -> Response:
    """Generates images of the class `prompt`; ignores quality, style and the like."""
    services = services_of(request)
    fields = await all_fields(request, OpenAIFields)
    if fields.prompt is None:
        raise InvalidValueError(
            "prompt is missing: give a class; GET /classes lists them", extra={"fields": ["prompt"]}
        )
    card = services.model(fields.model)
    refuse_other_size(card, fields.size)
    jobs = image_jobs(
        services,
        card,
        fields.prompt,
        num_images=fields.n or 1,
        seed=fields.seed,
        class_field="prompt",
        output=fields.output_format or "png",
    )
    timeout_ms = services.timeout_ms(None)
    deadline_s = combining_deadline_s(timeout_ms)
    base = base_address(request) if fields.response_format == "url" else None
    rendered, limit_headers = await render(request, services, card, jobs, timeout_ms)
    made = {"created": int(time.time())}
    make = partial(json_with, made, "data", described(jobs, rendered, base))
    body = await combine(services, make, deadline_s, len(jobs))
    return Response(body, 200, {"Cache-Control": NO_STORE, **limit_headers}, "application/json")


@router.get(
    "/models",
    summary="List the served checkpoints",
    response_model=OpenAIModels,
    responses=openai_errors(InvalidValueError, NotReadyError),
)
async def models(request: Request) -> Response:
    """Lists all models; their names are the ids."""
    query_fields(request, NoFields)
    services = services_of(request)
    services.cards.named()
    listed = [_model(card) for card in services.cards.current()]
    return JSONResponse({"object": "list", "data": listed})


@router.get(
    "/models/{model:path}",
    summary="Get a served checkpoint",
    response_model=OpenAIModel,
    responses=openai_errors(
        InvalidValueError,
        NotFoundError,
        NotReadyError,
        RetiredCheckpointError,
    ),
)
async def one_model(request: Request, model: str) -> Response:
    """Returns the model with this name or fingerprint."""
    query_fields(request, NoFields)
    return JSONResponse(_model(services_of(request).card_named(model)))


def refuse_other_size(card: ModelCard, size: str | None) -> None:
    """Raises InvalidValueError for a size that the model does not have."""
    own = f"{card.resolution}x{card.resolution}"
    if size not in (None, "auto", own):
        raise InvalidValueError(
            f"size={size[:80]!r}: model {card.name} has {own}", extra={"fields": ["size"]}
        )


def described(
    jobs: Sequence[Job], rendered: Sequence[RenderedFile], base: str | None
) -> Iterator[dict[str, str]]:
    """Each image as Base64, or as a URL if `base`, the address of this server, is given."""
    for job, file in zip(jobs, rendered, strict=True):
        if base is None:
            yield {"b64_json": b64encode(file.file.body).decode()}
        else:
            yield {"url": f"{base}/images/{job.image_id}.{job.output}"}


def _model(card: ModelCard) -> dict[str, str | int]:
    return {"id": card.name, "object": "model", "created": 0, "owned_by": OWNER}

"""POST /interpolate: the frames between two images."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.class_choice import required_class
from app.api.combined_files import WALK_TYPES, Walk
from app.api.documentation import images, json_body, problems, query_parameters
from app.api.image_headers import REVALIDATE
from app.api.middleware import PlainRoute
from app.api.rendering import (
    FIELDS_ERRORS,
    JOB_ERRORS,
    refuse_scale_without_attention,
    refuse_too_many,
    respond_combined,
)
from app.api.requests import all_fields, negotiated
from app.api.schemas import InterpolateFields, WalkFormat
from app.api.services import Services, services_of
from app.errors import InvalidValueError
from app.queue.messages import WHOLE, Job, ModelCard, new_id
from app.telemetry import request_id

router = APIRouter(tags=["images"], route_class=PlainRoute)
FORMATS: dict[str, WalkFormat] = {media: name for name, media in WALK_TYPES.items()}


@router.post(
    "/interpolate",
    summary="Interpolate between two images",
    response_class=Response,
    responses=images(FORMATS) | problems(*FIELDS_ERRORS, *JOB_ERRORS),
    openapi_extra=query_parameters(InterpolateFields) | json_body(InterpolateFields),
)
async def interpolate(request: Request) -> Response:
    """Renders the frames from `class` and `seed` to `to_class` and `to_seed`.

    One of the last two may be omitted. The latents move along an arc and the classes are mixed. The
    first and the last frame are the two images themselves.
    """
    services = services_of(request)
    fields = await all_fields(request, InterpolateFields)
    walk_format = fields.format or FORMATS[negotiated(request.headers, tuple(FORMATS))]
    timeout_ms = services.timeout_ms(fields.timeout_ms)
    card = services.model(fields.model)
    jobs = frame_jobs(services, card, fields)
    return await respond_combined(
        request,
        services,
        card,
        jobs,
        Walk(
            walk_format,
            fields.frame_ms,
            model=card.name,
            class_names=" to ".join(card.classes[job.label].name for job in (jobs[0], jobs[-1])),
            marked=services.settings.mark,
        ),
        timeout_ms=timeout_ms,
        cache_control=REVALIDATE,
        counted_by="frames",
    )


def frame_jobs(services: Services, card: ModelCard, fields: InterpolateFields) -> list[Job]:
    """The jobs of the two images, the same as for POST /generate, and of the frames between.

    Raises UnknownClassError, InvalidValueError.
    """
    key = required_class(fields.class_key)
    if fields.seed is None:
        raise InvalidValueError("seed is missing", extra={"fields": ["seed"]})
    if fields.to_class is None and fields.to_seed is None:
        raise InvalidValueError(
            "to_class and to_seed are missing: give one or both",
            extra={"fields": ["to_class", "to_seed"]},
        )
    lookup = services.classes(card)
    start = Job(
        fingerprint=card.fingerprint,
        label=lookup.label(key),
        seed=fields.seed,
        truncation_thousandths=fields.truncation_thousandths,
        attention_scale_thousandths=fields.attention_scale_thousandths,
        priority=fields.priority,
        request_id=request_id.get(),
    )
    to_label = start.label if fields.to_class is None else lookup.label(fields.to_class, "to_class")
    to_seed = start.seed if fields.to_seed is None else fields.to_seed
    refuse_scale_without_attention(card, fields.attention_scale_thousandths)
    refuse_too_many(services, card, fields.frames, fields.priority, "frames")
    way = replace(start, kind="frame", to_label=to_label, to_seed=to_seed)
    between = [
        replace(
            way,
            part_thousandths=round(WHOLE * i / (fields.frames - 1)),
            job_id=new_id(),
        )
        for i in range(1, fields.frames - 1)
    ]
    end = replace(start, label=to_label, seed=to_seed, job_id=new_id())
    return [start, *between, end]

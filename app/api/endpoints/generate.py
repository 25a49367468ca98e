"""POST /generate and GET /images/{image_id}: images."""

from __future__ import annotations

from typing import get_args

from fastapi import APIRouter
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from app.api.addresses import prefix_of
from app.api.combined_files import BUNDLE_TYPES, Bundle
from app.api.documentation import (
    NOT_MODIFIED,
    images,
    json_body,
    problems,
    query_parameters,
)
from app.api.middleware import PlainRoute
from app.api.ordering import ACCEPTED, ORDER_ERRORS, take_order, wants_job
from app.api.rendering import (
    FIELDS_ERRORS,
    JOB_ERRORS,
    NO_STORE,
    REVALIDATE,
    card_of_image,
    image_jobs,
    job_of_image,
    required_class,
    respond,
    respond_combined,
)
from app.api.requests import all_fields, negotiated, query_fields
from app.api.schemas import (
    FILE_FORMATS,
    GeneratedOut,
    GenerateFields,
    ImageFields,
    ImageName,
    Layout,
)
from app.api.services import Services, services_of
from app.errors import InvalidValueError, NotAcceptableError, NotFoundError, RetiredCheckpointError
from app.queue.messages import MEDIA_TYPES, FileFormat, Job, ModelCard, parse_image_id

router = APIRouter(tags=["images"], route_class=PlainRoute)
FORMATS: dict[str, FileFormat] = {MEDIA_TYPES[one]: one for one in get_args(FileFormat)}
LAYOUTS: dict[str, Layout] = {media: layout for layout, media in BUNDLE_TYPES.items()}
IMAGE_TYPES, ALL_TYPES = tuple(FORMATS), (*FORMATS, *LAYOUTS)


@router.post(
    "/generate",
    summary="Generate images of a class",
    response_class=Response,
    responses=images(ALL_TYPES, document=GeneratedOut)
    | ACCEPTED
    | problems(*FIELDS_ERRORS, *JOB_ERRORS, *ORDER_ERRORS),
    openapi_extra=query_parameters(GenerateFields) | json_body(GenerateFields),
)
async def generate(request: Request) -> Response:
    """Generates one image, or `n` images as a contact sheet, a zip or a JSON document.

    Fields are query parameters or members of a JSON body. The same class, seed, truncation and
    attention scale give the same bytes, whatever else the server renders. Without a seed the server
    picks a random one and returns it in `X-Seed`. With `Prefer: respond-async` the response is 202
    with a job in `Location`, and `n` may be 100,000.
    """
    if wants_job(request):
        return await take_order(request)
    services = services_of(request)
    fields = await all_fields(request, GenerateFields)
    bundle = bundle_for(fields.format, fields.layout, request.headers)
    timeout_ms = services.timeout_ms(fields.timeout_ms)
    key = required_class(fields.class_key)
    card = services.model(fields.model)
    several = fields.n > 1 or bundle.layout != "grid"
    output = bundle.unit_format if several else bundle.file_format
    jobs = jobs_of(services, card, key, fields, output)
    cache_control = NO_STORE if fields.seed is None else REVALIDATE
    if several:
        bundle = bundle._replace(
            model=card.name,
            class_name=card.classes[jobs[0].label].name,
            prefix=prefix_of(request),
            marked=services.settings.mark,
        )
        return await respond_combined(
            request,
            services,
            card,
            jobs,
            bundle,
            timeout_ms=timeout_ms,
            cache_control=cache_control,
        )
    return await respond(
        request,
        services,
        card,
        jobs[0],
        timeout_ms=timeout_ms,
        cache_control=cache_control,
        conditional=False,
    )


@router.get(
    "/images/{image_id}",
    summary="Get the image with this id",
    response_class=Response,
    responses=images(IMAGE_TYPES)
    | NOT_MODIFIED
    | problems(
        InvalidValueError,
        NotAcceptableError,
        NotFoundError,
        RetiredCheckpointError,
        *JOB_ERRORS,
    ),
    openapi_extra=query_parameters(ImageFields),
)
async def image(request: Request, image_id: ImageName) -> Response:
    """Returns the image, which may be cached for ever.

    The id may end in `.png`, `.webp` or `.jpeg`. If `If-None-Match` has its ETag, the
    response is 304 and no worker renders the image.
    """
    services = services_of(request)
    fields = query_fields(request, ImageFields)
    timeout_ms = services.timeout_ms(fields.timeout_ms)
    name, _, suffix = image_id.partition(".")
    named = parse_image_id(name if suffix in FILE_FORMATS else image_id)
    output = FILE_FORMATS.get(suffix) or FORMATS[negotiated(request.headers, IMAGE_TYPES)]
    card = card_of_image(services, named)
    job = job_of_image(card, named, output)
    return await respond(request, services, card, job, timeout_ms=timeout_ms)


def jobs_of(
    services: Services, card: ModelCard, key: str, fields: GenerateFields, output: FileFormat
) -> list[Job]:
    """The jobs of images of class `key`; raises UnknownClassError, InvalidValueError."""
    return image_jobs(
        services,
        card,
        key,
        num_images=fields.n,
        seed=fields.seed,
        truncation_thousandths=fields.truncation_thousandths,
        attention_scale_thousandths=fields.attention_scale_thousandths,
        output=output,
        priority=fields.priority,
    )


def bundle_for(file_format: FileFormat | None, layout: Layout | None, headers: Headers) -> Bundle:
    """How the images are combined and in which format; raises NotAcceptableError.

    Fields override the Accept header. The images of a zip or a document are PNG by default.
    """
    if layout is None and file_format is None:
        accepted = negotiated(headers, ALL_TYPES)
        return Bundle(LAYOUTS.get(accepted, "grid"), FORMATS.get(accepted, "png"))
    if file_format is None and layout == "grid":
        file_format = FORMATS[negotiated(headers, IMAGE_TYPES)]
    return Bundle(layout or "grid", file_format or "png")

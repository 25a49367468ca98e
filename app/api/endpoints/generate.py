"""POST /generate and GET /images/{image_id}: images."""

from __future__ import annotations

import math
from typing import get_args

from fastapi import APIRouter
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from app.api.class_choice import mixed_classes, refuse_unclear_classes
from app.api.combined_files import BUNDLE_TYPES, Bundle, Recoded
from app.api.documentation import (
    NOT_MODIFIED,
    images,
    json_body,
    problems,
    query_parameters,
)
from app.api.image_headers import IMMUTABLE, NO_STORE, REVALIDATE
from app.api.middleware import PlainRoute
from app.api.ordering import ACCEPTED, ORDER_ERRORS, take_order
from app.api.rendering import (
    FIELDS_ERRORS,
    JOB_ERRORS,
    MAX_PIXELS,
    card_of_image,
    image_jobs,
    job_of_image,
    respond,
    respond_combined,
)
from app.api.requests import all_fields, negotiated, prefers_job, prefix_of, query_fields
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
from class_names import Mix

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

    Fields are query parameters or members of a JSON body. The same class or mix, seed, truncation
    and attention scale give the same bytes, whatever else the server renders. Without a seed the
    server picks a random one and returns it in `X-Seed`. With `Prefer: respond-async` the response
    is 202 with a job in `Location`, and `n` may be 100,000.
    """
    if prefers_job(request):
        return await take_order(request)
    fields = await all_fields(request, GenerateFields)
    return await _drawn(request, fields)


@router.get(
    "/generate",
    summary="Get images of a class with a seed",
    response_class=Response,
    responses=images(ALL_TYPES, document=GeneratedOut)
    | NOT_MODIFIED
    | problems(*FIELDS_ERRORS, *JOB_ERRORS),
    openapi_extra=query_parameters(GenerateFields, required=("class", "seed")),
)
async def get_generated(request: Request) -> Response:
    """Returns what POST /generate returns for the same query, which must have a seed.

    A seed determines the images, so they may be cached, repeated and fetched in advance. If
    `If-None-Match` has their ETag, the response is 304 and nothing is rendered.
    """
    fields = query_fields(request, GenerateFields)
    if fields.seed is None:
        raise InvalidValueError(
            "seed is missing: GET has one result for each address, so it needs a seed; "
            "POST /generate picks a random one",
            extra={"fields": ["seed"]},
        )
    return await _drawn(request, fields, conditional=True)


async def _drawn(
    request: Request, fields: GenerateFields, *, conditional: bool = False
) -> Response:
    """The images of these fields; if `conditional`, If-None-Match can be answered with 304."""
    services = services_of(request)
    bundle = bundle_for(fields.format, fields.layout, request.headers)
    timeout_ms = services.timeout_ms(fields.timeout_ms)
    key, mix = fields.class_key, fields.mix
    if key is None or mix is not None:
        refuse_unclear_classes(key, mix)
    card = services.model(fields.model)
    several = fields.n > 1 or bundle.layout != "grid"
    label, mixed = asked_classes(services, card, fields)
    jobs = image_jobs(
        services,
        card,
        label,
        num_images=fields.n,
        seed=fields.seed,
        truncation_thousandths=fields.truncation_thousandths,
        attention_scale_thousandths=fields.attention_scale_thousandths,
        mix=mixed,
        output=bundle.unit_format if several else bundle.file_format,
        priority=fields.priority,
    )
    cached = NO_STORE if fields.seed is None else REVALIDATE
    drawn = (request, services, card)
    if several:
        bundle = named_bundle(bundle, request, card, jobs[0])
        return await respond_combined(
            *drawn,
            jobs,
            bundle,
            timeout_ms=timeout_ms,
            cache_control=cached,
            conditional=conditional,
        )
    return await respond(
        *drawn, jobs[0], timeout_ms=timeout_ms, cache_control=cached, conditional=conditional
    )


def asked_classes(services: Services, card: ModelCard, fields: GenerateFields) -> tuple[int, Mix]:
    """The label of the class, or of the first class of the mix, and the mix; () for one class.

    Raises InvalidValueError, UnknownClassError, AmbiguousClassError.
    """
    if fields.mix is not None:
        return mixed_classes(services.classes(card), fields.mix)
    return services.label(card, fields.class_key or ""), ()


def named_bundle(bundle: Bundle, request: Request, card: ModelCard, first: Job) -> Bundle:
    """The bundle with the names that its marks and its JSON have."""
    return bundle._replace(
        model=card.name,
        class_name=card.class_text(first.label, first.mix),
        prefix=prefix_of(request),
        marked=services_of(request).settings.mark,
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
    response is 304 and no worker renders the image. With `scale` or `quality` the file is made of
    the lossless image.
    """
    services = services_of(request)
    fields = query_fields(request, ImageFields)
    timeout_ms = services.timeout_ms(fields.timeout_ms)
    name, _, suffix = image_id.partition(".")
    named = parse_image_id(name if suffix in FILE_FORMATS else image_id)
    output = FILE_FORMATS.get(suffix) or fields.format
    output = output or FORMATS[negotiated(request.headers, IMAGE_TYPES)]
    recoded = recoded_as(fields, output)
    card = card_of_image(services, named)
    job = job_of_image(card, named, output if recoded is None else "png")
    if recoded is None:
        return await respond(request, services, card, job, timeout_ms=timeout_ms)
    refuse_too_large(card, recoded.scale)
    return await respond_combined(
        request,
        services,
        card,
        [job],
        recoded,
        timeout_ms=timeout_ms,
        cache_control=IMMUTABLE,
        conditional=True,
    )


def recoded_as(fields: ImageFields, output: FileFormat) -> Recoded | None:
    """How the file differs from the image's own; None if it does not.

    Raises InvalidValueError for fields that contradict the address or have no effect.
    """
    if fields.format not in (None, output):
        raise InvalidValueError(
            f"format={fields.format} contradicts the suffix of the address: leave out one of them",
            extra={"fields": ["format"]},
        )
    if fields.quality is not None and output == "png":
        raise InvalidValueError(
            "quality has no effect on PNG, which has no losses: leave it out, or ask for webp or "
            "jpeg",
            extra={"fields": ["quality"]},
        )
    if fields.scale == 1 and fields.quality is None:
        return None
    return Recoded(output, fields.scale, fields.quality)


def refuse_too_large(card: ModelCard, scale: int) -> None:
    """Raises InvalidValueError for an enlarged image of more than MAX_PIXELS."""
    most = max(1, math.isqrt(MAX_PIXELS) // card.resolution)
    if scale > most:
        raise InvalidValueError(
            f"scale={scale} is more than {most}, the most for images of {card.resolution} px",
            extra={"fields": ["scale"]},
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

"""POST /verify: whether a file is the image that it says it is."""

from __future__ import annotations

import asyncio
from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.api.documentation import document, file_body, problems, query_parameters
from app.api.image_headers import NO_STORE
from app.api.middleware import PlainRoute
from app.api.rendering import (
    JOB_ERRORS,
    card_of_image,
    combine,
    combining_deadline_s,
    job_of_image,
    render,
)
from app.api.requests import query_fields, whole_body
from app.api.schemas import VerifyFields, VerifyOut
from app.api.services import Services, services_of
from app.api.verifying import Comparison, UnreadableFileError, compare, format_of
from app.errors import (
    DeadlineExceededError,
    InvalidValueError,
    NotFoundError,
    RequestTimeoutError,
    RetiredCheckpointError,
    UnsupportedMediaTypeError,
)
from app.file_marks import image_id_in
from app.queue.messages import (
    MEDIA_TYPES,
    WHOLE,
    ImageId,
    Job,
    ModelCard,
    parse_image_id,
)

router = APIRouter(tags=["images"], route_class=PlainRoute)
PATH = "/verify"
MAX_FILE_BYTES = 2**20  # more than any image of 512 px has
FILE_TYPES = (MEDIA_TYPES["png"], MEDIA_TYPES["webp"], MEDIA_TYPES["jpeg"], MEDIA_TYPES["raw"])
FORM = "multipart/"  # a form around the file would have to be taken off first


@router.post(
    PATH,
    summary="Compare a file with the image that it says it is",
    response_class=Response,
    responses=document("Same, altered or unknown", VerifyOut)
    | problems(InvalidValueError, RequestTimeoutError, UnsupportedMediaTypeError, *JOB_ERRORS),
    openapi_extra=query_parameters(VerifyFields) | file_body(FILE_TYPES),
)
async def verify(request: Request) -> Response:
    """Redraws the image that the file's mark names, and compares the two.

    The body is the file. `image` names the image if the file has no mark. A file that was packed
    again without loss is the same; for a copy with losses the response says how far it is off.
    """
    services = services_of(request)
    fields = query_fields(request, VerifyFields)
    timeout_ms = services.timeout_ms(fields.timeout_ms)
    refuse_coded_body(request)
    asked = None if fields.image is None else parse_image_id(fields.image)
    deadline_s = combining_deadline_s(timeout_ms)
    await _take_turn(services, timeout_ms)
    try:
        file = await whole_body(request)
        return await _verified(request, services, file, asked, timeout_ms, deadline_s)
    finally:
        services.verifications.release()


def refuse_coded_body(request: Request) -> None:
    """Raises UnsupportedMediaTypeError for a body that is a form, or compressed."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", ""):
        raise UnsupportedMediaTypeError(
            f"a body must not be encoded as {coding[:80]!r}: send it without Content-Encoding",
            headers={"Accept-Encoding": "identity"},
        )
    if request.headers.get("content-type", "").strip().lower().startswith(FORM):
        raise UnsupportedMediaTypeError(
            "the body must be the file itself, not a form: with curl, use --data-binary @FILE"
        )


async def _take_turn(services: Services, timeout_ms: int) -> None:
    """Waits until one more file may be in memory; raises DeadlineExceededError."""
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            await services.verifications.acquire()
    except TimeoutError:
        services.metrics.expired.inc()
        raise DeadlineExceededError("too many files are being verified", retry_after_s=1) from None


async def _verified(
    request: Request,
    services: Services,
    file: bytes,
    asked: ImageId | None,
    timeout_ms: int,
    deadline_s: float,
) -> Response:
    if (file_format := format_of(file)) is None:
        return _unknown("the file is no PNG, WebP or JPEG")
    if asked is None:
        written = await combine(services, partial(image_id_in, file), deadline_s, 1)
        if written is None:
            return _unknown("the file has no mark of a single image: give its id as `image`")
        try:
            asked = parse_image_id(written)
        except InvalidValueError as error:
            return _unknown(f"the mark has no valid image id: {error.detail}")
    try:
        card = card_of_image(services, asked)
    except (NotFoundError, RetiredCheckpointError, InvalidValueError) as error:
        return _unknown(error.detail, image_id=str(asked))
    job = job_of_image(card, asked, file_format)
    [drawn], limit_headers = await render(request, services, card, [job], timeout_ms)
    work = partial(compare, file, drawn.file.body, file_format)
    try:
        comparison = await combine(services, work, deadline_s, 1)
    except UnreadableFileError as error:
        return _unknown(str(error), image_id=str(asked))
    headers = {"Cache-Control": NO_STORE, **limit_headers}
    return JSONResponse(described(comparison, card, job), 200, headers)


def described(comparison: Comparison, card: ModelCard, job: Job) -> dict[str, object]:
    """The members of VerifyOut that apply."""
    members: dict[str, object] = {
        "result": "same" if comparison.same else "altered",
        "reason": comparison.reason,
        "compared": comparison.compared,
        "share_differing": comparison.share_differing,
        "mean_difference": comparison.mean_difference,
        "image_id": job.image_id,
        "model": card.name,
        "class": card.class_text(job.label, job.mix),
        "seed": job.seed,
        "truncation": job.truncation,
    }
    if job.attention_scale_thousandths != WHOLE:
        members["attention_scale"] = job.attention_scale
    return {name: value for name, value in members.items() if value is not None}


def _unknown(reason: str, **members: str) -> Response:
    document = {"result": "unknown", "reason": reason, **members}
    return JSONResponse(document, 200, {"Cache-Control": NO_STORE})

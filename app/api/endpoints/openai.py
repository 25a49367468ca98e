"""POST /v1/images/generations and GET /v1/models: compatible with OpenAI's clients."""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.api.authentication import linked_query
from app.api.combined_files import NamedFile, Recoded, json_with
from app.api.documentation import json_body, openai_errors
from app.api.image_headers import NO_STORE
from app.api.middleware import PlainRoute
from app.api.picture_stream import picture_stream
from app.api.prompts import label_of_prompt
from app.api.rendering import (
    JOB_ERRORS,
    MAX_PIXELS,
    RenderedFile,
    combine,
    combining_deadline_s,
    image_jobs,
    render,
)
from app.api.requests import all_fields, base_address, query_fields
from app.api.schemas import (
    OpenAIFields,
    OpenAIImages,
    OpenAIModel,
    OpenAIModels,
    OpenAINoFields,
)
from app.api.services import Services, services_of
from app.errors import (
    AmbiguousClassError,
    InvalidValueError,
    ModelNotFoundError,
    NotFoundError,
    NotReadyError,
    RequestTimeoutError,
    RetiredCheckpointError,
    UnknownClassError,
    UnsupportedMediaTypeError,
)
from app.queue.messages import FileFormat, Job, ModelCard

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"], route_class=PlainRoute)
OWNER = "sagan"
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", re.ASCII)


class Wanted(NamedTuple):
    """The files that a request wants of its images."""

    class_name: str
    size: str
    recoded: Recoded
    safety_identifier: str | None

    @property
    def drawn_format(self) -> FileFormat:
        """The format in which a worker draws: lossless if another file is made from it here."""
        return "png" if self.is_recoded else self.recoded.file_format

    @property
    def is_recoded(self) -> bool:
        """Whether the files are not those of the workers."""
        return self.recoded.scale > 1 or self.recoded.quality is not None

    @property
    def members(self) -> dict[str, str]:
        """What the response says of all images, in OpenAI's terms."""
        said = {
            "size": self.size,
            "output_format": self.recoded.file_format,
            "quality": "high",  # there is one quality, and OpenAI's clients expect one of theirs
            "background": "opaque",
        }
        if self.safety_identifier is not None:
            said["safety_identifier"] = self.safety_identifier
        return said

    def base64(self, job: Job, file: RenderedFile) -> dict[str, str]:
        """One image as Base64."""
        body = file.file.body
        if self.is_recoded:
            body = self.recoded.make([NamedFile(job.image_id, job.seed, body)])
        return {"b64_json": b64encode(body).decode(), "revised_prompt": self.class_name}


@router.post(
    "/images/generations",
    summary="Generate images",
    response_model=OpenAIImages,
    responses=openai_errors(
        InvalidValueError,
        AmbiguousClassError,
        UnknownClassError,
        ModelNotFoundError,
        RequestTimeoutError,
        RetiredCheckpointError,
        UnsupportedMediaTypeError,
        *JOB_ERRORS,
    ),
    openapi_extra=json_body(OpenAIFields, required=("prompt",)),
)
async def generations(request: Request) -> Response:
    """Generates images of the class that `prompt` is or names; passes unknown fields over.

    With `stream`, each image is an event `image_generation.completed`.
    """
    services = services_of(request)
    fields = await all_fields(request, OpenAIFields)
    if fields.prompt is None:
        raise InvalidValueError(
            "prompt is missing: give a class; GET /classes lists them", extra={"fields": ["prompt"]}
        )
    card = model_named(services, fields.model)
    label = label_of_prompt(services.classes(card), fields.prompt)
    wanted = wanted_files(card, fields, card.classes[label].name)
    jobs = image_jobs(
        services,
        card,
        label,
        num_images=fields.n or 1,
        seed=fields.seed,
        output=wanted.drawn_format,
    )
    timeout_ms = services.timeout_ms(None)
    if fields.stream:
        make = partial(completed, wanted)
        return await picture_stream(request, services, card, jobs, make, timeout_ms=timeout_ms)
    deadline_s = combining_deadline_s(timeout_ms)
    base = base_address(request) if fields.response_format == "url" else None
    rendered, limit_headers = await render(request, services, card, jobs, timeout_ms)
    made = {"created": int(time.time()), **wanted.members}
    images = (
        map(wanted.base64, jobs, rendered)
        if base is None
        else addressed(request, base, jobs, wanted)
    )
    body = await combine(services, partial(json_with, made, "data", images), deadline_s, len(jobs))
    return Response(body, 200, {"Cache-Control": NO_STORE, **limit_headers}, "application/json")


@router.get(
    "/models",
    summary="List the served checkpoints",
    response_model=OpenAIModels,
    responses=openai_errors(InvalidValueError, NotReadyError),
)
async def models(request: Request) -> Response:
    """Lists all models, then the aliases of models; their names are the ids."""
    query_fields(request, OpenAINoFields)
    services = services_of(request)
    services.cards.named()
    names = [card.name for card in services.cards.current()]
    aliases = services.settings.aliases
    names += [alias for alias in aliases if alias not in names and aliases[alias] in names]
    return JSONResponse({"object": "list", "data": list(map(_model, names))})


@router.get(
    "/models/{model:path}",
    summary="Get a served checkpoint",
    response_model=OpenAIModel,
    responses=openai_errors(
        InvalidValueError,
        ModelNotFoundError,
        NotReadyError,
        RetiredCheckpointError,
    ),
)
async def one_model(request: Request, model: str) -> Response:
    """Returns the model with this name, alias or fingerprint."""
    query_fields(request, OpenAINoFields)
    services = services_of(request)
    card = model_named(services, model)
    return JSONResponse(_model(model if model in services.settings.aliases else card.name))


def model_named(services: Services, name: str | None) -> ModelCard:
    """The card of the model with this name, fingerprint or alias (None: the default).

    A name comes before an equal alias. Raises ModelNotFoundError, NotReadyError,
    RetiredCheckpointError.
    """
    try:
        return services.card_named(name)
    except NotFoundError as error:
        try:
            return services.card_named(services.settings.aliases[name or ""])
        except (KeyError, NotFoundError):
            names = ", ".join(card.name for card in services.cards.current())
            raise ModelNotFoundError(
                f"{error.detail}; the models are {names}", extra={"fields": ["model"]}
            ) from None


def wanted_files(card: ModelCard, fields: OpenAIFields, class_name: str) -> Wanted:
    """The files that the fields name; raises InvalidValueError for an impossible size."""
    scale = scale_for(card, fields.size, fields.n or 1)
    file_format = fields.output_format or "png"
    quality = None if file_format == "png" else fields.output_compression
    side_px = scale * card.resolution
    given = (one for one in (fields.safety_identifier, fields.user) if isinstance(one, str) and one)
    return Wanted(
        class_name, f"{side_px}x{side_px}", Recoded(file_format, scale, quality), next(given, None)
    )


def scale_for(card: ModelCard, size: str | None, num_images: int) -> int:
    """By how much the images are enlarged; raises InvalidValueError for an impossible size."""
    if size in (None, "auto"):
        return 1
    own_px = card.resolution
    most = max(1, int((MAX_PIXELS / num_images) ** 0.5) // own_px)
    if match := _SIZE.fullmatch(size):
        width_px, height_px = int(match[1]), int(match[2])
        if width_px == height_px and width_px % own_px == 0 and width_px <= most * own_px:
            return width_px // own_px
    several = "" if num_images == 1 else f" for {num_images} images"
    raise InvalidValueError(
        f"size={size[:80]!r}: model {card.name} has {own_px}x{own_px} and whole multiples of it, "
        f"up to {most * own_px}x{most * own_px}{several}; auto is always right",
        extra={"fields": ["size"]},
    )


def completed(wanted: Wanted, job: Job, file: RenderedFile) -> dict[str, object]:
    """The event of an image; no tokens are counted, but clients expect the numbers."""
    return {
        "type": "image_generation.completed",
        **wanted.base64(job, file),
        "created_at": int(time.time()),
        **wanted.members,
        "usage": {
            "input_tokens": 0,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
            "output_tokens": 0,
            "total_tokens": 0,
        },
    }


def addressed(
    request: Request, base: str, jobs: Sequence[Job], wanted: Wanted
) -> Iterator[dict[str, str]]:
    """Each image as a URL that needs no key; `base` is the address of this server."""
    recoded, query = wanted.recoded, {}
    if recoded.scale > 1:
        query["scale"] = str(recoded.scale)
    if recoded.quality is not None:
        query["quality"] = str(recoded.quality)
    for job in jobs:
        path = f"/images/{job.image_id}.{recoded.file_format}"
        asked = linked_query(request, path, query)
        url = f"{base}{path}?{asked}" if asked else f"{base}{path}"
        yield {"url": url, "revised_prompt": wanted.class_name}


def _model(name: str) -> dict[str, str | int]:
    return {"id": name, "object": "model", "created": 0, "owned_by": OWNER}

"""The fields of requests and the JSON of responses, as the OpenAPI document shows them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.api.class_choice import MixField
from app.api.requests import RequestFields, text_or_index, thousandths, whole_number, yes_or_no
from app.queue.messages import (
    IMAGE_ID_PATTERN,
    MAX_ATTENTION_SCALE_THOUSANDTHS,
    MAX_SEED,
    MAX_TRUNCATION_THOUSANDTHS,
    WHOLE,
    FileFormat,
    Priority,
    View,
)

Whole = Annotated[int, BeforeValidator(whole_number)]
Seed = Annotated[
    Whole, Field(ge=0, le=MAX_SEED, description="Seed of the image; none: a random one")
]
Thousandths = Annotated[
    int,
    BeforeValidator(partial(thousandths, smallest=1, largest=MAX_TRUNCATION_THOUSANDTHS)),
    WithJsonSchema(
        {
            "type": "number",
            "minimum": 0.001,
            "maximum": MAX_TRUNCATION_THOUSANDTHS / 1000,
            "multipleOf": 0.001,
            "description": "Bound of the latent's components (truncation trick); none: unbounded",
        }
    ),
]
ScaleThousandths = Annotated[
    int,
    BeforeValidator(partial(thousandths, smallest=0, largest=MAX_ATTENTION_SCALE_THOUSANDTHS)),
    WithJsonSchema(
        {
            "type": "number",
            "minimum": 0,
            "maximum": MAX_ATTENTION_SCALE_THOUSANDTHS / 1000,
            "multipleOf": 0.001,
            "description": "Multiplies what each self-attention of the generator adds; 0: draws "
            "without attention",
        }
    ),
    Field(alias="attention_scale", json_schema_extra={"default": 1}),
]
ClassKey = Annotated[
    str,
    BeforeValidator(text_or_index),
    Field(
        min_length=1,
        max_length=200,
        description="Name, alias, WordNet id or index of a class; case, spaces, underscores and "
        "hyphens are ignored",
        examples=["golden_retriever"],
    ),
]
Flag = Annotated[bool, BeforeValidator(yes_or_no)]
ModelName = Annotated[
    str, Field(min_length=1, max_length=200, description="Name of a model; none: the default")
]
TimeoutMs = Annotated[Whole, Field(ge=1, description="Deadline of the request in milliseconds")]
Layout = Literal["grid", "zip", "json"]
WalkFormat = Literal["webp", "apng", "strip"]
FILE_FORMATS: dict[str, FileFormat] = {  # by the suffix of an address
    "png": "png",
    "webp": "webp",
    "jpeg": "jpeg",
    "jpg": "jpeg",
}
ImageName = Annotated[str, Path(pattern=rf"^{IMAGE_ID_PATTERN}(\.({'|'.join(FILE_FORMATS)}))?$")]
MAX_IMAGES = 64
MAX_JOB_IMAGES = 100_000
MAX_QUERIES = 8
MAX_SCALE = 64
MAX_PROMPT_LENGTH = 32_000  # characters, as at OpenAI
Coordinates = Annotated[tuple[Whole, ...], Field(min_length=1, max_length=MAX_QUERIES)]


class _DrawnFields(RequestFields):
    """What determines the first image of a request, and the model that draws it."""

    class_key: ClassKey | None = Field(None, alias="class")
    mix: MixField | None = None
    seed: Seed | None = None
    truncation_thousandths: Thousandths | None = Field(None, alias="truncation")
    attention_scale_thousandths: ScaleThousandths = WHOLE
    model: ModelName | None = None


class GenerateFields(_DrawnFields):
    """One image of a class, or several."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"class": "golden_retriever", "seed": 7}]}
    )
    n: Whole = Field(1, ge=1, le=MAX_IMAGES, description="Number of images; image i has seed + i")
    format: FileFormat | None = Field(None, description="Format of the images; overrides Accept")
    layout: Layout | None = Field(
        None,
        description="How several images are combined: grid, zip or JSON; overrides Accept",
    )
    priority: Priority = Field("interactive", description="bulk jobs give way to interactive ones")
    timeout_ms: TimeoutMs | None = None


class OrderFields(_DrawnFields):
    """Images of a class that are drawn as a job (`Prefer: respond-async`)."""

    n: Whole = Field(1, ge=1, le=MAX_JOB_IMAGES, description="Number of images")
    format: FileFormat | None = Field(None, description="Format of the images; default: png")
    layout: Literal["zip"] | None = Field(None, description="A job's result is a zip")
    priority: Literal["bulk"] = Field("bulk", description="A job has no other priority")
    webhook: str | None = Field(
        None, min_length=1, max_length=500, description="URL that is called when the job has ended"
    )


class JobFields(RequestFields):
    """Which ids of a job's images to list."""

    page: Whole = Field(
        1, ge=1, le=MAX_JOB_IMAGES, description="Page of 1,000 image ids, counted from 1"
    )


class ImageFields(RequestFields):
    """An image with an image id."""

    format: FileFormat | None = Field(
        None, description="Format of the image; overrides Accept, and may not contradict a suffix"
    )
    scale: Whole = Field(
        1, ge=1, le=MAX_SCALE, description="Each pixel becomes a square of scale by scale pixels"
    )
    quality: Whole | None = Field(None, ge=0, le=100, description="Of webp and jpeg")
    timeout_ms: TimeoutMs | None = None
    key: str | None = Field(None, max_length=16, description="Of a signed link")
    expires: Whole | None = Field(None, ge=0, description="Of a signed link")
    signature: str | None = Field(None, max_length=64, description="Of a signed link")


class InterpolateFields(RequestFields):
    """Two images and the frames between them."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"class": "zebra", "seed": 7, "to_seed": 8}]}
    )
    class_key: ClassKey | None = Field(None, alias="class")
    seed: Seed | None = Field(None, description="Of the first image")
    to_class: ClassKey | None = Field(None, description="Of the last image; none: the same")
    to_seed: Seed | None = Field(None, description="Of the last image; none: the same")
    truncation_thousandths: Thousandths | None = Field(None, alias="truncation")
    attention_scale_thousandths: ScaleThousandths = WHOLE
    frames: Whole = Field(
        16, ge=2, le=MAX_IMAGES, description="Number of frames, both ends included"
    )
    frame_ms: Whole = Field(80, ge=10, le=10_000, description="Duration of a frame")
    model: ModelName | None = None
    format: WalkFormat | None = Field(None, description="Overrides Accept")
    priority: Priority = Field("interactive", description="bulk jobs give way to interactive ones")
    timeout_ms: TimeoutMs | None = None


class AttentionFields(RequestFields):
    """Some pixels of an image, whose attention is returned."""

    repeatable: ClassVar[frozenset[str]] = frozenset({"x", "y"})

    x: Coordinates = Field((), description="Column of a pixel, from the left; up to 8 pixels")
    y: Coordinates = Field((), description="Row of a pixel, from the top; one for each x")
    image: str | None = Field(
        None,
        max_length=200,
        description="Image id; instead of class and seed",
        json_schema_extra={"pattern": f"^{IMAGE_ID_PATTERN}$"},
    )
    class_key: ClassKey | None = Field(None, alias="class")
    seed: Seed | None = None
    truncation_thousandths: Thousandths | None = Field(None, alias="truncation")
    attention_scale_thousandths: ScaleThousandths = WHOLE
    model: ModelName | None = None
    view: View = Field("overlay", description="Content of the PNG")
    layer: Whole = Field(-1, description="Attention layer, counted from 0; -1: the last")
    size: Whole = Field(256, ge=32, le=1024, description="Side of the PNG in pixels")
    format: Literal["png", "json", "npy", "bin"] | None = Field(
        None, description="Overrides Accept; bin has the maps of all pixels and takes no x and y"
    )
    timeout_ms: TimeoutMs | None = None


class VerifyFields(RequestFields):
    """The image that a file is compared with, if the file has no mark."""

    image: str | None = Field(
        None,
        max_length=200,
        description="Image id; none: that of the file's mark",
        json_schema_extra={"pattern": f"^{IMAGE_ID_PATTERN}$"},
    )
    timeout_ms: TimeoutMs | None = None


class ClassesFields(RequestFields):
    """The classes to list."""

    q: str = Field("", max_length=200, description="Part of a name, alias or WordNet id")
    model: ModelName | None = None


class ClassFields(RequestFields):
    """The model of the class."""

    model: ModelName | None = None


class NoFields(RequestFields):
    """No fields."""


class ClassOut(BaseModel):
    """One class of a model."""

    index: int = Field(examples=[207])
    name: str = Field(examples=["golden_retriever"])
    wnid: str | None = Field(examples=["n02099601"])
    aliases: tuple[str, ...]


class ClassesOut(BaseModel):
    """The matching classes of a model."""

    model: str
    classes: list[ClassOut]


class AttentionLayerOut(BaseModel):
    """An attention layer: its index, the grid of its maps, and its learned γ."""

    index: int
    height: int
    width: int
    gamma: float | None = Field(
        description="The factor of the layer's output; null if the worker does not tell it"
    )


class ModelOut(BaseModel):
    """A served checkpoint."""

    name: str
    fingerprint: str
    resolution: int
    num_classes: int
    z_dim: int
    attention_layers: list[AttentionLayerOut]
    renderer: str = Field(
        description="Device kind, precision and encoder, which determine the bytes"
    )
    licence: str | None
    size_bytes: int | None = Field(description="Of the weights; null: the worker does not say")
    workers_ready: int
    workers_loaded: int = Field(
        description="Workers that have it in memory; the others load it when it is asked for"
    )
    facts: dict[str, str | int | float | bool]


class ModelsOut(BaseModel):
    """The served checkpoints, and the name of the default one."""

    default: str
    models: list[ModelOut]


class GeneratedImage(BaseModel):
    """An image with its path and its bytes."""

    image_id: str
    seed: int
    url: str = Field(description="Its path on this server")
    media_type: str
    data: str = Field(
        description="The file in Base64", json_schema_extra={"contentEncoding": "base64"}
    )


class GeneratedOut(BaseModel):
    """Images of one class."""

    model: str
    class_name: str = Field(alias="class")
    images: list[GeneratedImage]


class JobOut(BaseModel):
    """A job: images that are drawn while the client does not wait."""

    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    model: str
    class_name: str = Field(alias="class")
    seed: int = Field(description="Of the first image; image i has seed + i")
    num_images: int
    num_drawn: int
    position: int | None = Field(description="Unfinished jobs that come first")
    seconds_left: float | None = Field(description="By the measured throughput; null: unknown")
    result: str = Field(description="Path of the result")
    events: str = Field(description="Path of the events")
    detail: str | None = Field(None, description="Why the job has failed")
    image_ids: list[str] | None = Field(None, description="The drawn images of the page")
    next: str | None = Field(None, description="Path of the next page")


class JobIdsOut(BaseModel):
    """The ids of all images of a job."""

    id: str
    state: Literal["queued", "running", "done"]
    model: str
    class_name: str = Field(alias="class")
    image_ids: list[str]


class AttentionOut(BaseModel):
    """Attention maps as numbers: weights are Q×h×w, each h×w sums to 1."""

    image_id: str
    layer: int
    queries: list[Annotated[list[int], Field(min_length=2, max_length=2)]]
    weights: list[list[list[float]]]


class VerifyOut(BaseModel):
    """Whether a file is the image that it says it is; members that do not apply are left out."""

    result: Literal["same", "altered", "unknown"]
    reason: str | None = Field(None, description="Why the file is altered or unknown")
    compared: Literal["bytes", "pixels"] | None = Field(
        None, description="What is the same; pixels: the file was packed again"
    )
    share_differing: float | None = Field(None, description="Of the pixels, 0 to 1")
    mean_difference: float | None = Field(None, description="In levels of 0 to 255")
    image_id: str | None = None
    model: str | None = None
    class_name: str | None = Field(None, alias="class")
    seed: int | None = None
    truncation: float | None = None
    attention_scale: float | None = None


class HealthOut(BaseModel):
    """The state of this replica."""

    status: Literal["alive"]


class ReadyOut(BaseModel):
    """The replica is ready; the live workers of each model."""

    status: Literal["ready"]
    workers_ready: dict[str, int] = Field(
        description="Live workers of each model; requests for a model with 0 wait or are refused"
    )


class WelcomeOut(BaseModel):
    """Links into the API."""

    name: str
    docs: str
    openapi: str
    links: dict[str, str]


class Problem(BaseModel):
    """An error (RFC 9457); some types have further members."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/problems/unknown-class"])
    title: str = Field(examples=["The model has no such class"])
    status: int = Field(examples=[422])
    detail: str = Field(
        examples=["no class is called 'golden_retreiver'; did you mean golden_retriever?"]
    )
    instance: str = Field(description="The request's id, as in X-Request-ID")


class OpenAIFields(RequestFields):
    """Images of a class, with the fields of OpenAI's API; others are passed over."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"prompt": "golden retriever", "n": 2}]}
    )
    passes_over_unknown: ClassVar[bool] = True

    prompt: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_PROMPT_LENGTH,
        description="A class: name, alias, WordNet id or index; or a sentence with the name or "
        "alias of exactly one class",
    )
    model: ModelName | None = None
    n: Whole | None = Field(None, ge=1, le=MAX_IMAGES)
    size: str | None = Field(
        None,
        max_length=20,
        description="auto, or WIDTHxHEIGHT: the model's own, or a whole multiple of it",
    )
    response_format: Literal["b64_json", "url"] | None = Field(
        None, description="Default: b64_json; a stream has no other"
    )
    output_format: FileFormat | None = Field(None, description="Default: png")
    output_compression: Whole | None = Field(
        None, ge=0, le=100, description="Quality of webp and jpeg; png has no losses"
    )
    stream: Flag | None = Field(
        None, description="Whether each image is sent as an event as soon as it is there"
    )
    partial_images: Whole | None = Field(
        None, ge=0, le=3, description="Accepted; this generator has no images in between"
    )
    seed: Seed | None = None
    safety_identifier: Any = Field(None, description="Returned")
    user: Any = Field(None, description="Returned as safety_identifier, if there is none")
    quality: Any = Field(None, description="Ignored: there is one quality")
    style: Any = Field(None, description="Ignored")
    background: Any = Field(None, description="Ignored: images are opaque")
    moderation: Any = Field(None, description="Ignored")


class OpenAINoFields(RequestFields):
    """No fields; unknown ones are passed over."""

    model_config = ConfigDict(extra="ignore")
    passes_over_unknown: ClassVar[bool] = True


class OpenAIImage(BaseModel):
    """An image, in one of two forms, and the class that was drawn."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str


class OpenAIImages(BaseModel):
    """Images in their order."""

    created: int
    size: str
    output_format: FileFormat
    quality: Literal["high"]
    background: Literal["opaque"]
    safety_identifier: str | None = None
    data: list[OpenAIImage]


class OpenAIModel(BaseModel):
    """A served checkpoint."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class OpenAIModels(BaseModel):
    """The served checkpoints."""

    object: Literal["list"]
    data: list[OpenAIModel]


class OpenAIProblem(BaseModel):
    """The members of `error`."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(BaseModel):
    """An error under /v1/."""

    error: OpenAIProblem

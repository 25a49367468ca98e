"""What requests may say and what JSON responses look like; the OpenAPI document shows these."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.api.requests import RequestFields, text_or_index, thousandths, whole_number
from app.queue.messages import (
    IMAGE_ID_PATTERN,
    MAX_SEED,
    MAX_TRUNCATION_THOUSANDTHS,
    FileFormat,
    Priority,
    View,
)

Whole = Annotated[int, BeforeValidator(whole_number)]
Seed = Annotated[
    Whole, Field(ge=0, le=MAX_SEED, description="Names the picture; none: the server picks one")
]
Thousandths = Annotated[
    int,
    BeforeValidator(thousandths),
    WithJsonSchema(
        {
            "type": "number",
            "minimum": 0.001,
            "maximum": MAX_TRUNCATION_THOUSANDTHS / 1000,
            "multipleOf": 0.001,
            "description": "How far the latent may stray from its mean; none: as far as it likes",
        }
    ),
]
ClassKey = Annotated[
    str,
    BeforeValidator(text_or_index),
    Field(
        min_length=1,
        max_length=200,
        description="Name, alias, WordNet id or index of a class; case, spaces, underscores and "
        "hyphens do not matter",
        examples=["golden_retriever"],
    ),
]
ModelName = Annotated[
    str, Field(min_length=1, max_length=200, description="Name of a model; none: the default")
]
TimeoutMs = Annotated[Whole, Field(ge=1, description="Milliseconds to wait for the answer")]
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
MAX_QUERIES = 8
Coordinates = Annotated[tuple[Whole, ...], Field(min_length=1, max_length=MAX_QUERIES)]


class GenerateFields(RequestFields):
    """One picture of a class, or several."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"class": "golden_retriever", "seed": 7}]}
    )
    class_key: ClassKey | None = Field(None, alias="class")
    seed: Seed | None = None
    truncation_thousandths: Thousandths | None = Field(None, alias="truncation")
    model: ModelName | None = None
    n: Whole = Field(1, ge=1, le=MAX_IMAGES, description="Pictures; the ith has seed + i")
    format: FileFormat | None = Field(None, description="Of the pictures; beats the Accept header")
    layout: Layout | None = Field(
        None,
        description="Several pictures as a contact sheet, a zip or JSON; beats the Accept header",
    )
    priority: Priority = Field("interactive", description="bulk gives way to what people wait for")
    timeout_ms: TimeoutMs | None = None


class ImageFields(RequestFields):
    """A picture that has a name."""

    timeout_ms: TimeoutMs | None = None


class InterpolateFields(RequestFields):
    """Two pictures, and how to go from the one to the other."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"class": "zebra", "seed": 7, "to_seed": 8}]}
    )
    class_key: ClassKey | None = Field(None, alias="class")
    seed: Seed | None = Field(None, description="Of the first picture")
    to_class: ClassKey | None = Field(None, description="Of the last; none: the same")
    to_seed: Seed | None = Field(None, description="Of the last; none: the same")
    truncation_thousandths: Thousandths | None = Field(None, alias="truncation")
    frames: Whole = Field(16, ge=2, le=MAX_IMAGES, description="Pictures, both ends included")
    frame_ms: Whole = Field(80, ge=10, le=10_000, description="How long each is shown")
    model: ModelName | None = None
    format: WalkFormat | None = Field(None, description="Beats the Accept header")
    priority: Priority = Field("interactive", description="bulk gives way to what people wait for")
    timeout_ms: TimeoutMs | None = None


class AttentionFields(RequestFields):
    """Where the generator looked when it drew some pixels of a picture."""

    repeatable: ClassVar[frozenset[str]] = frozenset({"x", "y"})

    x: Coordinates = Field((), description="Column of the pixel, from the left; up to 8 of them")
    y: Coordinates = Field((), description="Row of the pixel, from the top; as many as x")
    image: str | None = Field(
        None,
        max_length=200,
        description="Image id; or give class and seed",
        json_schema_extra={"pattern": f"^{IMAGE_ID_PATTERN}$"},
    )
    class_key: ClassKey | None = Field(None, alias="class")
    seed: Seed | None = None
    truncation_thousandths: Thousandths | None = Field(None, alias="truncation")
    model: ModelName | None = None
    view: View = Field("overlay", description="What the PNG shows")
    layer: Whole = Field(-1, description="Attention layer, counted from 0; -1: the last")
    size: Whole = Field(256, ge=32, le=1024, description="Side of the PNG in pixels")
    format: Literal["png", "json", "npy", "bin"] | None = Field(
        None, description="Beats the Accept header; bin has all pixels at once, without x and y"
    )
    timeout_ms: TimeoutMs | None = None


class ClassesFields(RequestFields):
    """Which classes to list."""

    q: str = Field("", max_length=200, description="Part of a name, alias or WordNet id")
    model: ModelName | None = None


class ClassFields(RequestFields):
    """Whose class to show."""

    model: ModelName | None = None


class NoFields(RequestFields):
    """Nothing to choose."""


class ClassOut(BaseModel):
    """One class of a model."""

    index: int = Field(examples=[207])
    name: str = Field(examples=["golden_retriever"])
    wnid: str | None = Field(examples=["n02099601"])
    aliases: tuple[str, ...]


class ClassesOut(BaseModel):
    """The classes of a model that match."""

    model: str
    classes: list[ClassOut]


class AttentionLayerOut(BaseModel):
    """One attention layer: its index and the grid of its maps."""

    index: int
    height: int
    width: int


class ModelOut(BaseModel):
    """A checkpoint that is served."""

    name: str
    fingerprint: str
    resolution: int
    num_classes: int
    z_dim: int
    attention_layers: list[AttentionLayerOut]
    renderer: str = Field(description="Device kind, precision and encoder: they decide the bytes")
    licence: str | None
    workers_ready: int
    facts: dict[str, str | int | float | bool]


class ModelsOut(BaseModel):
    """The checkpoints that are served, and the name of the one that answers for all."""

    default: str
    models: list[ModelOut]


class GeneratedImage(BaseModel):
    """A picture: where it is, and its bytes."""

    image_id: str
    seed: int
    url: str = Field(description="Its path on this server")
    media_type: str
    data: str = Field(description="The file in Base64", json_schema_extra={"format": "byte"})


class GeneratedOut(BaseModel):
    """Pictures of one class."""

    model: str
    class_name: str = Field(alias="class")
    images: list[GeneratedImage]


class AttentionOut(BaseModel):
    """Attention maps as numbers: weights are Q×h×w, each h×w sums to 1."""

    image_id: str
    layer: int
    queries: list[Annotated[list[int], Field(min_length=2, max_length=2)]]
    weights: list[list[list[float]]]


class HealthOut(BaseModel):
    """That all is well."""

    status: Literal["alive", "ready"]


class WelcomeOut(BaseModel):
    """Where to go from here."""

    name: str
    docs: str
    openapi: str
    links: dict[str, str]


class Problem(BaseModel):
    """What went wrong (RFC 9457); some types have further members."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/problems/unknown-class"])
    title: str = Field(examples=["The model does not know this class"])
    status: int = Field(examples=[422])
    detail: str = Field(
        examples=["no class is called 'golden_retreiver'; did you mean golden_retriever?"]
    )
    instance: str = Field(description="The request's id, as in X-Request-ID")


class OpenAIFields(RequestFields):
    """Pictures of a class, in the words of OpenAI's API."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "golden retriever", "n": 2}]}
    )
    prompt: ClassKey | None = Field(None, description="A class: name, alias, WordNet id or index")
    model: ModelName | None = None
    n: Whole | None = Field(None, ge=1, le=MAX_IMAGES)
    size: str | None = Field(None, max_length=20, description="auto, or the model's own")
    response_format: Literal["b64_json", "url"] | None = Field(
        None, description="b64_json if not told otherwise"
    )
    output_format: FileFormat | None = Field(None, description="png if not told otherwise")
    seed: Seed | None = None
    user: str | None = Field(None, max_length=512, description="Passed over")
    quality: str | None = Field(None, max_length=20, description="Passed over")
    style: str | None = Field(None, max_length=20, description="Passed over")
    background: str | None = Field(None, max_length=20, description="Passed over")
    moderation: str | None = Field(None, max_length=20, description="Passed over")


class OpenAIImage(BaseModel):
    """A picture: one of the two."""

    b64_json: str | None = None
    url: str | None = None


class OpenAIImages(BaseModel):
    """Pictures, in their order."""

    created: int
    data: list[OpenAIImage]


class OpenAIModel(BaseModel):
    """A checkpoint that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class OpenAIModels(BaseModel):
    """The checkpoints that are served."""

    object: Literal["list"]
    data: list[OpenAIModel]


class OpenAIProblem(BaseModel):
    """What `error` says."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(BaseModel):
    """What went wrong, under /v1/."""

    error: OpenAIProblem

"""What requests and answers under /v1/ look like."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.requests import RequestFields
from app.api.schemas import MAX_IMAGES, ClassKey, ModelName, Seed, Whole
from app.queue.messages import FileFormat


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

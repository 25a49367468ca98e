"""What agents can ask for. The docstring and the fields of a tool are what an agent reads of it."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Awaitable
from typing import Annotated, TypeVar

from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ImageContent, TextContent
from pydantic import BaseModel, Field

from app.client import AsyncClient, AsyncPicture, File, NoAnswerError
from app.errors import AppError, UnauthenticatedError
from app.mcp.readings import Readings, in_words, readings
from app.server_options import KEY_VARIABLE

logger = logging.getLogger(__name__)
MAX_IMAGES = 16  # of a call: each takes room in the agent's context
MAX_CLASSES = 50
MAP_SIDE_PX = 512
Found = TypeVar("Found")

ClassName = Annotated[
    str | int, Field(description="Name, alias, WordNet id or index of a class; see `classes`")
]
Seed = Annotated[int, Field(description="0 to 4294967295; the same seed draws the same picture")]
Truncation = Annotated[
    float | None,
    Field(description="0.001 to 4: below 1 more typical, less varied pictures; omit it for none"),
]
ModelName = Annotated[
    str | None, Field(description="Name of a model, see `models`; omit it for the default")
]


class DrawnImage(BaseModel):
    """A picture: `image_id` names it in `attention`."""

    image_id: str
    seed: int


class Drawn(BaseModel):
    """Pictures of one class, in the order in which the result has their files."""

    model: str
    images: list[DrawnImage]


class FoundClass(BaseModel):
    """A class that a model draws."""

    index: int
    name: str
    wnid: str | None
    aliases: tuple[str, ...]


class FoundClasses(BaseModel):
    """The first classes that were found, and how many there are."""

    num_found: int
    classes: list[FoundClass]


class ServedModel(BaseModel):
    """A model: pictures have `resolution`×`resolution` pixels."""

    name: str
    resolution: int
    num_classes: int
    workers_ready: int = Field(description="0: its pictures cannot be drawn at the moment")
    is_default: bool


class ServedModels(BaseModel):
    """The models of the service."""

    models: list[ServedModel]


class Tools:
    """The tools, over one client of the service at `url`."""

    def __init__(self, client: AsyncClient, url: str) -> None:
        self.client = client
        self.url = url

    async def draw(
        self,
        class_name: ClassName,
        seed: Annotated[Seed | None, Field(description="Omit it for a random picture")] = None,
        n: Annotated[
            int, Field(ge=1, le=MAX_IMAGES, description="How many; picture i has seed + i")
        ] = 1,
        truncation: Truncation = None,
        model: ModelName = None,
    ) -> Annotated[CallToolResult, Drawn]:
        """Draw new pictures of a class, such as a zebra.

        Returns each picture as a PNG, with its image id and seed. Pass the image id to `attention`;
        pass class and seed again to draw the same picture again.
        """
        fields = _given(truncation=truncation, model=model)
        pictures = await self._answer(self.client.generate_many(class_name, n, seed=seed, **fields))
        drawn = Drawn(
            model=pictures[0].model,
            images=[DrawnImage(image_id=one.id, seed=one.seed) for one in pictures],
        )
        told = "\n".join(f"image id {one.image_id}, seed {one.seed}" for one in drawn.images)
        return _result(f"Drawn by the model {drawn.model}:\n{told}", drawn, *pictures)

    async def attention(
        self,
        x: Annotated[int, Field(description="Column of the pixel, from the left, from 0")],
        y: Annotated[int, Field(description="Row of the pixel, from the top, from 0")],
        image_id: Annotated[str | None, Field(description="Of a picture that was drawn")] = None,
        class_name: Annotated[ClassName | None, Field(description="Without image_id")] = None,
        seed: Annotated[Seed | None, Field(description="Without image_id")] = None,
        truncation: Truncation = None,
        model: ModelName = None,
        layer: Annotated[int, Field(description="Attention layer from 0; -1: the last")] = -1,
    ) -> Annotated[CallToolResult, Readings]:
        """Show what the network attended to when it drew the pixel (x, y) of a picture.

        Give image_id, or class_name and seed. Returns a PNG with the picture, the pixel marked,
        beside a heatmap of its attention, and in words and numbers where it looks most.
        """
        picture = await self._picture(image_id, class_name, seed, truncation, model)
        weights = await self._answer(self.client.attention_weights(picture.id, x, y, layer=layer))
        shown = await self._answer(
            self.client.attention(picture.id, x, y, layer=layer, view="pair", size=MAP_SIDE_PX)
        )
        found = readings(weights, picture.id, picture.image.width, (x, y), layer)
        return _result(in_words(found), found, shown)

    async def walk(
        self,
        class_name: ClassName,
        seed: Seed,
        to_class: Annotated[ClassName | None, Field(description="Omit it for the same")] = None,
        to_seed: Annotated[Seed | None, Field(description="Omit it for the same")] = None,
        frames: Annotated[int, Field(description="2 to 64, both ends included")] = 8,
        animated: Annotated[
            bool, Field(description="An animated WebP, which few models can look at")
        ] = False,
        truncation: Truncation = None,
        model: ModelName = None,
    ) -> CallToolResult:
        """Show the frames from one picture to another, as a PNG with the frames side by side.

        Give to_class, to_seed or both. In between, classes and details are mixed.
        """
        file = await self._answer(
            self.client.walk(
                class_name,
                seed=seed,
                to_class=to_class,
                to_seed=to_seed,
                frames=frames,
                format="webp" if animated else "strip",
                **_given(truncation=truncation, model=model),
            )
        )
        start = f"{class_name}, seed {seed}"
        end = f"{class_name if to_class is None else to_class}, "
        end += f"seed {seed if to_seed is None else to_seed}"
        return _result(f"{frames} frames from {start} to {end}.", None, file)

    async def classes(
        self,
        query: Annotated[
            str, Field(description="Part of a name, alias or WordNet id; empty: all")
        ] = "",
        model: ModelName = None,
    ) -> Annotated[CallToolResult, FoundClasses]:
        """List the classes that can be drawn, or search among them."""
        found = await self._answer(self.client.classes(query, model=model))
        listed = [
            FoundClass(index=one.index, name=one.name, wnid=one.wnid, aliases=one.aliases)
            for one in found[:MAX_CLASSES]
        ]
        names = ", ".join(one.name for one in listed) or "none: search for a shorter part"
        more = f" Only the first {len(listed)} are listed." if len(found) > len(listed) else ""
        return _result(
            f"{len(found)} classes: {names}.{more}",
            FoundClasses(num_found=len(found), classes=listed),
        )

    async def models(self) -> Annotated[CallToolResult, ServedModels]:
        """List the models that draw: the size of their pictures and how many classes they have."""
        served = [
            ServedModel(
                name=one.name,
                resolution=one.resolution,
                num_classes=one.num_classes,
                workers_ready=one.workers_ready,
                is_default=one.is_default,
            )
            for one in await self._answer(self.client.models())
        ]
        return _result("\n".join(map(_told, served)), ServedModels(models=served))

    async def _picture(
        self,
        image_id: str | None,
        class_name: str | int | None,
        seed: int | None,
        truncation: float | None,
        model: str | None,
    ) -> AsyncPicture:
        """The picture that an agent names in one of two ways; raises ToolError."""
        fields = _given(truncation=truncation, model=model)
        if image_id is None:
            if class_name is None or seed is None:
                raise ToolError("give image_id, or class_name and seed")
            return await self._answer(self.client.generate(class_name, seed=seed, **fields))
        if told := _given(class_name=class_name, seed=seed, **fields):
            raise ToolError(f"image_id says this already: leave out {', '.join(told)}")
        return await self._answer(self.client.picture(image_id, format="png"))

    async def _answer(self, call: Awaitable[Found]) -> Found:
        """What the service answers; raises ToolError with what to do about an error."""
        try:
            return await call
        except AppError as error:
            raise ToolError(self._advice(error)) from error
        except (KeyError, TypeError, ValueError) as error:
            logger.exception("cannot read the answer")
            raise ToolError(f"{self.url} does not answer as this service does") from error

    def _advice(self, error: AppError) -> str:
        if isinstance(error, NoAnswerError):
            return (
                f"{error.detail} ({self.url}): start it with `sagan serve`, or give another --url"
            )
        if isinstance(error, UnauthenticatedError):
            return f"{error.detail} (this server sends the key that {KEY_VARIABLE} holds)"
        if error.retry_after_s is not None and "retry after" not in error.detail:
            return f"{error.detail}; retry after {error.retry_after_s} s"
        return error.detail


def _given(**fields: str | int | float | None) -> dict[str, str | int | float]:
    return {name: value for name, value in fields.items() if value is not None}


def _told(model: ServedModel) -> str:
    default = ", the default" if model.is_default else ""
    ready = "" if model.workers_ready else "; no worker is ready"
    return (
        f"{model.name}{default}: {model.num_classes} classes, "
        f"{model.resolution}×{model.resolution} pixels{ready}"
    )


def _result(told: str, data: BaseModel | None, *files: File) -> CallToolResult:
    images = [
        ImageContent(type="image", data=b64encode(one.content).decode(), mime_type=one.media_type)
        for one in files
    ]
    content = [*images, TextContent(type="text", text=told)]
    if data is None:
        return CallToolResult(content=content)
    return CallToolResult(content=content, structured_content=data.model_dump(mode="json"))

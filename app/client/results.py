"""What calls return, as far as it needs no further call."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from PIL import Image

State = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class File:
    """A file of an image, an attention map or a walk."""

    content: bytes = field(repr=False)
    media_type: str

    @cached_property
    def image(self) -> Image.Image:
        """The decoded image."""
        image = Image.open(io.BytesIO(self.content))
        image.load()
        return image

    def save(self, path: str | Path) -> None:
        """Writes the file as it is; the format does not follow the suffix of `path`."""
        Path(path).write_bytes(self.content)


@dataclass(frozen=True)
class ImageClass:
    """A class of a model."""

    index: int
    name: str
    wnid: str | None
    aliases: tuple[str, ...]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """From a member of `GET /classes`."""
        known = {name: document[name] for name in ("index", "name", "wnid")}
        return cls(**known, aliases=tuple(document["aliases"]))


@dataclass(frozen=True)
class Model:
    """A served checkpoint."""

    name: str
    fingerprint: str
    resolution: int
    num_classes: int
    workers_ready: int
    is_default: bool

    @classmethod
    def of(cls, document: Mapping[str, Any], default: str) -> Self:
        """From a member of `GET /models`."""
        names = ("name", "fingerprint", "resolution", "num_classes", "workers_ready")
        known = {name: document[name] for name in names}
        return cls(**known, is_default=document["name"] == default)


@dataclass(frozen=True)
class JobStatus:
    """How far a job is: `position` counts the unfinished jobs before it.

    `seconds_left` is None while it is unknown, and `position` once the job has ended.
    """

    state: State
    num_images: int
    num_drawn: int
    position: int | None
    seconds_left: float | None
    detail: str

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """From `GET /jobs/{id}`."""
        names = ("state", "num_images", "num_drawn", "position", "seconds_left")
        known = {name: document[name] for name in names}
        return cls(**known, detail=document.get("detail", ""))

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in ("done", "failed", "cancelled")

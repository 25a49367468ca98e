"""A walk between two pictures as one file: animated WebP, APNG, or a strip. Pillow, no model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from app.api.combined_files import GUTTER_PX, PNG_LEVEL, QUALITY, Named
from app.api.schemas import WalkFormat

WALK_TYPES: dict[WalkFormat, str] = {
    "webp": "image/webp",
    "apng": "image/apng",
    "strip": "image/png",
}


class Walk(NamedTuple):
    """What is made of the frames; an animation begins anew after its last."""

    file_format: WalkFormat
    frame_ms: int

    @property
    def kind(self) -> str:
        """What it is, in a word."""
        return "walk"

    @property
    def media_type(self) -> str:
        """Of the file."""
        return WALK_TYPES[self.file_format]

    def make(self, pictures: Sequence[Named]) -> bytes:
        """The file of equal pictures, in their order."""
        frames = [Image.open(io.BytesIO(picture.body)) for picture in pictures]
        if self.file_format == "strip":
            return strip(frames)
        buffer = io.BytesIO()
        first, *later = frames
        kind = {"webp": "WEBP", "apng": "PNG"}[self.file_format]
        first.save(
            buffer,
            kind,
            save_all=True,
            append_images=later,
            duration=self.frame_ms,
            loop=0,
            quality=QUALITY,
            compress_level=PNG_LEVEL,
        )
        return buffer.getvalue()


def strip(frames: Sequence[Image.Image]) -> bytes:
    """A PNG with the frames side by side."""
    width, height = frames[0].size
    step = width + GUTTER_PX
    whole = Image.new("RGB", (len(frames) * step - GUTTER_PX, height))
    for i, frame in enumerate(frames):
        whole.paste(frame, (i * step, 0))
    buffer = io.BytesIO()
    whole.save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()

"""Several pictures as one file: a contact sheet, a zip, a JSON document. Pillow, no model."""

from __future__ import annotations

import io
import json
import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from PIL import Image, __version__

from app.api.schemas import Layout, WalkFormat
from app.queue.messages import MEDIA_TYPES, FileFormat

GUTTER_PX = 2
QUALITY = 90  # of WebP and JPEG, as single pictures have
PNG_LEVEL = 1  # most of zlib's gain at a fifth of its time
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip: the same pictures make the same bytes
MAKER = f"pillow{__version__}"  # another one may make other bytes
BUNDLE_TYPES: dict[Layout, str] = {"json": MEDIA_TYPES["json"], "zip": "application/zip"}
WALK_TYPES: dict[WalkFormat, str] = {
    "webp": "image/webp",
    "apng": "image/apng",
    "strip": "image/png",
}


@dataclass(frozen=True)
class NamedFile:
    """A picture's file and its name."""

    image_id: str
    seed: int
    body: bytes


class Bundle(NamedTuple):
    """What is made of several pictures: how they are laid out, and in which format they are.

    A document tells the model and the class.
    """

    layout: Layout
    file_format: FileFormat
    model: str = ""
    class_name: str = ""

    @property
    def kind(self) -> str:
        """What it is, in a word."""
        return self.layout

    @property
    def media_type(self) -> str:
        """Of the whole."""
        return BUNDLE_TYPES.get(self.layout, MEDIA_TYPES[self.file_format])

    @property
    def unit_format(self) -> FileFormat:
        """The format of the pictures that it is made of: a grid has lossless ones."""
        return "png" if self.layout == "grid" else self.file_format

    def make(self, pictures: Sequence[NamedFile]) -> bytes:
        """The file."""
        if self.layout == "grid":
            return grid([picture.body for picture in pictures], self.file_format)
        if self.layout == "zip":
            return archive(pictures, self.file_format)
        return document(pictures, self.file_format, self.model, self.class_name)


def grid(bodies: Sequence[bytes], file_format: FileFormat) -> bytes:
    """Equal pictures row by row, as square as can be, a thin black gutter between them."""
    columns = math.ceil(math.sqrt(len(bodies)))
    rows = math.ceil(len(bodies) / columns)
    pictures = [Image.open(io.BytesIO(body)) for body in bodies]
    step_x, step_y = (side + GUTTER_PX for side in pictures[0].size)
    sheet = Image.new("RGB", (columns * step_x - GUTTER_PX, rows * step_y - GUTTER_PX))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * step_x, i // columns * step_y))
    buffer = io.BytesIO()
    sheet.save(buffer, file_format.upper(), quality=QUALITY, compress_level=PNG_LEVEL)
    return buffer.getvalue()


def archive(pictures: Sequence[NamedFile], file_format: FileFormat) -> bytes:
    """A zip of the files, stored as they are: they are compressed already."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as file:
        for picture in pictures:
            file.writestr(ZipInfo(f"{picture.image_id}.{file_format}", EPOCH), picture.body)
    return buffer.getvalue()


def document(
    pictures: Sequence[NamedFile], file_format: FileFormat, model: str, class_name: str
) -> bytes:
    """JSON: see GeneratedOut."""
    images = (
        {
            "image_id": picture.image_id,
            "seed": picture.seed,
            "url": f"/images/{picture.image_id}.{file_format}",
            "media_type": MEDIA_TYPES[file_format],
            "data": b64encode(picture.body).decode(),
        }
        for picture in pictures
    )
    return json_with({"model": model, "class": class_name}, "images", images)


def json_with(
    members: Mapping[str, object], name: str, pictures: Iterable[Mapping[str, object]]
) -> bytes:
    """A JSON object with these members, at least one, and last the list of pictures.

    Each picture is spelt by itself: json lets no other thread go on until it is done, which for
    64 of them is a seventh of a second that every client would wait.
    """
    spelt = b", ".join(json.dumps(picture).encode() for picture in pictures)
    return b'%s, "%s": [%s]}' % (json.dumps(members).encode()[:-1], name.encode(), spelt)


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

    def make(self, pictures: Sequence[NamedFile]) -> bytes:
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

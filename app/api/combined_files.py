"""Several images packed into one file: grid, zip, JSON, animation or strip. Needs no model."""

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
from app.file_marks import KEYWORD, mark_name, marked_file, sheet_members
from app.queue.messages import MEDIA_TYPES, FileFormat

GUTTER_PX = 2
QUALITY = 90  # of WebP and JPEG, as for single images
PNG_LEVEL = 1  # most of zlib's compression in a fifth of its time
EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed date in zip files, so that their bytes do not change
MAKER = f"pillow{__version__}-{mark_name('', ())}"  # in the ETag: another version may differ
BUNDLE_TYPES: dict[Layout, str] = {"json": MEDIA_TYPES["json"], "zip": "application/zip"}
WALK_TYPES: dict[WalkFormat, str] = {
    "webp": "image/webp",
    "apng": "image/apng",
    "strip": "image/png",
}


@dataclass(frozen=True)
class NamedFile:
    """An image's file with its image id and seed."""

    image_id: str
    seed: int
    body: bytes


class Bundle(NamedTuple):
    """Several images of a class as a grid, a zip or a JSON document, and the format of the images.

    `model` and `class_name` are members of the JSON document and, if it is `marked`, of a grid's
    mark; `prefix` begins the paths in the document.
    """

    layout: Layout
    file_format: FileFormat
    model: str = ""
    class_name: str = ""
    prefix: str = ""
    marked: bool = False

    @property
    def kind(self) -> str:
        """The part of the entity tag that says how the images are combined."""
        return self.layout

    @property
    def media_type(self) -> str:
        """The media type of the combined file."""
        return BUNDLE_TYPES.get(self.layout, MEDIA_TYPES[self.file_format])

    @property
    def unit_format(self) -> FileFormat:
        """The format of the single images before they are combined: lossless for a grid."""
        return "png" if self.layout == "grid" else self.file_format

    def make(self, images: Sequence[NamedFile]) -> bytes:
        """The combined file."""
        if self.layout == "grid":
            sheet = grid([image.body for image in images], self.file_format)
            if not self.marked:
                return sheet
            ids = [image.image_id for image in images]
            members = sheet_members(ids, self.model, self.class_name)
            return marked_file(sheet, self.file_format, members)
        if self.layout == "zip":
            return archive(images, self.file_format)
        return document(images, self.file_format, self)


def grid(bodies: Sequence[bytes], file_format: FileFormat) -> bytes:
    """The images row by row in a nearly square grid with thin black gaps."""
    columns = math.ceil(math.sqrt(len(bodies)))
    rows = math.ceil(len(bodies) / columns)
    images = [Image.open(io.BytesIO(body)) for body in bodies]
    step_x, step_y = (side + GUTTER_PX for side in images[0].size)
    sheet = Image.new("RGB", (columns * step_x - GUTTER_PX, rows * step_y - GUTTER_PX))
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * step_x, i // columns * step_y))
    buffer = io.BytesIO()
    sheet.save(buffer, file_format.upper(), quality=QUALITY, compress_level=PNG_LEVEL)
    return buffer.getvalue()


def archive(images: Sequence[NamedFile], file_format: FileFormat) -> bytes:
    """A zip of the files, without further compression."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as file:
        for image in images:
            file.writestr(ZipInfo(f"{image.image_id}.{file_format}", EPOCH), image.body)
    return buffer.getvalue()


def document(images: Sequence[NamedFile], file_format: FileFormat, bundle: Bundle) -> bytes:
    """A JSON document, see GeneratedOut."""
    members = (
        {
            "image_id": image.image_id,
            "seed": image.seed,
            "url": f"{bundle.prefix}/images/{image.image_id}.{file_format}",
            "media_type": MEDIA_TYPES[file_format],
            "data": b64encode(image.body).decode(),
        }
        for image in images
    )
    return json_with({"model": bundle.model, "class": bundle.class_name}, "images", members)


def json_with(
    members: Mapping[str, object], name: str, images: Iterable[Mapping[str, object]]
) -> bytes:
    """A JSON object with `members` (at least one), and the images as member `name`.

    Each image is encoded by itself, because json.dumps holds Python's lock until it is done. With
    64 images in one call all clients would wait a seventh of a second.
    """
    encoded = b", ".join(json.dumps(image).encode() for image in images)
    return b'%s, "%s": [%s]}' % (json.dumps(members).encode()[:-1], name.encode(), encoded)


class Recoded(NamedTuple):
    """One lossless image as another file: enlarged, or with a quality of its own.

    Each pixel becomes a square of `scale` by `scale` pixels (nearest neighbour), so that the image
    can be read back from a lossless file, and nothing is added that the model did not draw.
    `quality`, 0 to 100, is that of WebP and JPEG. The mark stays that of the image.
    """

    file_format: FileFormat
    scale: int = 1
    quality: int | None = None

    @property
    def kind(self) -> str:
        """The part of the entity tag that says how the file differs from the image's own."""
        return f"x{self.scale}"

    @property
    def media_type(self) -> str:
        """The media type of the file."""
        return MEDIA_TYPES[self.file_format]

    def make(self, images: Sequence[NamedFile]) -> bytes:
        """The file of the only image, which is a PNG."""
        [image] = images
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(image.body)) as picture:
            mark = picture.info.get(KEYWORD.decode())
            width, height = picture.size
            size_px = width * self.scale, height * self.scale
            larger = picture.convert("RGB").resize(size_px, Image.Resampling.NEAREST)
        quality = QUALITY if self.quality is None else max(1, self.quality)
        larger.save(buffer, self.file_format.upper(), quality=quality, compress_level=PNG_LEVEL)
        body = buffer.getvalue()
        return marked_file(body, self.file_format, json.loads(mark)) if mark else body


class Walk(NamedTuple):
    """The frames between two images as an animation that repeats for ever, or as a strip.

    `model` and `class_names`, of the two ends, are members of the mark, if the file is `marked`.
    """

    file_format: WalkFormat
    frame_ms: int
    model: str = ""
    class_names: str = ""
    marked: bool = False

    @property
    def kind(self) -> str:
        """The part of the entity tag that says how the images are combined."""
        return "walk"

    @property
    def media_type(self) -> str:
        """The media type of the combined file."""
        return WALK_TYPES[self.file_format]

    def make(self, images: Sequence[NamedFile]) -> bytes:
        """The combined file of the frames, which have equal sizes."""
        file = self._packed(images)
        if not self.marked:
            return file
        ends = [images[0].image_id, images[-1].image_id]
        members = sheet_members(ends, self.model, self.class_names)
        return marked_file(file, "webp" if self.file_format == "webp" else "png", members)

    def _packed(self, images: Sequence[NamedFile]) -> bytes:
        frames = [Image.open(io.BytesIO(image.body)) for image in images]
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

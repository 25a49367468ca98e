"""Marks: what an image file says of itself, and that a model made it.

A mark is XMP (ISO 16684-1) with IPTC's `DigitalSourceType` and this project's members, such as the
image id. In PNG, a `tEXt` chunk repeats the members as JSON. A mark is put into a finished file,
before or after its pixels, so that it changes no pixel. It has no date: the same image has the same
mark.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple
from xml.sax.saxutils import quoteattr
from zlib import crc32

Members = Mapping[str, str | int | float]

MADE_BY_A_MODEL = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
NAMESPACE = "urn:sagan:1"
KEYWORD = b"sagan"  # of PNG's tEXt chunk
NAMES = ("model", "class")  # members that may have any characters
ID_MEMBERS = ("image_id", "image_ids", "attention_of")  # members that are image ids
QUOTED, NUMBER = '"%s"', "%s"
MAX_TEXT = 200  # characters of a member that is text, such as the name of a class

_XMP_START = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    f' Iptc4xmpExt:DigitalSourceType="{MADE_BY_A_MODEL}" xmlns:sagan="{NAMESPACE}"'
)
_XMP_END = "/></rdf:RDF></x:xmpmeta>"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_BYTES = 33  # the signature and the chunk IHDR
_PNG_XMP = b"XML:com.adobe.xmp\0\0\0\0\0"  # keyword; not compressed; no language, no translation
_JPEG_START = b"\xff\xd8"
_JPEG_APP0, _JPEG_APP1 = b"\xff\xe0", b"\xff\xe1"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_WEBP_XMP_FLAG = 0x04
_NOT_IN_XML = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# An attribute or an element of XMP, also as other programs write it, or a member of the JSON.
_IMAGE_ID = re.compile(rb"image_id\s*(?:=\s*[\"']|>|\":\s*\")([0-9a-f]{12}[-0-9anx_]{1,100})[\"'<]")


def marked_file(body: bytes, file_format: str, members: Members) -> bytes:
    """The file with a mark of these members.

    `body` is a PNG, WebP or JPEG without a mark; `file_format` is png, webp or jpeg. Raises
    ValueError for another file, or one that already has XMP where the mark belongs.
    """
    xmp, text = xmp_and_json(members)
    if file_format == "png":
        chunk = _chunk(b"tEXt", KEYWORD + b"\0" + text)
        return _with_png_chunks(body, chunk + _chunk(b"iTXt", _PNG_XMP + xmp))
    if file_format == "jpeg":
        return _with_jpeg_segment(body, _JPEG_XMP + xmp)
    if file_format == "webp":
        return _with_webp_chunk(body, xmp)
    raise ValueError(f"a {file_format!r} file cannot be marked: png, webp and jpeg can")


def image_id_in(body: bytes) -> str | None:
    """The image id in the mark of a file, None if there is none.

    It reads bytes and decodes nothing, so a hostile file costs no more than its size.
    """
    found = _IMAGE_ID.search(body)
    return found[1].decode() if found else None


def image_members(
    image_id: str,
    model: str,
    class_name: str,
    seed: int,
    truncation: float | None = None,
    attention_scale: float = 1.0,
) -> dict[str, str | int | float]:
    """The members of the mark of one image; truncation and scale only where they are not usual."""
    members: dict[str, str | int | float] = {
        "image_id": image_id,
        "model": model[:MAX_TEXT],
        "class": class_name[:MAX_TEXT],
        "seed": seed,
    }
    if truncation is not None:
        members["truncation"] = truncation
    if attention_scale != 1:
        members["attention_scale"] = attention_scale
    return members


def sheet_members(
    image_ids: Sequence[str], model: str, class_name: str
) -> dict[str, str | int | float]:
    """The members of the mark of several images in one file; of a walk, its two ends."""
    return {
        "image_ids": " ".join(image_ids),
        "model": model[:MAX_TEXT],
        "class": class_name[:MAX_TEXT],
    }


def mark_name(model: str, class_names: Iterable[str]) -> str:
    """Names the marks of a model's files by a checksum: other bytes give another name.

    It covers the names that stand in marks, and how a mark of fixed members is written.
    """
    members = image_members("0123456789ab-1-2-500-a500", model, "&", 2, 0.5, 0.5)
    example = marked_file(_PNG_SIGNATURE + bytes(25), "png", members)
    return f"mark{crc32(repr((example, *class_names)).encode(errors='replace')):08x}"


def xmp_and_json(members: Members) -> tuple[bytes, bytes]:
    """The members as an XMP packet, with an attribute of `sagan:` for each, and as JSON."""
    made = _templates(tuple(members), str(members["model"]), str(members["class"]))
    values = tuple(map(members.__getitem__, made.varying))
    return (made.xmp % values).encode(), (made.text % values).encode()


class _Templates(NamedTuple):
    """XMP and JSON with `%s` for the values of the `varying` members."""

    xmp: str
    text: str
    varying: tuple[str, ...]


@lru_cache(maxsize=4096)
def _templates(members: tuple[str, ...], model: str, class_name: str) -> _Templates:
    """Those with the names of model and class.

    Every image needs them, and few names are used, so the escaping is done once for each. The other
    values are numbers and image ids, which need none. Characters that XML cannot have are replaced.
    """
    names = {"model": model, "class": class_name}
    attributes = {
        name: quoteattr(_NOT_IN_XML.sub("\ufffd", text)).replace("%", "%%")
        for name, text in names.items()
    }
    texts = {name: json.dumps(text).replace("%", "%%") for name, text in names.items()}
    texts |= dict.fromkeys(ID_MEMBERS, QUOTED)
    xmp = "".join(f" sagan:{name}={attributes.get(name, QUOTED)}" for name in members)
    own = ",".join(f'"{name}":{texts.get(name, NUMBER)}' for name in members)
    varying = tuple(name for name in members if name not in NAMES)
    return _Templates(f"{_XMP_START}{xmp}{_XMP_END}", f"{{{own}}}", varying)


def _with_png_chunks(body: bytes, chunks: bytes) -> bytes:
    """The PNG file with chunks after its header (ISO/IEC 15948, section 5)."""
    if not body.startswith(_PNG_SIGNATURE):
        raise ValueError("not a PNG file")
    pixels = memoryview(body)[_PNG_HEADER_BYTES:]
    return b"".join((body[:_PNG_HEADER_BYTES], chunks, pixels))


def _chunk(name: bytes, data: bytes) -> bytes:
    content = name + data
    return struct.pack(">I", len(data)) + content + struct.pack(">I", crc32(content))


def _with_jpeg_segment(body: bytes, data: bytes) -> bytes:
    """The JPEG file with a segment APP1 after its start, and after JFIF's APP0 if it has one."""
    if not body.startswith(_JPEG_START):
        raise ValueError("not a JPEG file")
    at = len(_JPEG_START)
    if body[at : at + 2] == _JPEG_APP0:
        at += 2 + int.from_bytes(body[at + 2 : at + 4])
    segment = _JPEG_APP1 + struct.pack(">H", len(data) + 2) + data
    return body[:at] + segment + body[at:]


def _with_webp_chunk(body: bytes, xmp: bytes) -> bytes:
    """The WebP file with a chunk `XMP ` at its end (RFC 9649, section 2.7).

    A still image without further chunks gets the header `VP8X`, which announces the chunk.
    """
    width, height = webp_size(body)
    if body[12:16] == b"VP8X":
        if body[20] & _WEBP_XMP_FLAG:
            raise ValueError("the WebP file already has XMP")
        head = body[12:20] + bytes([body[20] | _WEBP_XMP_FLAG]) + body[21:30]
        rest = body[30:]
    else:
        sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
        head = b"VP8X" + struct.pack("<IB", 10, _WEBP_XMP_FLAG) + bytes(3) + sides
        rest = body[12:]
    end = b"XMP " + struct.pack("<I", len(xmp)) + xmp + bytes(len(xmp) % 2)
    content = b"WEBP" + head + rest + end
    return b"RIFF" + struct.pack("<I", len(content)) + content


def webp_size(body: bytes) -> tuple[int, int]:
    """Width and height of a WebP file, from its header; raises ValueError for another file."""
    kind = body[12:16]
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP" and len(body) >= 30:
        if kind == b"VP8X":
            sides = body[24:27], body[27:30]
            return 1 + int.from_bytes(sides[0], "little"), 1 + int.from_bytes(sides[1], "little")
        if kind == b"VP8 " and body[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack("<HH", body[26:30])
            return width & 0x3FFF, height & 0x3FFF
        if kind == b"VP8L" and body[20] == 0x2F:
            bits = int.from_bytes(body[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    raise ValueError("not a WebP file")

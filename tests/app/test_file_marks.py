"""Marks of image files: what Pillow and XML readers find in them, and that no pixel changes."""

from __future__ import annotations

import io
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from app.file_marks import (
    MADE_BY_A_MODEL,
    NAMESPACE,
    image_id_in,
    image_members,
    mark_name,
    marked_file,
    sheet_members,
    webp_size,
    xmp_and_json,
)

IMAGE_ID = "0123456789ab-2-7-500-a250"
MEMBERS = image_members(IMAGE_ID, "animals", "golden_retriever", 7, 0.5, 0.25)
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
FORMATS = ["png", "webp", "jpeg"]


def file_of(file_format: str, size: tuple[int, int] = (33, 20), **how: object) -> bytes:
    """A picture with a texture."""
    x, y = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([7 * x, 5 * y, 3 * (x + y)], -1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format.upper(), **how)
    return buffer.getvalue()


def attributes_in(image: Image.Image, file: bytes) -> dict[str, str]:
    """What an XML reader finds in the XMP of a file, opened as `image`."""
    [xmp] = re.findall(rb"<x:xmpmeta.*</x:xmpmeta>", file, re.DOTALL)
    assert image.info.get("xmp", xmp) == xmp  # Pillow before 11 shows that of WebP alone
    root = ElementTree.fromstring(xmp)  # noqa: S314 - our own file
    [description] = root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    return dict(description.attrib)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_marked_file_says_what_it_is_and_has_the_same_pixels(file_format: str) -> None:
    """In XMP, with IPTC's source type; Pillow opens it as what it was."""
    plain = file_of(file_format)
    marked = marked_file(plain, file_format, MEMBERS)
    assert marked == marked_file(plain, file_format, MEMBERS)
    assert image_id_in(marked) == IMAGE_ID
    assert image_id_in(plain) is None
    with Image.open(io.BytesIO(marked)) as image, Image.open(io.BytesIO(plain)) as original:
        assert (image.format, image.size, image.mode) == (original.format, (33, 20), original.mode)
        assert np.array_equal(np.asarray(image), np.asarray(original))
        found = attributes_in(image, marked)
    assert found[f"{IPTC}DigitalSourceType"] == MADE_BY_A_MODEL
    assert {name: found[f"{{{NAMESPACE}}}{name}"] for name in MEMBERS} == {
        name: str(value) for name, value in MEMBERS.items()
    }


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_mark_of_a_mix_is_found(file_format: str) -> None:
    """The longest id that there is, too."""
    for classes in ("2x600_0x400", "9999999999x334_9999999998x333_9999999997x333"):
        image_id = f"0123456789ab-{classes}-4294967295-4000-a2000"
        members = image_members(image_id, "animals", "a:0.6,b:0.4", 7)
        assert image_id_in(marked_file(file_of(file_format), file_format, members)) == image_id


def test_a_png_has_its_members_as_text_too() -> None:
    """As JSON under the keyword `sagan`."""
    with Image.open(io.BytesIO(marked_file(file_of("png"), "png", MEMBERS))) as image:
        assert isinstance(image, PngImagePlugin.PngImageFile)
        assert json.loads(image.text["sagan"]) == MEMBERS
        assert "XML:com.adobe.xmp" in image.text


@pytest.mark.parametrize("quality", [50, 90])
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (300, 17)])
def test_a_webp_of_any_size_and_kind_keeps_its_pixels(size: tuple[int, int], quality: int) -> None:
    """Lossy, lossless, with transparency and animated."""
    buffer = io.BytesIO()
    frames = [Image.new("RGB", size, colour) for colour in ("red", "green", "blue")]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=40, loop=0)
    clear = io.BytesIO()
    Image.new("RGBA", size, (9, 8, 7, 60)).save(clear, "WEBP", quality=quality)
    lossy = file_of("webp", size, quality=quality)
    lossless = file_of("webp", size, lossless=True)
    for plain in (lossy, lossless, buffer.getvalue(), clear.getvalue()):
        assert webp_size(plain) == size
        marked = marked_file(plain, "webp", MEMBERS)
        assert webp_size(marked) == size
        with Image.open(io.BytesIO(marked)) as image, Image.open(io.BytesIO(plain)) as original:
            number = getattr(original, "n_frames", 1)
            assert getattr(image, "n_frames", 1) == number
            for i in range(number):
                image.seek(i)
                original.seek(i)
                assert np.array_equal(np.asarray(image), np.asarray(original))
            assert b"DigitalSourceType" in image.info["xmp"]


@given(st.text(), st.text())
def test_any_name_is_written_so_that_it_can_be_read(model: str, class_name: str) -> None:
    """Quotation marks, angle brackets, control characters and half a surrogate pair."""
    members = image_members(IMAGE_ID, model, class_name, 7)
    ElementTree.fromstring(xmp_and_json(members)[0])  # noqa: S314 - our own
    with Image.open(io.BytesIO(marked_file(file_of("png"), "png", members))) as image:
        assert isinstance(image, PngImagePlugin.PngImageFile)
        assert json.loads(image.text["sagan"]) == members
        assert image_id_in(xmp_and_json(members)[0]) == IMAGE_ID


def test_usual_members_are_left_out() -> None:
    """Neither a truncation nor a scale where there is none, and names are cut."""
    members = image_members("0123456789ab-1-2-n", "m" * 1000, "cat", 2)
    assert list(members) == ["image_id", "model", "class", "seed"]
    assert members["model"] == "m" * 200


def test_a_sheet_has_the_ids_of_its_images_and_is_none_of_them() -> None:
    """So that nobody takes it for one of them; 64 images fit into a JPEG's segment."""
    members = sheet_members([f"0123456789ab-1-{seed}-n" for seed in range(64)], "animals", "cat")
    marked = marked_file(file_of("jpeg"), "jpeg", members)
    assert b"0123456789ab-1-63-n" in marked
    assert image_id_in(marked) is None


@pytest.mark.parametrize(
    "text",
    [
        b'<rdf:Description><sagan:image_id>%s</sagan:image_id>',
        b"<rdf:Description sagan:image_id='%s'/>",
        b'{"seed": 7, "image_id": "%s"}',
    ],
)  # fmt: skip
def test_an_id_is_found_as_other_programs_write_it(text: bytes) -> None:
    """Attribute or element, either quotation mark."""
    assert image_id_in(b"\x00" + text % IMAGE_ID.encode() + b"\xff") == IMAGE_ID


def test_the_names_of_marks_differ_where_their_bytes_may() -> None:
    """By the names of model and classes."""
    named = [("a", ["cat", "dog"]), ("b", ["cat", "dog"]), ("a", ["cat"])]
    assert len({mark_name(*names) for names in named}) == 3
    assert mark_name("a", ["cat"]) == mark_name("a", ("cat",))


@pytest.mark.parametrize("file_format", [*FORMATS, "gif"])
@pytest.mark.parametrize("body", [b"", b"\x89PNG", b"RIFF0000WEBPVP8 ", b"no image"])
def test_what_is_no_such_file_is_not_marked(body: bytes, file_format: str) -> None:
    """With a sentence."""
    with pytest.raises(ValueError, match=r"not a|cannot be marked"):
        marked_file(body, file_format, MEMBERS)


def test_a_webp_that_has_xmp_is_not_marked_again() -> None:
    """It would have two."""
    marked = marked_file(file_of("webp"), "webp", MEMBERS)
    with pytest.raises(ValueError, match="already has XMP"):
        marked_file(marked, "webp", MEMBERS)

"""Contact sheets, zips and documents of several pictures."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from app.api.combined_files import GUTTER_PX, Bundle, NamedFile, Walk, grid, json_with
from app.api.schemas import GeneratedOut, WalkFormat
from app.file_marks import image_id_in
from app.queue.messages import FileFormat
from model.pictures import contact_sheet


def picture(seed: int, file_format: str = "png", size: tuple[int, int] = (8, 6)) -> NamedFile:
    """One colour for each seed."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (seed, 2 * seed, 255 - seed)).save(buffer, file_format.upper())
    return NamedFile(f"id-{seed}", seed, buffer.getvalue())


@pytest.mark.parametrize(("num_images", "columns"), [(1, 1), (2, 2), (5, 3), (9, 3), (64, 8)])
def test_a_grid_is_the_contact_sheet_that_the_command_line_makes(
    num_images: int, columns: int
) -> None:
    """As square as can be, row by row, to the pixel."""
    pictures = [picture(seed) for seed in range(num_images)]
    pixels = [np.asarray(Image.open(io.BytesIO(one.body))) for one in pictures]
    sheet = np.asarray(Image.open(io.BytesIO(grid([one.body for one in pictures], "png"))))
    assert np.array_equal(sheet, contact_sheet(pixels, columns))


@pytest.mark.parametrize("file_format", ["webp", "jpeg"])
def test_a_grid_may_be_lossy(file_format: FileFormat) -> None:
    """It is encoded once, from lossless pictures."""
    assert Bundle("grid", file_format).unit_format == "png"
    sheet = Image.open(io.BytesIO(grid([picture(9).body] * 4, file_format)))
    assert sheet.format == file_format.upper()
    assert sheet.size == (2 * 8 + GUTTER_PX, 2 * 6 + GUTTER_PX)


@pytest.mark.parametrize("file_format", ["png", "webp", "jpeg"])
def test_a_marked_grid_names_its_images(file_format: FileFormat) -> None:
    """And has the same pixels."""
    images = [picture(seed) for seed in (1, 2, 3)]
    plain = Bundle("grid", file_format, "animals", "cat")
    made, marked = (one.make(images) for one in (plain, plain._replace(marked=True)))
    assert b'"id-1 id-2 id-3"' in marked
    assert b"trainedAlgorithmicMedia" in marked
    assert image_id_in(marked) is None
    first, second = (np.asarray(Image.open(io.BytesIO(file))) for file in (made, marked))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("file_format", ["webp", "apng", "strip"])
def test_a_marked_walk_names_its_ends(file_format: WalkFormat) -> None:
    """And has the same frames, as long."""
    images = [picture(seed) for seed in (1, 2, 3)]
    walk = Walk(file_format, 70, "animals", "cat to dog")
    made, marked = (one.make(images) for one in (walk, walk._replace(marked=True)))
    assert b'"id-1 id-3"' in marked
    assert b'"cat to dog"' in marked
    with Image.open(io.BytesIO(made)) as plain, Image.open(io.BytesIO(marked)) as image:
        number = getattr(plain, "n_frames", 1)
        assert getattr(image, "n_frames", 1) == number
        for i in range(number):
            plain.seek(i)
            image.seek(i)
            assert np.array_equal(np.asarray(image), np.asarray(plain))
            assert image.info.get("duration") == plain.info.get("duration")


def test_json_of_pictures_is_spelt_as_json_spells_it() -> None:
    """Though each picture is spelt by itself."""
    members: dict[str, object] = {"created": 7, "class": 'a "b" ü'}
    pictures = [{"url": "é"}, {"url": "/b"}]
    for some in ([], pictures[:1], pictures):
        assert json_with(members, "data", some) == json.dumps(members | {"data": some}).encode()


def test_a_zip_has_the_files_as_they_are_and_is_the_same_each_time() -> None:
    """Names are image ids; no clock goes in."""
    sheet = Bundle("zip", "webp", "model", "cat")
    pictures = [picture(seed, "webp") for seed in (1, 2)]
    made = sheet.make(pictures)
    with ZipFile(io.BytesIO(made)) as file:
        assert file.testzip() is None
        assert file.namelist() == ["id-1.webp", "id-2.webp"]
        assert file.read("id-2.webp") == pictures[1].body
    assert made == sheet.make(pictures)
    assert (sheet.media_type, sheet.unit_format) == ("application/zip", "webp")


def test_a_document_has_names_addresses_and_files() -> None:
    """As its schema says."""
    made = json.loads(Bundle("json", "jpeg", "model", "cat").make([picture(1, "jpeg")]))
    GeneratedOut.model_validate(made)
    [one] = made["images"]
    assert (made["model"], made["class"]) == ("model", "cat")
    assert one["url"] == "/images/id-1.jpeg"
    assert (one["image_id"], one["seed"], one["media_type"]) == ("id-1", 1, "image/jpeg")
    assert b64decode(one["data"]) == picture(1, "jpeg").body

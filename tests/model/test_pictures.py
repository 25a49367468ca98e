"""PNG bytes, contact sheets and attention pictures."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray
from PIL import Image

from model.pictures import QUERY_COLOURS, attention_picture, contact_sheet, encode, encode_png

GREY = np.full((32, 32, 3), 120, np.uint8)


@given(
    st_numpy.arrays(
        np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))
    )
)  # fmt: skip
def test_png_is_lossless_for_any_pixels(pixels: NDArray[np.uint8]) -> None:
    """Pillow's decoder, which checks every checksum, gives back what went in."""
    with Image.open(io.BytesIO(encode_png(pixels))) as image:
        image.load()
        assert image.format == "PNG"
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), pixels)


def test_a_png_of_a_photograph_is_hardly_larger_than_pillows() -> None:
    """Smooth colour and fine grain, as in a photograph: at most a tenth above level 1."""
    y, x = np.mgrid[:128, :128] / 128
    smooth = np.stack([np.sin(5 * x + 3 * y), np.cos(4 * y - x), x * y], -1) * 90 + 128
    grain = np.random.default_rng(0).normal(0, 4, smooth.shape)
    pixels = (smooth + grain).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    assert len(encode_png(pixels)) <= 1.1 * len(buffer.getvalue())


@pytest.mark.parametrize(("file_format", "name"), [("webp", "WEBP"), ("jpeg", "JPEG")])
def test_lossy_files_are_what_they_say_and_close(file_format: str, name: str) -> None:
    """They decode as their format, to nearly the same picture."""
    y, x = np.mgrid[:64, :64]
    pixels = np.stack([4 * x, 4 * y, 2 * x + 2 * y], -1).astype(np.uint8)
    with Image.open(io.BytesIO(encode(pixels, file_format))) as image:  # type: ignore[arg-type]
        assert image.format == name
        assert np.abs(np.asarray(image).astype(int) - pixels).mean() < 8


def test_a_contact_sheet_has_every_picture_at_its_place() -> None:
    """Row by row, with a gutter, and black where none is left."""
    tiles = [np.full((4, 6, 3), 10 * (i + 1), np.uint8) for i in range(3)]
    sheet = contact_sheet(tiles, columns=2)
    assert sheet.shape == (4 + 2 + 4, 6 + 2 + 6, 3)
    assert np.array_equal(sheet[:4, 8:], tiles[1])
    assert np.array_equal(sheet[6:, :6], tiles[2])
    assert not sheet[6:, 8:].any()


def test_an_overlay_is_brightest_where_attention_is() -> None:
    """All weight on one key cell lights that cell of the picture and dims the rest."""
    weights = np.zeros((1, 8, 8), np.float32)
    weights[0, 6, 1] = 1.0
    panel = attention_picture(GREY, weights, [(28, 3)], "overlay", 256).astype(int).sum(2)
    lit, dim = panel[6 * 32 + 16, 1 * 32 + 16], panel[1 * 32 + 16, 4 * 32 + 16]
    assert lit > 2 * dim


def test_a_heatmap_shows_the_bare_grid() -> None:
    """Each key cell is one flat square, the heaviest in the ramp's last colour."""
    weights = np.zeros((1, 8, 8), np.float32)
    weights[0, 2, 5] = 0.25
    panel = attention_picture(GREY, weights, [(0, 31)], "heatmap", 64)
    assert np.array_equal(np.unique(panel[16:24, 40:48].reshape(-1, 3), axis=0), [[252, 255, 164]])
    assert np.array_equal(panel[17, 5], [0, 0, 4])


@pytest.mark.parametrize(("view", "panels"), [("overlay", 2), ("heatmap", 2), ("pair", 3)])
def test_each_query_has_a_panel_and_a_dot_in_its_colour(view: str, panels: int) -> None:
    """`pair` puts the picture itself first; dots sit where the query pixels are."""
    weights = np.full((2, 8, 8), 1 / 64, np.float32)
    queries = [(4, 4), (24, 20)]
    picture = attention_picture(GREY, weights, queries, view, 128)  # type: ignore[arg-type]
    assert picture.shape == (128, panels * 128 + (panels - 1) * 2, 3)
    first = panels - 2
    for i, (x, y) in enumerate(queries):
        at = picture[int((y + 0.5) * 4), (first + i) * 130 + int((x + 0.5) * 4)]
        assert tuple(at) == QUERY_COLOURS[i]


def test_maps_and_queries_must_pair_up() -> None:
    """Two maps for one query is a mistake of the caller's."""
    with pytest.raises(ValueError, match="2 maps for 1 queries"):
        attention_picture(GREY, np.ones((2, 8, 8), np.float32), [(0, 0)])

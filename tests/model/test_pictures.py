"""PNG bytes, contact sheets and attention pictures."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray
from PIL import Image

from model.pictures import QUERY_COLOURS, attention_picture, contact_sheet, encode_png

GREY = np.full((32, 32, 3), 120, np.uint8)


@given(
    st_numpy.arrays(
        np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))
    )
)  # fmt: skip
def test_png_is_lossless_for_any_pixels(pixels: NDArray[np.uint8]) -> None:
    """Pillow's decoder gives back what went in."""
    decoded = np.asarray(Image.open(io.BytesIO(encode_png(pixels))))
    assert np.array_equal(decoded, pixels)


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

"""The numbers of a map, computed by hand for small ones."""

from __future__ import annotations

import pytest

from app.mcp.readings import in_words, readings


def test_it_looks_most_at_the_centre_of_the_largest_cell() -> None:
    """By the pixel in the middle of the cell, with its share, the largest first."""
    found = readings([[0.0, 0.7], [0.1, 0.2]], "id", 64, (0, 63), -1)
    assert [(place.x, place.y, place.share) for place in found.looks_most_at] == [
        (48, 16, 0.7),
        (48, 48, 0.2),
        (16, 48, 0.1),
    ]
    assert [place.where for place in found.looks_most_at] == [
        "top right",
        "bottom right",
        "bottom left",
    ]
    assert found.grid == (2, 2)
    assert in_words(found).startswith(
        "Pixel (0, 63), bottom left of image id, looks most at (48, 16), top right, with 70 %"
    )


def test_the_distance_is_a_mean_over_the_weights() -> None:
    """From the middle of the pixel to the middle of the cells."""
    found = readings([[0.5, 0.5]], "id", 8, (1, 3), 0)
    assert found.mean_distance_px == pytest.approx(
        0.5 * (0.5**2 + 0.5**2) ** 0.5 + 0.5 * 4.5277, abs=0.01
    )


def test_the_entropy_says_how_spread_out_it_is() -> None:
    """None at one place, the most if it looks everywhere alike, which is said."""
    sharp = readings([[0.0, 1.0], [0.0, 0.0]], "id", 8, (0, 0), 0)
    even = readings([[0.25, 0.25], [0.25, 0.25]], "id", 8, (0, 0), 0)
    assert (sharp.entropy_bits, sharp.even_entropy_bits) == (0.0, 2.0)
    assert (even.entropy_bits, even.even_entropy_bits) == (2.0, 2.0)
    assert "nearly even" in in_words(even)
    assert "nearly even" not in in_words(sharp)


def test_a_map_of_one_cell_has_one_place() -> None:
    """It is in the middle."""
    found = readings([[1.0]], "id", 64, (32, 32), 0)
    assert [place.where for place in found.looks_most_at] == ["middle"]
    assert ", then" not in in_words(found)

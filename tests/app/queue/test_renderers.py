"""What a refused worker is told."""

from __future__ import annotations

import pytest

from app.queue.renderers import differences

UNMARKED = "cpu-bf16-folded1-torch2.13.0-avx512+amx_tile-2threads-pngbe18c430-lossycbfa978b"
OURS = f"{UNMARKED}-mark0a1b2c3d"


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ("2threads", "4threads", "OMP_NUM_THREADS"),
        ("bf16", "float32", "SAGAN_PRECISION"),
        ("torch2.13.0", "torch2.9.1", "version of torch"),
        ("avx512+amx_tile", "avx2", "processors of one kind"),
        ("pngbe18c430", "png00000000", "isal"),
        ("cpu", "mps", "SAGAN_DEVICE"),
        ("mark0a1b2c3d", "mark00000000", "SAGAN_MARK"),
    ],
)
def test_the_part_that_differs_is_told_with_what_sets_it(ours: str, theirs: str, told: str) -> None:
    """And nothing of the parts that are equal."""
    text = differences(OURS, OURS.replace(ours, theirs))
    assert f"({ours}, there {theirs})" in text
    assert told in text
    assert ";" not in text


def test_a_renderer_without_marks_is_told_apart() -> None:
    """One of the two names has a part more."""
    told = "set the same SAGAN_MARK"
    assert f"mark (mark0a1b2c3d, there none): {told}" in differences(OURS, UNMARKED)
    assert f"mark (none, there mark0a1b2c3d): {told}" in differences(UNMARKED, OURS)

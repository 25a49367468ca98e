"""The picturebook: ten classes drawn from an index, the same for good."""

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.picturebook import CLASSES, EDITION, draw, label_of
from training.picturebook.canvas import Canvas
from training.picturebook.chance import Chance
from training.picturebook.composition import FARTHEST, Subject, View
from training.picturebook.drawing import SUBJECTS
from training.picturebook.light import HOURS, NOON, OVERCAST, Hour, Light

ROOT = Path(__file__).parents[2]
NUM_CLASSES = len(CLASSES)
NOON_LIGHT = Light(NOON, angle=-1.0, slope=0.0)
EVERY_VIEW = [
    pytest.param(view, id=f"{name}-{number}")
    for name, subject in SUBJECTS.items()
    for number, view in enumerate(subject.views)
]


def digest(index: int, size: int) -> str:
    return hashlib.sha256(draw(index, size).tobytes()).hexdigest()


def contrast(picture: np.ndarray, other: np.ndarray) -> float:
    """The mean difference of two pictures, in grey levels."""
    return float(np.abs(picture.astype(float) - other.astype(float)).mean())


def test_a_picture_is_the_same_at_every_call() -> None:
    """Drawing an index again gives the same pixels, whatever was drawn in between."""
    for label in range(NUM_CLASSES):
        first = draw(label, 64)
        draw(label + NUM_CLASSES, 64)
        assert np.array_equal(first, draw(label, 64))


def test_a_picture_is_the_same_in_another_process() -> None:
    """Nothing of a picture depends on the process, such as its hash seed."""
    code = (
        "import hashlib; from training.picturebook import draw\n"
        "for i in range(10): print(hashlib.sha256(draw(i, 32).tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == [digest(index, 32) for index in range(10)]


@pytest.mark.parametrize("index", range(NUM_CLASSES))
def test_an_index_at_another_size_is_the_same_scene(index: int) -> None:
    """A large picture reduced to a small one's size is nearly that one, and no other index's."""
    small = draw(index, 64)
    reduced = np.array(Image.fromarray(draw(index, 256)).reduce(4))
    correlation = np.corrcoef(small.ravel(), reduced.ravel())[0, 1]
    assert correlation > 0.97
    assert contrast(small, reduced) < contrast(draw(index + NUM_CLASSES, 64), reduced) / 2


@pytest.mark.parametrize("size", [16, 32, 50, 64, 128, 256])
def test_every_class_draws_at_every_size(size: int) -> None:
    """A picture is a square of RGB bytes of the asked size with something in it."""
    for label in range(NUM_CLASSES):
        picture = draw(label, size)
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 10


def test_pictures_of_one_class_differ() -> None:
    """Two indices of one class never give the same picture."""
    for label in range(NUM_CLASSES):
        digests = {digest(label + NUM_CLASSES * k, 32) for k in range(12)}
        assert len(digests) == 12


def test_a_picture_can_be_written_to() -> None:
    """The array is the caller's own: changing it changes no later picture."""
    picture = draw(2, 32)
    before = picture.copy()
    picture[:] = 0
    assert np.array_equal(draw(2, 32), before)


def test_labels_cycle_through_the_classes() -> None:
    """Any ten pictures in a row hold every class once, in order."""
    assert [label_of(index) for index in range(NUM_CLASSES)] == list(range(NUM_CLASSES))
    assert label_of(7 * NUM_CLASSES + 3) == 3


@pytest.mark.parametrize("ask", [label_of, lambda index: draw(index, 64)])
def test_a_negative_index_is_refused(ask: Callable[[int], object]) -> None:
    """A negative index raises ValueError that names it."""
    with pytest.raises(ValueError, match="-1"):
        ask(-1)


@pytest.mark.parametrize("size", [15, 0, -64])
def test_a_size_below_16_is_refused(size: int) -> None:
    """A size too small for a picture raises ValueError that names it."""
    with pytest.raises(ValueError, match=f"got {size}"):
        draw(0, size)


def test_classes_are_ten_in_the_order_of_their_wordnet_ids() -> None:
    """The labels are the ranks of ImageNet's ids; golden_retriever is one of the classes."""
    wnids = [picture_class.wnid for picture_class in CLASSES]
    names = {picture_class.name for picture_class in CLASSES}
    assert wnids == sorted(set(wnids))
    assert len(names) == len(wnids) == 10
    assert "golden_retriever" in names
    assert all(name == name.lower() for name in names)


@dataclass
class Sighting:
    """Where a view was painted: the corners of its span in a frame that spans [0, 1]."""

    left: float
    top: float
    right: float
    bottom: float
    scale: float
    faces_left: bool
    feet_y: float


def sightings(num_pictures: int, *, horizon: float | None, company: float) -> list[list[Sighting]]:
    """For each of many pictures, what a subject of one view was asked to paint, in order."""
    span = (-0.5, -0.8, 0.4, 0.0)
    seen: list[list[Sighting]] = []

    def record(canvas: Canvas, _: Chance) -> None:
        points = np.array(
            [(0, 0), (1, 0), span[:2], (span[0], span[3]), span[2:], (span[2], span[1])]
        )
        points = canvas.to_px(points) / canvas.image.width
        (left, top), (right, bottom) = points[2:].min(axis=0), points[2:].max(axis=0)
        ahead = points[1] - points[0]
        sighting = Sighting(
            left, top, right, bottom, float(np.hypot(*ahead)), ahead[0] < 0, points[0, 1]
        )
        seen[-1].append(sighting)

    view = View(span, record, scale=0.9, tilt=(-0.1, 0.1) if horizon is None else (0.0, 0.0))
    subject = Subject([lambda *_: horizon], [view], near_y=(0.9, 0.94), company=company)
    for index in range(num_pictures):
        seen.append([])
        subject.paint(Canvas.blank(32), Chance(index), NOON_LIGHT)
    return seen


def test_the_edition_is_the_second() -> None:
    """Arrays that were drawn in the first edition are not taken for this one's."""
    assert EDITION == 2


@pytest.mark.parametrize("horizon", [0.5, None])
def test_a_subject_faces_left_as_often_as_right(horizon: float | None) -> None:
    """Of many pictures half show a subject that faces left."""
    facings = [near.faces_left for [near] in sightings(1000, horizon=horizon, company=0.0)]
    assert 0.45 < np.mean(facings) < 0.55


@pytest.mark.parametrize("horizon", [0.5, None])
def test_a_subject_is_near_or_far_and_always_in_the_frame(horizon: float | None) -> None:
    """Sizes fill the range down to the farthest zoom, places vary, and nothing sticks out."""
    seen = [near for [near] in sightings(500, horizon=horizon, company=0.0)]
    scales = [near.scale for near in seen]
    assert 0.9 * FARTHEST <= min(scales) < 0.9 * FARTHEST + 0.02
    assert 0.88 < max(scales) <= 0.9
    assert min(near.left for near in seen) < 0.1
    assert max(near.right for near in seen) > 0.9
    assert all(0 <= near.left < near.right <= 1 for near in seen)
    assert all(0 <= near.top < near.bottom <= 1 for near in seen)


def test_a_farther_subject_stands_nearer_to_the_horizon() -> None:
    """On flat ground the feet rise towards the horizon in proportion to the size."""
    for [near] in sightings(100, horizon=0.5, company=0.0):
        assert 0.4 <= (near.feet_y - 0.5) / (near.scale / 0.9) <= 0.44


@pytest.mark.parametrize("horizon", [0.5, None])
def test_company_is_smaller_and_painted_first(horizon: float | None) -> None:
    """One picture in five has a second subject, behind and to one side of the first."""
    seen = sightings(1000, horizon=horizon, company=0.2)
    pairs = [picture for picture in seen if len(picture) == 2]
    assert 160 < len(pairs) < 240
    for far, near in pairs:
        assert far.scale < 0.7 * near.scale
        assert abs((far.left + far.right) - (near.left + near.right)) > 0.5
        assert horizon is None or far.feet_y < near.feet_y


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_class_has_views_that_all_occur(name: str) -> None:
    """Each class has two or three views, and sixty pictures show each of them several times."""
    subject, counts = SUBJECTS[name], Counter[int]()
    spies = [
        replace(view, paint=lambda *_, number=number: counts.update([number]))
        for number, view in enumerate(subject.views)
    ]
    for index in range(60):
        replace(subject, views=spies).paint(Canvas.blank(32), Chance(index), NOON_LIGHT)
    assert 2 <= len(subject.views) <= 3
    assert len(counts) == len(spies)
    assert min(counts.values()) > 8


@pytest.mark.parametrize("view", EVERY_VIEW)
def test_a_view_stays_within_its_span(view: View) -> None:
    """What a view paints is no wider or taller than it says, or it would leave the frame."""
    left, top, right, _ = view.span
    for index in range(8):
        canvas = Canvas.blank(256)
        view.paint(canvas.placed(0.5, 0.6, 0.5), Chance(index))
        rows, columns = np.nonzero(np.array(canvas.image).any(axis=2))
        assert left - 0.05 < (columns.min() / 256 - 0.5) / 0.5
        assert top - 0.05 < (rows.min() / 256 - 0.6) / 0.5
        assert (columns.max() / 256 - 0.5) / 0.5 < right + 0.05


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_nearest_subject_fits_into_the_frame(name: str) -> None:
    """At its largest a subject is no wider than the frame, nor taller than the room for it."""
    for view in SUBJECTS[name].views:
        left, top, right, _ = view.span
        assert (right - left) * view.scale <= 1
        assert -top * view.scale <= SUBJECTS[name].near_y[0]


def test_noon_changes_nothing() -> None:
    """Even white light leaves the pixels as they are."""
    pixels = draw(3, 32)
    assert np.array_equal(NOON_LIGHT.falls_on(pixels), pixels)


def test_the_lit_side_is_brighter() -> None:
    """Light from the upper left brightens that corner and shades the opposite one."""
    grey = np.full((32, 32, 3), 128, np.uint8)
    lit = Light(NOON, angle=-2.4, slope=0.15).falls_on(grey).astype(int)
    assert lit[0, 0].min() > 140
    assert lit[-1, -1].max() < 116
    assert abs(lit.mean() - 128) < 1


@pytest.mark.parametrize("hour", HOURS)
def test_an_hour_tints_white_and_leaves_black(hour: Hour) -> None:
    """An hour multiplies the channels, so white takes its tint and black stays."""
    light = Light(hour, angle=-1.0, slope=0.0)
    white, black = np.full((4, 4, 3), 255, np.uint8), np.zeros((4, 4, 3), np.uint8)
    expected = np.clip(np.rint(255 * np.array(hour.gains)), 0, 255)
    assert np.array_equal(light.falls_on(white)[0, 0], expected)
    assert not light.falls_on(black).any()


def test_an_overcast_sky_takes_colour_away() -> None:
    """Under clouds the channels of a strong colour are closer to each other."""
    orange = np.full((4, 4, 3), (240, 140, 20), np.uint8)
    cloudy = Light(OVERCAST, angle=-1.0, slope=0.0).falls_on(orange)
    assert np.ptp(cloudy[0, 0].astype(int)) < 200


def test_the_pictures_of_a_class_are_lit_differently() -> None:
    """Every hour occurs, and the light comes from the left as well as from the right."""
    lights = [Light.by(Chance(index)) for index in range(200)]
    assert {light.hour for light in lights} == set(HOURS)
    assert 70 < sum(np.cos(light.angle) > 0 for light in lights) < 130

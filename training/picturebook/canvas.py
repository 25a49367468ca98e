"""The canvas: paints outlines, given in unit coordinates, as pixels."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import cos, sin

import numpy as np
from PIL import Image, ImageDraw

from training.picturebook.colours import Colour, Gradient, Paint
from training.picturebook.curves import Points, ellipse, limb, trace

Box = tuple[int, int, int, int]


class Canvas:
    """An image to paint on, and the affine map from local coordinates to its pixels.

    A blank canvas spans [0, 1] in x (to the right) and y (down). `placed` gives another view of
    the same image, in which a subject is drawn in coordinates of its own.
    """

    def __init__(self, image: Image.Image, matrix: np.ndarray, offset: np.ndarray) -> None:
        self.image = image
        self._pen = ImageDraw.Draw(image)
        self._matrix = matrix  # (2, 2), applied to column vectors
        self._offset = offset  # (2,)

    @classmethod
    def blank(cls, size_px: int) -> "Canvas":
        """A black square canvas of `size_px` pixels a side."""
        image = Image.new("RGB", (size_px, size_px))
        return cls(image, np.eye(2) * size_px, np.zeros(2))

    def placed(
        self, x: float, y: float, scale: float = 1.0, *, angle: float = 0.0, flip: bool = False
    ) -> "Canvas":
        """The same image seen from (x, y): scaled, mirrored if `flip`, turned by `angle` radians.

        A positive angle turns the x axis towards y, that is, clockwise on the page.
        """
        turn = np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])
        mirror = np.array([-scale if flip else scale, scale])
        matrix = self._matrix @ (mirror[:, None] * turn)
        return Canvas(self.image, matrix, self._matrix @ (x, y) + self._offset)

    def to_px(self, points: Points) -> Points:
        """The (N, 2) points of local coordinates in pixels."""
        return np.asarray(points @ self._matrix.T + self._offset)

    def fill(self, *outlines: Points, paint: Paint, opacity: float = 1.0) -> None:
        """Paint the union of the outlines; it is translucent if `opacity` is below 1."""
        shapes = [self.to_px(outline) for outline in outlines]
        if isinstance(paint, Gradient) or opacity < 1.0:
            self._fill_masked(shapes, paint, opacity)
            return
        for shape in shapes:
            self._pen.polygon(shape.ravel().tolist(), fill=paint)

    def oval(self, x: float, y: float, radius_x: float, radius_y: float, paint: Paint) -> None:
        """Paint an upright ellipse about (x, y)."""
        self.fill(ellipse(x, y, radius_x, radius_y), paint=paint)

    def stroke(self, *knots: tuple[float, float], width: float, paint: Colour) -> None:
        """Paint a smooth line of even width through the knots."""
        self.fill(limb(*((x, y, width) for x, y in knots)), paint=paint)

    def wire(self, *knots: tuple[float, float], width: float, paint: Colour) -> None:
        """Paint a thin smooth line through the knots, never thinner than a pixel."""
        width_px = max(1, round(width * abs(np.linalg.det(self._matrix)) ** 0.5))
        line = self.to_px(trace(knots)).ravel().tolist()
        self._pen.line(line, fill=paint, width=width_px)

    @contextmanager
    def clip(self, *outlines: Points) -> Iterator[None]:
        """Keep only the part inside the outlines of what is painted in the `with` block."""
        before = self.image.copy()
        yield
        outside = Image.new("L", self.image.size, 255)
        pen = ImageDraw.Draw(outside)
        for outline in outlines:
            pen.polygon(self.to_px(outline).ravel().tolist(), fill=0)
        self.image.paste(before, (0, 0), outside)

    def soften(self, num_cells: int) -> None:
        """Blur what is painted so far, as if the image had `num_cells` × `num_cells` pixels."""
        coarse = self.image.resize((num_cells, num_cells), Image.Resampling.BOX)
        self.image.paste(coarse.resize(self.image.size, Image.Resampling.BICUBIC))

    def _fill_masked(self, shapes: list[Points], paint: Paint, opacity: float) -> None:
        area = self._bounds(shapes)
        left, top, right, bottom = area
        if left >= right or top >= bottom:
            return
        mask = Image.new("L", (right - left, bottom - top))
        pen = ImageDraw.Draw(mask)
        for shape in shapes:
            pen.polygon((shape - (left, top)).ravel().tolist(), fill=round(255 * opacity))
        if isinstance(paint, Gradient):
            self.image.paste(self._blend(paint, area), (left, top), mask)
        else:
            self.image.paste(paint, area, mask)

    def _bounds(self, shapes: list[Points]) -> Box:
        width, height = self.image.size
        points = np.concatenate(shapes)
        left, top = np.floor(points.min(axis=0)).astype(int).tolist()
        right, bottom = np.ceil(points.max(axis=0)).astype(int).tolist()
        return max(left, 0), max(top, 0), min(right + 1, width), min(bottom + 1, height)

    def _blend(self, paint: Gradient, area: Box) -> Image.Image:
        left, top, right, bottom = area
        start, end = self.to_px(np.array([(0.0, paint.top_y), (0.0, paint.bottom_y)]))[:, 1]
        share = np.clip((np.arange(top, bottom) - start) / (end - start), 0.0, 1.0)[:, None]
        rows = np.array(paint.top) * (1 - share) + np.array(paint.bottom) * share
        strip = Image.fromarray(np.rint(rows).astype(np.uint8)[:, None, :])
        return strip.resize((right - left, bottom - top), Image.Resampling.NEAREST)

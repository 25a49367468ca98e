"""Outlines: smooth curves, limbs and ellipses as polygons of points."""

from collections.abc import Sequence
from functools import cache

import numpy as np

Points = np.ndarray  # (N, 2) float64: x to the right, y down
Point = tuple[float, float]
Joint = tuple[float, float, float]  # x, y and the limb's width there

STEPS = 6
CAP = np.linspace(0.0, np.pi, 7)[1:-1]
TURN = np.linspace(0.0, 2 * np.pi, 29)[:-1]
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], axis=1)


@cache
def _catmull_rom(steps: int) -> np.ndarray:  # (steps, 4)
    t = np.arange(steps)[:, None] / steps
    powers = np.concatenate([np.ones_like(t), t, t**2, t**3], axis=1)
    basis = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])
    return np.asarray(powers @ basis / 2)


def _spline(knots: np.ndarray, steps: int) -> np.ndarray:  # (N + 3, D) -> (N * steps, D)
    num_spans = len(knots) - 3
    windows = np.stack([knots[k : k + num_spans] for k in range(4)])  # (4, N, D)
    samples = np.tensordot(_catmull_rom(steps), windows, axes=1)  # (steps, N, D)
    return samples.transpose(1, 0, 2).reshape(num_spans * steps, knots.shape[1])


def smooth(points: Sequence[Point], steps: int = STEPS) -> Points:
    """The closed smooth outline through the points, as (len(points) * steps, 2)."""
    knots = np.asarray(points, dtype=float)
    return _spline(np.concatenate([knots[-1:], knots, knots[:2]]), steps)


def trace(knots: Sequence[Sequence[float]], steps: int = STEPS) -> np.ndarray:
    """The open smooth curve through N knots of D dimensions, as about (N * steps, D)."""
    inner = np.asarray(knots, dtype=float)
    first, last = 2 * inner[:1] - inner[1:2], 2 * inner[-1:] - inner[-2:-1]
    curve = _spline(np.concatenate([first, inner, last]), steps)
    return np.concatenate([curve, inner[-1:]])


def limb(*joints: Joint, steps: int = STEPS) -> Points:
    """The outline of a rounded limb along the joints, each of which gives its width there."""
    curve = trace(joints, steps)
    centre, radius = curve[:, :2], np.maximum(curve[:, 2:], 1e-4) / 2
    along = np.gradient(centre, axis=0)
    along /= np.maximum(np.hypot(along[:, :1], along[:, 1:]), 1e-9)
    across = along[:, ::-1] * (-1.0, 1.0)
    left, right = centre + across * radius, centre - across * radius
    tip = _cap(centre[-1], across[-1] * radius[-1], along[-1] * radius[-1])
    root = _cap(centre[0], -across[0] * radius[0], -along[0] * radius[0])
    return np.concatenate([left, tip, right[::-1], root])


def _cap(centre: np.ndarray, start: np.ndarray, outward: np.ndarray) -> Points:
    return np.asarray(centre + np.cos(CAP)[:, None] * start + np.sin(CAP)[:, None] * outward)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, angle: float = 0.0) -> Points:
    """The ellipse about (x, y), turned by `angle` radians from the x axis towards y."""
    shape = CIRCLE * (radius_x, radius_y)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(shape @ np.array([[cos, sin], [-sin, cos]]) + (x, y))


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """The rectangle with these sides."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def polygon(*corners: Point) -> Points:
    """The polygon with these corners."""
    return np.array(corners, dtype=float)


def fringe(*roots: Point, lock: Point, num_locks: int) -> Points:
    """Soft locks of fur side by side along the smooth line of roots; `lock` goes from root to
    tip."""
    line = trace(roots, steps=max(2, 2 * num_locks // max(1, len(roots) - 1)))
    at = np.linspace(0, len(line) - 1, num_locks + 1).round().astype(int)
    tips = (line[at[:-1]] + 2 * line[at[1:]]) / 3 + lock
    zigzag = np.stack([line[at[:-1]], tips], axis=1).reshape(-1, 2)
    waves = trace(np.concatenate([zigzag, line[at[-1:]]]).tolist(), steps=3)
    return np.concatenate([waves, line[::-1] - 0.25 * np.array(lock)])

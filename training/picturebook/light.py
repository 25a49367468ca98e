"""The light of a picture: the colour of a time of day, and the direction of the light."""

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from training.picturebook.chance import Chance


@dataclass(frozen=True)
class Hour:
    """A time of day: the factors of red, green and blue in its light, and of the saturation."""

    gains: tuple[float, float, float]
    saturation: float = 1.0


MORNING = Hour((1.06, 1.0, 0.91))
NOON = Hour((1.0, 1.0, 1.0))
GOLDEN = Hour((1.1, 0.96, 0.76), 1.05)
OVERCAST = Hour((0.93, 0.96, 0.99), 0.86)
DUSK = Hour((0.97, 0.84, 0.91), 1.05)
HOURS = (MORNING, NOON, NOON, GOLDEN, OVERCAST, DUSK)
GREY = (0.299, 0.587, 0.114)  # how bright the eye finds red, green and blue


@dataclass(frozen=True)
class Light:
    """An hour's light that comes from `angle`, in radians on the page clockwise from the right.

    The lit side is brighter than the middle by the share `slope`.
    """

    hour: Hour
    angle: float
    slope: float

    @classmethod
    def by(cls, chance: Chance) -> "Light":
        """A light at a random hour, from a random direction above."""
        hour = chance.pick(HOURS)
        return cls(hour, -pi * chance.between(0.08, 0.92), chance.between(0.04, 0.16))

    def falls_on(self, pixels: np.ndarray) -> np.ndarray:
        """The (S, S, 3) uint8 pixels in this light, as a new array."""
        red, green, blue = (pixels[:, :, [k]] * weight for k, weight in enumerate(GREY))
        grey = red + green + blue
        colours = grey + (pixels - grey) * self.hour.saturation
        lit = colours * self.hour.gains * self._brightness(len(pixels))
        return np.asarray(np.clip(np.rint(lit), 0, 255).astype(np.uint8))

    def _brightness(self, size: int) -> np.ndarray:  # (S, S, 1)
        across = (np.arange(size) + 0.5) * (2 / size) - 1
        slope = cos(self.angle) * across[None, :] + sin(self.angle) * across[:, None]
        return np.asarray(1 + self.slope * slope[:, :, None])

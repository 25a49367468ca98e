"""Health: notices a run that has gone wrong, and says so in one line.

Three troubles, each noticed within a stated number of steps: a loss or weight that is not finite
(`CHECK_EVERY_STEPS`), a discriminator that tells all real from all fake so surely that the hinge
loss is 0 and nothing is learnt (`SATURATED_STEPS` and one check more), and samples of a class that
have become alike (at the next snapshot).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from training.monitor.diversity import median_diversity
from training.monitor.readings import Readings
from training.recipes.config import LossName

CHECK_EVERY_STEPS = 10
SATURATED_STEPS = 100
SATURATED_ACCURACY = 0.999
SATURATED_LOSS = 0.01
COLLAPSED = 0.02  # of the data's diversity; a run that merely favours some poses ends above 0.05

Kind = Literal["not finite", "saturated", "collapsed"]


@dataclass(frozen=True)
class Trouble:
    """What is wrong, in a line, and the images seen when all was still well."""

    kind: Kind
    line: str
    well_at: int


class Watch:
    """Looks at a run's readings. A trouble is told once, until it has passed.

    `num_images` is where the run is now and `well_at` in a Trouble where it was last found well.
    Only the hinge loss can be saturated: the others never reach 0, and their gradient for the
    generator is the larger the surer the discriminator is.
    """

    def __init__(self, num_images: int, loss: LossName = "hinge") -> None:
        self._can_saturate = loss == "hinge"
        self._finite_at = num_images
        self._unsaturated_at = num_images
        self._diverse_at = num_images
        self._saturated_steps = 0
        self._told: set[Kind] = set()

    @property
    def well_at(self) -> int:
        """The images seen when the run was last found well in every respect."""
        return min(self._finite_at, self._unsaturated_at, self._diverse_at)

    def look(self, readings: Readings, weights_finite: bool, num_images: int) -> Trouble | None:
        """What the steps since the last look show, if anything."""
        return self._finite(readings, weights_finite, num_images) or self._saturated(
            readings, num_images
        )

    def look_at_diversity(self, diversity: Mapping[str, float], num_images: int) -> Trouble | None:
        """What a snapshot's samples show, if anything; `diversity` as `Diversity.of` gives it."""
        if not diversity or (median := median_diversity(diversity)) >= COLLAPSED:
            self._diverse_at = num_images
            return self._passed("collapsed")
        least = min(diversity, key=diversity.__getitem__)
        return self._tell(
            "collapsed",
            f"the samples have collapsed: within half of the classes they differ at most "
            f"{median:.2f} times as much as the pictures do (limit {COLLAPSED}), least in {least} "
            f"({diversity[least]:.2f})",
            self._diverse_at,
        )

    def _finite(self, readings: Readings, weights_finite: bool, num_images: int) -> Trouble | None:
        broken = [name for name, value in readings.values().items() if not math.isfinite(value)]
        if weights_finite and not broken:
            self._finite_at = num_images
            return self._passed("not finite")
        what = broken[0].replace("_", " ") if broken else "a weight"
        return self._tell(
            "not finite",
            f"{what} is no longer finite after {num_images:,} images",
            self._finite_at,
        )

    def _saturated(self, readings: Readings, num_images: int) -> Trouble | None:
        sure = min(readings.real_accuracy, readings.fake_accuracy) >= SATURATED_ACCURACY
        if not self._can_saturate or not sure or readings.discriminator_loss > SATURATED_LOSS:
            self._unsaturated_at, self._saturated_steps = num_images, 0
            return self._passed("saturated")
        self._saturated_steps += readings.num_steps
        if self._saturated_steps < SATURATED_STEPS:
            return None
        return self._tell(
            "saturated",
            f"the discriminator is saturated: for {self._saturated_steps} steps it has told all "
            f"real from all fake with a loss of {readings.discriminator_loss:.3f}, which teaches "
            "the generator nothing",
            self._unsaturated_at,
        )

    def _passed(self, kind: Kind) -> Trouble | None:
        self._told.discard(kind)
        return None

    def _tell(self, kind: Kind, line: str, well_at: int) -> Trouble | None:
        if kind in self._told:
            return None
        self._told.add(kind)
        return Trouble(kind, line, well_at)

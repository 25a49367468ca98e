"""Health checks: notice a run that has gone wrong and describe the problem in one line.

There are three problems:

- "not finite": a loss or a weight is not finite. Noticed within `CHECK_EVERY_STEPS` steps.
- "saturated": the discriminator separates all real images from all fakes so surely that the hinge
  loss is 0 and the generator learns nothing. Noticed after `SATURATED_STEPS` steps and one check.
- "collapsed": the samples of a class have become alike. Noticed at the next snapshot.
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
class Problem:
    """A problem of a run, described in `line`.

    `healthy_at` is the number of images at which the run last showed no such problem.
    """

    kind: Kind
    line: str
    healthy_at: int


class HealthCheck:
    """Checks a run that is at `num_images` now.

    A problem is returned when it appears, and again only after a check without it. Saturation is a
    problem of the hinge loss alone: the other losses never reach 0, and their gradient for the
    generator grows as the discriminator becomes surer.
    """

    def __init__(self, num_images: int, loss: LossName = "hinge") -> None:
        self._can_saturate = loss == "hinge"
        self._finite_at = num_images
        self._unsaturated_at = num_images
        self._diverse_at = num_images
        self._saturated_steps = 0
        self._reported: set[Kind] = set()

    @property
    def healthy_at(self) -> int:
        """The number of images at which the run last had none of the problems."""
        return min(self._finite_at, self._unsaturated_at, self._diverse_at)

    def check_steps(
        self, readings: Readings, weights_finite: bool, num_images: int
    ) -> Problem | None:
        """Checks the means over the steps since the last check; returns a new problem."""
        return self._check_finite(readings, weights_finite, num_images) or self._check_saturation(
            readings, num_images
        )

    def check_diversity(self, diversity: Mapping[str, float], num_images: int) -> Problem | None:
        """Checks the diversity of a snapshot's samples (see `Diversity.of`).

        Returns a new problem.
        """
        if not diversity or (median := median_diversity(diversity)) >= COLLAPSED:
            self._diverse_at = num_images
            return self._passed("collapsed")
        least = min(diversity, key=diversity.__getitem__)
        return self._failed(
            "collapsed",
            f"the samples have collapsed: within half of the classes they differ at most "
            f"{median:.2f} times as much as the pictures do (limit {COLLAPSED}), least in {least} "
            f"({diversity[least]:.2f})",
            self._diverse_at,
        )

    def _check_finite(
        self, readings: Readings, weights_finite: bool, num_images: int
    ) -> Problem | None:
        broken = [name for name, value in readings.values().items() if not math.isfinite(value)]
        if weights_finite and not broken:
            self._finite_at = num_images
            return self._passed("not finite")
        what = broken[0].replace("_", " ") if broken else "a weight"
        return self._failed(
            "not finite",
            f"{what} is no longer finite after {num_images:,} images",
            self._finite_at,
        )

    def _check_saturation(self, readings: Readings, num_images: int) -> Problem | None:
        sure = min(readings.real_accuracy, readings.fake_accuracy) >= SATURATED_ACCURACY
        if not self._can_saturate or not sure or readings.discriminator_loss > SATURATED_LOSS:
            self._unsaturated_at, self._saturated_steps = num_images, 0
            return self._passed("saturated")
        self._saturated_steps += readings.num_steps
        if self._saturated_steps < SATURATED_STEPS:
            return None
        return self._failed(
            "saturated",
            f"the discriminator is saturated: for {self._saturated_steps} steps it has separated "
            f"all real images from all fakes with a loss of {readings.discriminator_loss:.3f}, "
            "which teaches the generator nothing",
            self._unsaturated_at,
        )

    def _passed(self, kind: Kind) -> Problem | None:
        self._reported.discard(kind)
        return None

    def _failed(self, kind: Kind, line: str, healthy_at: int) -> Problem | None:
        if kind in self._reported:
            return None
        self._reported.add(kind)
        return Problem(kind, line, healthy_at)

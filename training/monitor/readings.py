"""Readings: what steps measure, averaged over the steps since the last check and over processes."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class DiscriminatorStep:
    """What a discriminator step measures, as scalar tensors.

    `loss` does not contain the gradient penalty, which is `penalty`. `real_logit` and `fake_logit`
    are means over the batch. `real_accuracy` is the share of real images with a logit above 0,
    `fake_accuracy` the share of fakes with a logit below 0, and `pair_accuracy` the share of pairs
    whose real image has the higher logit.
    """

    loss: Tensor
    penalty: Tensor
    real_logit: Tensor
    fake_logit: Tensor
    real_accuracy: Tensor
    fake_accuracy: Tensor
    pair_accuracy: Tensor


class StepMeasurements(NamedTuple):
    """What one step of both networks measures."""

    discriminator: DiscriminatorStep
    generator_loss: Tensor


@dataclass(frozen=True)
class Readings:
    """The means of `StepMeasurements` over `num_steps` steps.

    `penalty` is the mean over all steps, also over those that did not compute it: γ/2·E‖∇D‖² as in
    the formula, whatever the interval.
    """

    num_steps: int
    discriminator_loss: float
    generator_loss: float
    penalty: float
    real_logit: float
    fake_logit: float
    real_accuracy: float
    fake_accuracy: float
    pair_accuracy: float

    def values(self) -> dict[str, float]:
        """Returns every mean by its name."""
        return {name: value for name, value in asdict(self).items() if name != "num_steps"}

    def record(self, *, compares_pairs: bool) -> dict[str, float]:
        """Returns the means for the log, with only the accuracies that suit the loss."""
        left_out = {"real_accuracy", "fake_accuracy"} if compares_pairs else {"pair_accuracy"}
        return {name: value for name, value in self.values().items() if name not in left_out}


class Meter:
    """Adds up measurements on the device, so that the CPU waits for the device only at a check."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._num_steps = 0

    def add(self, measured: StepMeasurements) -> None:
        """Adds the measurements of one step."""
        step = measured.discriminator
        values = torch.stack(
            [
                step.loss,
                measured.generator_loss,
                step.penalty,
                step.real_logit,
                step.fake_logit,
                step.real_accuracy,
                step.fake_accuracy,
                step.pair_accuracy,
            ]
        )
        self._sum = values if self._sum is None else self._sum + values
        self._num_steps += 1

    def read(self, mean: Callable[[Tensor], Tensor]) -> Readings:
        """Returns the means over the steps since the last call, averaged over processes by `mean`.

        Raises ValueError if there was no step.
        """
        if self._sum is None:
            raise ValueError("no step since the last reading")
        means = mean(self._sum / self._num_steps).tolist()
        names = [field.name for field in fields(Readings)][1:]
        readings = Readings(self._num_steps, **dict(zip(names, means, strict=True)))
        self._sum, self._num_steps = None, 0
        return readings


def mean_readings(parts: list[Readings]) -> Readings:
    """Joins the means of several parts, weighted by their numbers of steps."""
    total = sum(part.num_steps for part in parts)
    means = {
        name: sum(getattr(part, name) * part.num_steps for part in parts) / total
        for name in parts[0].values()
    }
    return Readings(total, **means)

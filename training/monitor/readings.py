"""Readings: what the steps since the last look came to, averaged over steps and processes."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class DiscriminatorStep:
    """What a discriminator step saw, as scalars.

    `loss` leaves out what the gradient penalty added, which is `penalty`. The logits are means.
    `real_accuracy` and `fake_accuracy` are the shares with a logit above and below 0,
    `pair_accuracy` the share of pairs whose real image has the higher logit.
    """

    loss: Tensor
    penalty: Tensor
    real_logit: Tensor
    fake_logit: Tensor
    real_accuracy: Tensor
    fake_accuracy: Tensor
    pair_accuracy: Tensor


class Seen(NamedTuple):
    """What one step of both networks saw."""

    discriminator: DiscriminatorStep
    generator_loss: Tensor


@dataclass(frozen=True)
class Readings:
    """Means over `num_steps` steps of what `DiscriminatorStep` and `generator_step` give.

    `penalty` is the mean over all steps, those that computed none included: γ/2·E‖∇D‖² as in the
    formula, whatever the interval.
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
        """Every mean by its name."""
        return {name: value for name, value in asdict(self).items() if name != "num_steps"}

    def record(self, *, compares_pairs: bool) -> dict[str, float]:
        """The means that the log keeps: only those accuracies that mean something with the loss."""
        left_out = {"real_accuracy", "fake_accuracy"} if compares_pairs else {"pair_accuracy"}
        return {name: value for name, value in self.values().items() if name not in left_out}


class Meter:
    """Adds up steps on the device, so that looking at them waits for it only once a while."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._num_steps = 0

    def add(self, seen: Seen) -> None:
        """Count a step."""
        step = seen.discriminator
        values = torch.stack(
            [
                step.loss,
                seen.generator_loss,
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
        """The means since the last call. Raises ValueError where there was no step."""
        if self._sum is None:
            raise ValueError("no step since the last reading")
        means = mean(self._sum / self._num_steps).tolist()
        names = [field.name for field in fields(Readings)][1:]
        readings = Readings(self._num_steps, **dict(zip(names, means, strict=True)))
        self._sum, self._num_steps = None, 0
        return readings


def joined_readings(parts: list[Readings]) -> Readings:
    """The means over all steps of `parts`."""
    total = sum(part.num_steps for part in parts)
    means = {
        name: sum(getattr(part, name) * part.num_steps for part in parts) / total
        for name in parts[0].values()
    }
    return Readings(total, **means)

"""Readings: what the steps since the last look came to, averaged over steps and processes."""

from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from training.run.losses import LOSSES, LossName
from training.run.processes import Processes
from training.run.steps import DiscriminatorStep


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

    def record(self, loss: LossName | None = None) -> dict[str, float]:
        """Name -> value, without the number of steps and without what means nothing with `loss`."""
        left_out = {"num_steps"}
        if loss is not None:
            pairs = LOSSES[loss].compares_pairs
            left_out |= {"real_accuracy", "fake_accuracy"} if pairs else {"pair_accuracy"}
        return {name: value for name, value in asdict(self).items() if name not in left_out}


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

    def read(self, processes: Processes) -> Readings:
        """The means since the last call. Raises ValueError where there was no step."""
        if self._sum is None:
            raise ValueError("no step since the last reading")
        means = processes.mean(self._sum / self._num_steps).tolist()
        names = [field.name for field in fields(Readings)][1:]
        readings = Readings(self._num_steps, **dict(zip(names, means, strict=True)))
        self._sum, self._num_steps = None, 0
        return readings


def joined_readings(parts: list[Readings]) -> Readings:
    """The means over all steps of `parts`."""
    total = sum(part.num_steps for part in parts)
    means = {
        name: sum(getattr(part, name) * part.num_steps for part in parts) / total
        for name in parts[0].record()
    }
    return Readings(total, **means)

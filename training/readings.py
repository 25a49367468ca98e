"""Readings: what the steps since the last look came to, averaged over steps and processes."""

from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from training.processes import Processes
from training.steps import DiscriminatorStep


class Seen(NamedTuple):
    """What one step of both networks saw."""

    discriminator: DiscriminatorStep
    generator_loss: Tensor


@dataclass(frozen=True)
class Readings:
    """Means over `num_steps` steps. An accuracy is the part that D takes for what it is."""

    num_steps: int
    discriminator_loss: float
    generator_loss: float
    real_logit: float
    fake_logit: float
    real_accuracy: float
    fake_accuracy: float

    def record(self) -> dict[str, float]:
        """Name -> value, without the number of steps."""
        return {name: value for name, value in asdict(self).items() if name != "num_steps"}


class Meter:
    """Adds up steps on the device, so that looking at them waits for it only once a while."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._num_steps = 0

    def add(self, seen: Seen) -> None:
        """Count a step."""
        judged = seen.discriminator
        values = torch.stack(
            [
                judged.loss,
                seen.generator_loss,
                judged.real_logit,
                judged.fake_logit,
                judged.real_accuracy,
                judged.fake_accuracy,
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

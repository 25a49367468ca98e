"""What a training run is: frozen, validated, saved as JSON in the run's folder."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from model.config import DiscriminatorConfig, GeneratorConfig

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
OnTrouble = Literal["stop", "rollback", "go-on"]


class TrainConfig(BaseModel):
    """A run's networks, recipe and length. Progress is counted in real images seen.

    The recipe is the paper's (Zhang et al. 2018, section 4): Adam with β₁ = 0 and β₂ = 0.9, the
    discriminator's learning rate four times the generator's (TTUR, Heusel et al. 2017), one
    discriminator step a generator step. `ema_decay` is a step's; the average follows closely at
    first and reaches this decay as steps add up. `init` is the fingerprint of the checkpoint that
    the run starts from, if any.

    `batch_size` is that of all processes together; each takes its share in `accumulation` parts.
    `on_trouble` is what to do when health.py finds something wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    data: str = "picturebook"
    init: str | None = None
    num_pictures: Positive = 20_000
    batch_size: Positive = 16
    total_images: Positive = 500_000
    generator_rate: Rate = 1e-4
    discriminator_rate: Rate = 4e-4
    adam_beta1: Decay = 0.0
    adam_beta2: Decay = 0.9
    ema_decay: Decay = 0.999
    flip: bool = False
    precision: Literal["float32", "bf16"] = "float32"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    snapshot_every_images: Positive = 20_000
    accumulation: Positive = 1
    kept_snapshots: Positive = 2
    on_trouble: OnTrouble = "stop"

    @property
    def num_steps(self) -> int:
        """Steps until `total_images` real images have been seen."""
        return -(-self.total_images // self.batch_size)

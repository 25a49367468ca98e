"""What a training run is: frozen, validated, saved as JSON in the run's folder."""

from typing import Annotated, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field

from model.config import DiscriminatorConfig, GeneratorConfig
from model.devices import computes_bf16

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
LossName = Literal["hinge", "logistic", "relativistic"]
OnTrouble = Literal["stop", "rollback", "go-on"]


class TrainConfig(BaseModel):
    """A run's networks, recipe and length. Progress is counted in real images seen.

    The defaults are the paper's recipe (Zhang et al. 2018, section 4): the hinge loss, Adam with
    β₁ = 0 and β₂ = 0.9, the discriminator's learning rate four times the generator's (TTUR, Heusel
    et al. 2017), one discriminator step a generator step. `batch_size` is that of all processes
    together.

    A described field is also a key of `--config` files and presets, and a flag of `sagan train`:
    `training.cli.options` puts it under a heading of the help.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    init: str | None = None  # the fingerprint of the checkpoint that the run starts from
    data: str = Field(
        "picturebook",
        description="What to train on: a folder that `sagan prepare` made, or whatever it takes "
        "(picturebook, a folder of class folders, a CIFAR archive, hf:NAME).",
    )
    num_pictures: Positive = Field(
        20_000, description="How many pictures of the picturebook to draw and train on."
    )
    flip: bool = Field(False, description="Mirror half of the pictures.")
    loss: LossName = Field(
        "hinge",
        description="What both networks minimise: the paper's hinge, the logistic loss, or the "
        "relativistic one, which compares each fake with a real image of its class.",
    )
    r1: Weight = Field(
        0.0, description="γ of R1, the penalty γ/2·‖∇D‖² at real images; 0 leaves it out."
    )
    r2: Weight = Field(0.0, description="The same at fakes.")
    penalty_interval: Positive = Field(
        8, description="R1 and R2 are computed every so many steps, so many times as strong."
    )
    discriminator_steps: Positive = Field(
        1, description="Discriminator steps a generator step, each on a batch of its own."
    )
    batch_size: Positive = Field(
        16, description="Real images a discriminator step; the paper's is 256."
    )
    total_images: Positive = Field(500_000, description="Length of the run in real images seen.")
    generator_rate: Rate = Field(1e-4, description="Adam's learning rate for the generator.")
    discriminator_rate: Rate = Field(
        4e-4, description="Adam's learning rate for the discriminator; the larger one (TTUR)."
    )
    gamma_rate: Rate = Field(
        1.0, description="Attention's γ learns at so many times the rate of its network."
    )
    cooldown_images: Annotated[int, Field(ge=0)] = Field(
        0, description="Both rates fall to 0 in a straight line over the last so many images."
    )
    adam_beta1: Decay = Field(0.0, description="Adam's β₁: no momentum.")
    adam_beta2: Decay = Field(0.9, description="Adam's β₂; the released code's is 0.999.")
    ema_decay: Decay = Field(
        0.999,
        description="Decay a step of the averaged generator; the average follows closely at first.",
    )
    precision: Literal["float32", "bf16", "auto"] = Field(
        "float32",
        description="bf16: convolutions and attention under autocast; auto: that where the device "
        "has bfloat16 arithmetic, which is far slower than float32 elsewhere.",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        0, description="Of weights, latents and the order of the pictures."
    )
    snapshot_every_images: Positive = Field(
        20_000, description="How often to save the run and draw samples."
    )
    kept_snapshots: Positive = Field(2, description="How many of the newest snapshots to keep.")
    accumulation: Positive = Field(
        1,
        description="Parts that each process runs its share of a batch in, where memory is short.",
    )
    compile: bool = Field(
        False, description="Compile both networks first: takes minutes and a C++ compiler."
    )
    on_trouble: OnTrouble = Field(
        "stop",
        description="What to do when a loss is not finite, D saturated or the samples collapsed.",
    )

    @property
    def images_a_step(self) -> int:
        """Real images that a step sees: all of its discriminator steps together."""
        return self.batch_size * self.discriminator_steps

    @property
    def num_steps(self) -> int:
        """Steps until `total_images` real images have been seen."""
        return -(-self.total_images // self.images_a_step)

    def rate_factor(self, num_images: int) -> float:
        """What both learning rates are multiplied by once `num_images` have been seen."""
        left = self.total_images - num_images
        return 1.0 if left >= self.cooldown_images else max(0.0, left / self.cooldown_images)

    def runs_in_bf16(self, device: torch.device) -> bool:
        """Whether steps on `device` run under autocast."""
        return self.precision == "bf16" or (self.precision == "auto" and computes_bf16(device))

    def with_classes(self, num_classes: int) -> Self:
        """The same run on data of so many classes."""
        update = {"num_classes": num_classes}
        return self.model_copy(
            update={
                "generator": self.generator.model_copy(update=update),
                "discriminator": self.discriminator.model_copy(update=update),
            }
        )

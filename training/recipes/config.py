"""TrainConfig: everything that defines a training run, saved as JSON in the run's folder."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from model.config import DiscriminatorConfig, GeneratorConfig

if TYPE_CHECKING:  # the flags of `sagan train` are made of these fields, and --help needs no torch
    import torch

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
LossName = Literal["hinge", "logistic", "relativistic"]
OnTrouble = Literal["stop", "rollback", "go-on"]


class TrainConfig(BaseModel):
    """The networks, recipe and length of a run. Progress is counted in real images seen.

    The defaults are the paper's recipe (Zhang et al. 2018, section 4): the hinge loss, Adam with β₁
    = 0 and β₂ = 0.9, the discriminator's learning rate four times the generator's (TTUR, Heusel et
    al. 2017), and one discriminator step for each generator step. `batch_size` counts the images of
    all processes together.

    A field with a description is also a key of `--config` files and presets and a flag of `sagan
    train`; `training.cli.options` puts it under a heading of the help.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    init: str | None = None  # the fingerprint of the checkpoint that the run starts from
    data: str = Field(
        "picturebook",
        description="What to train on: a folder that `sagan prepare` has made, or any source that "
        "it reads (picturebook, a folder of class folders, a CIFAR archive, hf:NAME).",
    )
    num_pictures: Positive = Field(
        20_000, description="How many pictures of the picturebook to draw and train on."
    )
    flip: bool = Field(False, description="Mirror half of the pictures, chosen at random.")
    loss: LossName = Field(
        "hinge",
        description="The loss of both networks: the paper's hinge loss, the logistic loss, or the "
        "relativistic loss, which compares each fake with a real image of its class.",
    )
    r1: Weight = Field(
        0.0, description="Weight γ of R1, the penalty γ/2·‖∇D‖² at real images; 0 switches it off."
    )
    r2: Weight = Field(
        0.0, description="Weight γ of R2, the same penalty at fakes; 0 switches it off."
    )
    penalty_interval: Positive = Field(
        8, description="Compute R1 and R2 only every N steps, N times as strong."
    )
    discriminator_steps: Positive = Field(
        1, description="Discriminator steps for each generator step, each on a batch of its own."
    )
    batch_size: Positive = Field(
        16, description="Real images in a discriminator step; the paper uses 256."
    )
    total_images: Positive = Field(500_000, description="Length of the run, in real images seen.")
    generator_rate: Rate = Field(1e-4, description="Adam's learning rate for the generator.")
    discriminator_rate: Rate = Field(
        4e-4,
        description="Adam's learning rate for the discriminator; the paper's is four times the "
        "generator's (TTUR).",
    )
    gamma_rate: Rate = Field(
        1.0, description="Attention's γ learns at the rate of its network times this factor."
    )
    cooldown_images: Annotated[int, Field(ge=0)] = Field(
        0, description="Lower both learning rates linearly to 0 over this many last images."
    )
    adam_beta1: Decay = Field(0.0, description="Adam's β₁; the paper uses no momentum.")
    adam_beta2: Decay = Field(0.9, description="Adam's β₂; the released code's is 0.999.")
    ema_decay: Decay = Field(
        0.999,
        description="Decay of the averaged generator in each step; it is lower in the first steps.",
    )
    precision: Literal["float32", "bf16", "auto"] = Field(
        "float32",
        description="float32 is without TF32. bf16 runs convolutions and attention under "
        "autocast. auto takes bf16 on a device with bfloat16 arithmetic, and float32 elsewhere, "
        "where bf16 is far slower.",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        0, description="Seed of the weights, the latents and the order of the pictures."
    )
    snapshot_every_images: Positive = Field(
        20_000, description="Save a snapshot and draw samples every N images."
    )
    kept_snapshots: Positive = Field(2, description="How many of the newest snapshots to keep.")
    accumulation: Positive = Field(
        1,
        description="Split each process's shard of a batch into N parts, which saves memory.",
    )
    compile: bool = Field(
        False,
        description="Compile both networks first, which takes minutes and needs a C++ compiler.",
    )
    on_trouble: OnTrouble = Field(
        "stop",
        description="What to do when a loss is not finite, the discriminator is saturated or the "
        "samples have collapsed: stop, go back to an earlier snapshot, or go on.",
    )

    @property
    def images_a_step(self) -> int:
        """Real images in a step: those of all its discriminator steps."""
        return self.batch_size * self.discriminator_steps

    @property
    def num_steps(self) -> int:
        """Steps until `total_images` real images have been seen."""
        return -(-self.total_images // self.images_a_step)

    def rate_factor(self, num_images: int) -> float:
        """The factor of both learning rates once the run has seen `num_images`."""
        left = self.total_images - num_images
        return 1.0 if left >= self.cooldown_images else max(0.0, left / self.cooldown_images)

    def runs_in_bf16(self, device: "torch.device") -> bool:
        """Whether steps on `device` run under autocast."""
        from model.devices import computes_bf16

        return self.precision == "bf16" or (self.precision == "auto" and computes_bf16(device))

    def with_classes(self, num_classes: int) -> Self:
        """Returns the config for data with `num_classes` classes."""
        update = {"num_classes": num_classes}
        return self.model_copy(
            update={
                "generator": self.generator.model_copy(update=update),
                "discriminator": self.discriminator.model_copy(update=update),
            }
        )

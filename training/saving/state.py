"""The state of a run, as a snapshot holds it: networks, optimisers, random numbers, progress."""

import copy
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam

from model.discriminator import Discriminator
from model.generator import Generator
from training.recipes.config import TrainConfig


@dataclass
class TrainState:
    """A run between two steps. `random` draws the latents, on the CPU for every device."""

    generator: Generator
    discriminator: Discriminator
    average: Generator
    generator_optimizer: Adam
    discriminator_optimizer: Adam
    random: torch.Generator
    num_images: int = 0

    @classmethod
    def start(cls, config: TrainConfig, device: torch.device) -> Self:
        """Creates the state before the first step."""
        torch.manual_seed(config.seed)
        generator = Generator(config.generator).to(device)
        discriminator = Discriminator(config.discriminator).to(device)
        for network in (generator, discriminator):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        state = cls(
            generator=generator,
            discriminator=discriminator,
            average=copy.deepcopy(generator).eval().requires_grad_(False),
            generator_optimizer=_adam(generator, config),
            discriminator_optimizer=_adam(discriminator, config),
            random=torch.Generator().manual_seed(config.seed),
        )
        state.set_rates(config)
        return state

    def reseed_latents(self, seed: int, attempt: int) -> None:
        """Makes the run draw other latents from here on, different for each seed and attempt.

        Seed and attempt are hashed into 32 bits, since the CPU's generator uses no more of a seed.
        """
        mixed = np.random.SeedSequence((seed, attempt)).generate_state(1)
        self.random.manual_seed(int(mixed[0]))

    def set_rates(self, config: TrainConfig) -> None:
        """Sets the learning rates of both optimisers for the next step."""
        factor = config.rate_factor(self.num_images)
        for optimizer, rate in (
            (self.generator_optimizer, config.generator_rate),
            (self.discriminator_optimizer, config.discriminator_rate),
        ):
            for number, group in enumerate(optimizer.param_groups):  # γ's is the second, see _adam
                group["lr"] = rate * factor * (config.gamma_rate if number == 1 else 1)

    def latents(self, count: int) -> Tensor:
        """Draws the next (count, z_dim) latents of the run."""
        z = torch.randn(count, self.generator.config.z_dim, generator=self.random)
        if self.device.type == "cuda":  # only pinned memory is copied while kernels run
            z = z.pin_memory()
        return z.to(self.device, non_blocking=True)

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        return self.generator.linear.weight.device

    def state_dict(self) -> dict[str, object]:
        """Returns the state as nested dicts of tensors and numbers."""
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "random": self.random.get_state(),
            "num_images": self.num_images,
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Loads what `state_dict` returned, in place."""
        for name in (
            "generator",
            "discriminator",
            "average",
            "generator_optimizer",
            "discriminator_optimizer",
        ):
            getattr(self, name).load_state_dict(state[name])
        random_state, num_images = state["random"], state["num_images"]
        if not isinstance(random_state, Tensor) or not isinstance(num_images, int):
            raise TypeError("the snapshot's random state or image count has the wrong type")
        self.random.set_state(random_state.cpu())
        self.num_images = num_images


def _adam(network: nn.Module, config: TrainConfig) -> Adam:
    """Creates Adam for a network; `TrainState.set_rates` sets the rate of each parameter group.

    Attention's γ are a second group if `gamma_rate` differs from 1. Otherwise there is one
    group, as in snapshots of older versions.
    """
    named = list(network.named_parameters())
    apart = config.gamma_rate != 1
    gammas = [p for name, p in named if apart and name.endswith(".gamma")]
    others = [p for name, p in named if not (apart and name.endswith(".gamma"))]
    groups = [{"params": group} for group in (others, gammas) if group]
    return Adam(groups, betas=(config.adam_beta1, config.adam_beta2), fused=True)

"""The trainer: takes a run's state from one step to the next, on this process's share of it."""

import torch
from torch import Tensor

from training.config import TrainConfig
from training.data import ImageSet
from training.ema import update_ema
from training.loader import Loader
from training.processes import Processes
from training.readings import Seen
from training.state import TrainState
from training.steps import discriminator_step, generator_step
from training.synced_batch_norm import sync_batch_norm

ALONE = Processes()


class Trainer:
    """Steps both networks and the average; `state` moves on by a batch a step.

    With several processes the state's generator gets batch norm that is synced over them.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: ImageSet,
        state: TrainState,
        processes: Processes = ALONE,
    ) -> None:
        self.config, self.state, self.processes = config, state, processes
        self.loader = Loader(config, data, state.device, processes)
        if processes.count > 1:
            sync_batch_norm(state.generator)
        self._generator = processes.wrap(state.generator)
        self._discriminator = processes.wrap(state.discriminator)

    def step(self) -> Seen:
        """One step of the discriminator, one of the generator, one of the average."""
        config, state = self.config, self.state
        images, labels = self.loader.batch(state.num_images)
        bf16, num_parts = config.precision == "bf16", config.accumulation
        judged = discriminator_step(
            self._discriminator,
            state.generator,
            state.discriminator_optimizer,
            images,
            labels,
            self._latents(),
            bf16=bf16,
            num_parts=num_parts,
        )
        loss = generator_step(
            state.discriminator,
            self._generator,
            state.generator_optimizer,
            labels,
            self._latents(),
            bf16=bf16,
            num_parts=num_parts,
        )
        step = state.num_images // config.batch_size
        update_ema(state.average, state.generator, config.ema_decay, step)
        state.num_images += config.batch_size
        return Seen(judged, loss)

    def weights_finite(self) -> bool:
        """Whether no weight of either network is NaN or infinite."""
        networks = (self.state.generator, self.state.discriminator)
        weights = [p.detach() for network in networks for p in network.parameters()]
        return bool(torch.stack(torch._foreach_norm(weights)).isfinite().all())

    def _latents(self) -> Tensor:
        return self.processes.share(self.state.latents(self.config.batch_size))

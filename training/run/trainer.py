"""The trainer: one step of a run, on this process's shard of the batch."""

import torch
from torch import Tensor

from training.data.image_set import ImageSet
from training.monitor.readings import DiscriminatorStep, StepMeasurements
from training.recipes.config import TrainConfig
from training.run.ema import update_ema
from training.run.loader import Loader
from training.run.losses import GradientPenalty
from training.run.processes import SINGLE_PROCESS, Processes
from training.run.steps import discriminator_step, generator_step
from training.run.synced_batch_norm import sync_batch_norm
from training.saving.state import TrainState


class Trainer:
    """Steps both networks and the averaged generator of `state`.

    Each step adds `images_a_step` to `state.num_images`. With several processes the batch norms of
    the generator are replaced by ones that use the batches of all processes.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: ImageSet,
        state: TrainState,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self.config, self.state, self.processes = config, state, processes
        self._penalty = GradientPenalty.of_run(config)
        self._bf16 = config.runs_in_bf16(state.device)
        self.loader = Loader(config, data, state.device, processes)
        if processes.count > 1:
            sync_batch_norm(state.generator)
        if config.compile:
            state.generator.compile()
            state.discriminator.compile()
        self._generator = processes.wrap(state.generator)
        self._discriminator = processes.wrap(state.discriminator)

    def step(self) -> StepMeasurements:
        """Updates the discriminator (`discriminator_steps` times), the generator and the average.

        The generator's update uses the classes of the last discriminator update and, if the loss
        compares pairs, its real images. Returns the measurements of the last discriminator update
        and of the generator's update.
        """
        config, state = self.config, self.state
        step = state.num_images // config.images_a_step
        state.set_rates(config)
        penalty = self._penalty if self._penalty.is_due(step) else None
        for _ in range(config.discriminator_steps):
            images, labels = self.loader.batch(state.num_images)
            measured = self._discriminator_step(images, labels, penalty)
            state.num_images += config.batch_size
        loss = generator_step(
            state.discriminator,
            self._generator,
            state.generator_optimizer,
            images,
            labels,
            self._latents(),
            bf16=self._bf16,
            loss=config.loss,
            num_parts=config.accumulation,
        )
        update_ema(state.average, state.generator, config.ema_decay, step)
        return StepMeasurements(measured, loss)

    def _discriminator_step(
        self, images: Tensor, labels: Tensor, penalty: GradientPenalty | None
    ) -> DiscriminatorStep:
        return discriminator_step(
            self._discriminator,
            self.state.generator,
            self.state.discriminator_optimizer,
            images,
            labels,
            self._latents(),
            bf16=self._bf16,
            loss=self.config.loss,
            penalty=penalty,
            num_parts=self.config.accumulation,
        )

    def weights_finite(self) -> bool:
        """Whether every weight of both networks is finite."""
        networks = (self.state.generator, self.state.discriminator)
        weights = [p.detach() for network in networks for p in network.parameters()]
        return bool(torch.stack(torch._foreach_norm(weights)).isfinite().all())

    def _latents(self) -> Tensor:
        return self.processes.shard(self.state.latents(self.config.batch_size))

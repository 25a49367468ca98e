"""One update of the discriminator, and one of the generator."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from model.layers import advance_power_iteration
from training.monitor.readings import DiscriminatorStep
from training.recipes.config import LossName
from training.run.losses import (
    LOSSES,
    GradientPenalty,
    discriminator_loss,
    generator_loss,
    outputs_and_gradients,
    realness,
)


def discriminator_step(
    discriminator: nn.Module,
    generator: nn.Module,
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
    z: Tensor,
    *,
    bf16: bool,
    loss: LossName = "hinge",
    penalty: GradientPenalty | None = None,
    num_parts: int = 1,
) -> DiscriminatorStep:
    """Updates the discriminator on (B, 3, H, W) real images and as many fakes.

    The fakes have the labels of the real images: a loss that compares pairs needs two images of the
    same class, and with any loss both halves of the batch then have the same classes. Real images
    and fakes pass the discriminator in one call, so that both see the same σ. With `num_parts` the
    batch passes in that many calls, whose gradients add up; the power iteration advances once.
    The caller gives `penalty` only at the steps where it is due.
    """
    advance_power_iteration(discriminator)
    autocast = torch.autocast(images.device.type, torch.bfloat16, enabled=bf16)
    with torch.no_grad(), autocast:
        fakes = generator(z, labels).to(images)
    measured: list[tuple[Tensor, Tensor, Tensor]] = []
    optimizer.zero_grad(set_to_none=True)
    parts = list(zip(*(t.chunk(num_parts) for t in (images, fakes, labels)), strict=True))
    for i, (real, fake, classes) in enumerate(parts):
        with _without_averaging(discriminator, i < len(parts) - 1):
            outputs, part_penalty = _outputs_and_penalty(
                discriminator, torch.cat([real, fake]), classes.repeat(2), penalty, autocast
            )
            on_real, on_fake = outputs.chunk(2)
            part_loss = discriminator_loss(loss, on_real, on_fake, classes)
            ((part_loss + part_penalty) / len(parts)).backward()
        logits = realness(outputs.detach()).view(2, -1)
        measured.append((part_loss.detach(), part_penalty.detach(), logits))
    optimizer.step()
    return _measurements(measured)


def _outputs_and_penalty(
    discriminator: nn.Module,
    images: Tensor,
    labels: Tensor,
    penalty: GradientPenalty | None,
    autocast: torch.autocast,
) -> tuple[Tensor, Tensor]:
    """Returns the outputs on real images, then as many fakes, and the penalty, 0 without one."""
    if penalty is None:
        with autocast:
            return discriminator(images, labels), images.new_zeros(())
    outputs, gradients = outputs_and_gradients(discriminator, images, labels)
    return outputs, penalty.of(*gradients.chunk(2))


def generator_step(
    discriminator: nn.Module,
    generator: nn.Module,
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
    z: Tensor,
    *,
    bf16: bool,
    loss: LossName = "hinge",
    num_parts: int = 1,
) -> Tensor:
    """Updates the generator on (B,) classes and (B, z_dim) latents; returns its loss, a scalar.

    `images` are (B, 3, H, W) real images of those classes; only a loss that compares pairs uses
    them. The discriminator gets no gradients. Each of the `num_parts` parts is normalised as a
    batch of its own.
    """
    advance_power_iteration(generator)
    optimizer.zero_grad(set_to_none=True)
    losses = []
    autocast = torch.autocast(z.device.type, torch.bfloat16, enabled=bf16)
    parts = list(zip(*(t.chunk(num_parts) for t in (images, labels, z)), strict=True))
    with _frozen(discriminator):
        for i, (real, classes, latents) in enumerate(parts):
            on_real = None
            if LOSSES[loss].compares_pairs:
                with torch.no_grad(), autocast:
                    on_real = discriminator(real, classes)
            with _without_averaging(generator, i < len(parts) - 1):
                with autocast:
                    on_fake = discriminator(generator(latents, classes), classes)
                part_loss = generator_loss(loss, on_real, on_fake, classes)
                (part_loss / len(parts)).backward()
            losses.append(part_loss.detach())
    optimizer.step()
    return torch.stack(losses).mean()


def _measurements(parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> DiscriminatorStep:
    """Takes the loss, the penalty and the (2, B) logits on real images and fakes of each part."""
    losses, penalties, logits = zip(*parts, strict=True)
    real, fake = torch.cat(logits, 1)  # (B,) each
    return DiscriminatorStep(
        loss=torch.stack(losses).mean(),
        penalty=torch.stack(penalties).mean(),
        real_logit=real.mean(),
        fake_logit=fake.mean(),
        real_accuracy=(real > 0).float().mean(),
        fake_accuracy=(fake < 0).float().mean(),
        pair_accuracy=(real > fake).float().mean(),
    )


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """In the `with` block gradients flow through `network`, but not to its parameters."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def _without_averaging(network: nn.Module, delayed: bool) -> AbstractContextManager[None]:
    """While `delayed`, gradients add up in this process and are not averaged over processes yet."""
    if delayed and isinstance(network, DistributedDataParallel):
        return network.no_sync()
    return nullcontext()

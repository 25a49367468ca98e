"""One step of each network."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from model.layers import advance_power_iteration
from training.losses import discriminator_loss, generator_loss, realness


@dataclass(frozen=True)
class DiscriminatorStep:
    """What a discriminator step saw, as scalars: its loss, its mean logits on real and on fake,
    and the part of each that it took for what it is."""

    loss: Tensor
    real_logit: Tensor
    fake_logit: Tensor
    real_accuracy: Tensor
    fake_accuracy: Tensor


def discriminator_step(
    discriminator: nn.Module,
    generator: nn.Module,
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
    z: Tensor,
    *,
    bf16: bool,
    num_parts: int = 1,
) -> DiscriminatorStep:
    """Update the discriminator on (B, 3, H, W) real images and as many fakes of the same classes.

    Real and fake pass through it in one call, so both are judged with the same σ; with `num_parts`
    in that many calls whose gradients add up. The power iteration advances once, before.
    """
    advance_power_iteration(discriminator)
    autocast = torch.autocast(images.device.type, torch.bfloat16, enabled=bf16)
    with torch.no_grad(), autocast:
        fakes = generator(z, labels).to(images)
    optimizer.zero_grad(set_to_none=True)
    losses, judged = [], []
    parts = list(zip(*(t.chunk(num_parts) for t in (images, fakes, labels)), strict=True))
    for i, (real, fake, classes) in enumerate(parts):
        with _gradients_kept_here(discriminator, i < len(parts) - 1):
            with autocast:
                both = discriminator(torch.cat([real, fake]), torch.cat([classes, classes]))
            on_real, on_fake = both.chunk(2)
            loss = discriminator_loss(on_real, on_fake, classes)
            (loss / len(parts)).backward()
        losses.append(loss.detach())
        judged.append(realness(both.detach()).view(2, -1))
    optimizer.step()
    return _seen(losses, torch.cat(judged, 1))


def generator_step(
    discriminator: nn.Module,
    generator: nn.Module,
    optimizer: Optimizer,
    labels: Tensor,
    z: Tensor,
    *,
    bf16: bool,
    num_parts: int = 1,
) -> Tensor:
    """Update the generator on (B,) classes and (B, z_dim) latents; returns its loss, a scalar.

    The discriminator takes part without gradients of its own. Each of `num_parts` is a batch of
    its own to batch norm.
    """
    advance_power_iteration(generator)
    optimizer.zero_grad(set_to_none=True)
    losses = []
    parts = list(zip(z.chunk(num_parts), labels.chunk(num_parts), strict=True))
    discriminator.requires_grad_(False)
    try:
        for i, (latents, classes) in enumerate(parts):
            with _gradients_kept_here(generator, i < len(parts) - 1):
                with torch.autocast(z.device.type, torch.bfloat16, enabled=bf16):
                    outputs = discriminator(generator(latents, classes), classes)
                loss = generator_loss(outputs, classes)
                (loss / len(parts)).backward()
            losses.append(loss.detach())
    finally:
        discriminator.requires_grad_(True)
    optimizer.step()
    return torch.stack(losses).mean()


def _seen(losses: list[Tensor], logits: Tensor) -> DiscriminatorStep:  # logits (2, B)
    real, fake = logits
    return DiscriminatorStep(
        loss=torch.stack(losses).mean(),
        real_logit=real.mean(),
        fake_logit=fake.mean(),
        real_accuracy=(real > 0).float().mean(),
        fake_accuracy=(fake < 0).float().mean(),
    )


def _gradients_kept_here(network: nn.Module, kept: bool) -> AbstractContextManager[None]:
    """Within, gradients add up in this process and are not yet averaged over all."""
    if kept and isinstance(network, DistributedDataParallel):
        return network.no_sync()
    return nullcontext()

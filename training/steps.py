"""One step of each network."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from model.discriminator import Discriminator
from model.generator import Generator
from model.layers import advance_power_iteration
from training.losses import discriminator_loss, generator_loss, realness


@dataclass(frozen=True)
class DiscriminatorStep:
    """What a discriminator step saw: its loss, and its mean logits on real and fake."""

    loss: Tensor
    real_logit: Tensor
    fake_logit: Tensor


def discriminator_step(
    discriminator: Discriminator,
    generator: Generator,
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
    z: Tensor,
    *,
    bf16: bool,
) -> DiscriminatorStep:
    """Update the discriminator on (B, 3, H, W) real images and as many fakes of the same classes.

    Real and fake pass through it in one call, so both are judged with the same σ. The power
    iteration advances once, before.
    """
    advance_power_iteration(discriminator)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        with torch.no_grad():
            fakes = generator(z, labels).to(images)
        outputs = discriminator(torch.cat([images, fakes]), torch.cat([labels, labels]))
    real, fake = outputs.chunk(2)
    loss = discriminator_loss(real, fake, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return DiscriminatorStep(
        loss.detach(), realness(real).detach().mean(), realness(fake).detach().mean()
    )


def generator_step(
    discriminator: Discriminator,
    generator: Generator,
    optimizer: Optimizer,
    labels: Tensor,
    z: Tensor,
    *,
    bf16: bool,
) -> Tensor:
    """Update the generator on (B,) classes and (B, z_dim) latents; returns its loss, a scalar.

    The discriminator takes part without gradients of its own.
    """
    advance_power_iteration(generator)
    discriminator.requires_grad_(False)
    try:
        with torch.autocast(z.device.type, torch.bfloat16, enabled=bf16):
            outputs = discriminator(generator(z, labels), labels)
        loss = generator_loss(outputs, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
    finally:
        discriminator.requires_grad_(True)
    optimizer.step()
    return loss.detach()

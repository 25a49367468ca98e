"""The losses of both networks, and the gradient penalties R1 and R2.

A discriminator gives (B,) logits, or, with an auxiliary classifier, (B, 1 + num_classes): see
`Discriminator.forward`. The classifier adds the cross-entropy of the right class to both losses:
to the discriminator's on real images and fakes, to the generator's on fakes. The weight is 1, as
in Odena et al. 2017 (section 3). Odena et al. use a log-likelihood as the adversarial term; here
the term is any loss of `LOSSES`.

R1 is γ/2·E‖∇ₓD(x, y)‖² at real images (Mescheder et al. 2018, equation 9), R2 the same at fakes.
They are computed only every `interval` steps, and are then `interval` times as strong, so that γ
means the same whatever the interval ("lazy regularization", Karras et al. 2020, appendix B).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from training.recipes.config import LossName, TrainConfig


class Loss(NamedTuple):
    """An adversarial loss, as two functions of (B,) float32 logits on real and on fake images.

    With `compares_pairs` a logit means something only relative to the other logit of its pair: the
    generator's loss then needs real images, too, and both images of a pair must be of one class.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    compares_pairs: bool


LOSSES: dict[LossName, Loss] = {
    # E[relu(1 − D(x, y))] + E[relu(1 + D(G(z, y), y))] and −E[D(G(z, y), y)]: Zhang et al. 2018,
    # equation 4; Lim & Ye 2017.
    "hinge": Loss(
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
        lambda _real, fake: -fake.mean(),
        compares_pairs=False,
    ),
    # The non-saturating loss of Goodfellow et al. 2014 (section 3), on logits.
    "logistic": Loss(
        lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
        lambda _real, fake: F.softplus(-fake).mean(),
        compares_pairs=False,
    ),
    # Jolicoeur-Martineau 2018, equation 3. Sun et al. 2020 show that comparing pairs has no bad
    # local minima; Huang et al. 2024 add R1 and R2, with which it converges.
    "relativistic": Loss(
        lambda real, fake: F.softplus(fake - real).mean(),
        lambda real, fake: F.softplus(real - fake).mean(),
        compares_pairs=True,
    ),
}


def discriminator_loss(loss: LossName, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
    """The discriminator's loss, a float32 scalar.

    `real` and `fake` are its outputs on images of the (B,) classes `labels`.
    """
    adversarial = LOSSES[loss].discriminator(realness(real), realness(fake))
    return adversarial + _class_loss(real, labels) + _class_loss(fake, labels)


def generator_loss(loss: LossName, real: Tensor | None, fake: Tensor, labels: Tensor) -> Tensor:
    """The generator's loss, a float32 scalar.

    `real` and `fake` are the discriminator's outputs on images of the (B,) classes `labels`; a loss
    that does not compare pairs needs no `real`.
    """
    on_fake = realness(fake)
    on_real = on_fake.detach() if real is None else realness(real)
    return LOSSES[loss].generator(on_real, on_fake) + _class_loss(fake, labels)


def realness(output: Tensor) -> Tensor:
    """Returns the (B,) float32 logits, higher for real images, from either form of output."""
    return (output if output.dim() == 1 else output[:, 0]).float()


def _class_loss(output: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of `labels`, or 0 for a discriminator without a classifier."""
    if output.dim() == 1:
        return output.new_zeros(()).float()
    return F.cross_entropy(output[:, 1:].float(), labels)


@dataclass(frozen=True)
class GradientPenalty:
    """R1 and R2 with the weights γ = `r1` and γ = `r2`; a weight of 0 leaves that penalty out."""

    r1: float = 0.0
    r2: float = 0.0
    interval: int = 1

    @classmethod
    def of_run(cls, config: TrainConfig) -> Self:
        """The penalty that a run's config asks for."""
        return cls(config.r1, config.r2, config.penalty_interval)

    def is_due(self, step: int) -> bool:
        """Whether step number `step` (from 0) computes the penalty."""
        return (self.r1 > 0 or self.r2 > 0) and step % self.interval == 0

    def of(self, real_gradient: Tensor, fake_gradient: Tensor) -> Tensor:
        """The scalar that a step adds to its loss, from two (B, 3, H, W) gradients."""
        real, fake = (
            gradient.square().sum((1, 2, 3)).mean() for gradient in (real_gradient, fake_gradient)
        )
        return self.interval / 2 * (self.r1 * real + self.r2 * fake)


def outputs_and_gradients(
    discriminator: nn.Module, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the discriminator's outputs, and the gradients of its logits by the images.

    Images and gradients are (B, 3, H, W); both results are differentiable. The logit of an image
    depends on that image alone, since a discriminator has no batch norm, so each gradient is that
    of one logit.
    """
    exact = torch.promote_types(images.dtype, torch.float32)
    images = images.detach().to(exact).requires_grad_()
    images = images.view_as(images)  # not a leaf: PyTorch's FLOP counter cannot follow one
    with _twice_differentiable(images.device.type):
        outputs = discriminator(images, labels)
        (gradients,) = torch.autograd.grad(realness(outputs).sum(), images, create_graph=True)
    return outputs, gradients


@contextmanager
def _twice_differentiable(device_type: str) -> Iterator[None]:
    """In the `with` block networks run in float32 or better and have second derivatives.

    PyTorch's fused attention and compiled networks have none, so both are switched off.
    """
    with (
        torch.autocast(device_type, enabled=False),
        sdpa_kernel(SDPBackend.MATH),
        torch.compiler.set_stance("force_eager"),
    ):
        yield

"""R1 and R2: what the discriminator pays for being steep at real and at fake images.

R1 is γ/2·E‖∇ₓD(x, y)‖² at real images (Mescheder et al. 2018, equation 9), R2 the same at fakes.
It is computed every `interval` steps alone, `interval` times as strong, so that γ means the same
whatever the interval ("lazy regularization", Karras et al. 2020, appendix B).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from training.run.losses import realness


@dataclass(frozen=True)
class GradientPenalty:
    """`r1` and `r2` are the formulas' γ; 0 leaves that penalty out."""

    r1: float = 0.0
    r2: float = 0.0
    interval: int = 1

    def is_due(self, step: int) -> bool:
        """Whether step number `step` (from 0) computes it: a function of the step alone."""
        return (self.r1 > 0 or self.r2 > 0) and step % self.interval == 0

    def of(self, real_gradient: Tensor, fake_gradient: Tensor) -> Tensor:
        """What a step that is due adds to the loss, a scalar, from two (B, 3, H, W) gradients."""
        real, fake = (
            gradient.square().sum((1, 2, 3)).mean() for gradient in (real_gradient, fake_gradient)
        )
        return self.interval / 2 * (self.r1 * real + self.r2 * fake)


def outputs_and_gradients(
    discriminator: nn.Module, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """The discriminator's outputs on (B, 3, H, W) images, and its logits' gradients with respect to
    them, (B, 3, H, W), both differentiable.

    A row's gradient is its own logit's alone, since a discriminator has no batch norm.
    """
    exact = torch.promote_types(images.dtype, torch.float32)
    images = images.detach().to(exact).requires_grad_()
    images = images.view_as(images)  # no leaf: PyTorch's FLOP counter cannot follow one
    with _twice_differentiable(images.device.type):
        outputs = discriminator(images, labels)
        (gradients,) = torch.autograd.grad(realness(outputs).sum(), images, create_graph=True)
    return outputs, gradients


@contextmanager
def _twice_differentiable(device_type: str) -> Iterator[None]:
    """Within, networks run in float32 or better, in forms that have second derivatives.

    Neither PyTorch's fused attention nor a compiled network has any.
    """
    with (
        torch.autocast(device_type, enabled=False),
        sdpa_kernel(SDPBackend.MATH),
        torch.compiler.set_stance("force_eager"),
    ):
        yield

"""The hinge losses (Zhang et al. 2018, equation 4; Lim & Ye 2017)."""

from torch import Tensor
from torch.nn import functional as F


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[relu(1 − D(x, y))] + E[relu(1 + D(G(z, y), y))] of (B,) logits, a float32 scalar."""
    return F.relu(1 - real_logits.float()).mean() + F.relu(1 + fake_logits.float()).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """−E[D(G(z, y), y)] of (B,) logits, a float32 scalar."""
    return -fake_logits.float().mean()

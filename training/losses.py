"""The hinge losses (Zhang et al. 2018, equation 4; Lim & Ye 2017), and AC-GAN's beside them.

A discriminator gives (B,) logits, or, with an auxiliary classifier, (B, 1 + num_classes): see
`Discriminator.forward`. The classifier adds the cross-entropy of the right class to both losses, on
real and fake for the discriminator and on fake for the generator, each with the weight 1 of Odena
et al. 2017 (section 3). There the adversarial term is a log-likelihood; here it stays the hinge.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def discriminator_loss(real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
    """E[relu(1 − D(x, y))] + E[relu(1 + D(G(z, y), y))], a float32 scalar.

    `real` and `fake` are the discriminator's outputs on pictures of the same (B,) classes `labels`.
    """
    hinge = F.relu(1 - realness(real)).mean() + F.relu(1 + realness(fake)).mean()
    return hinge + _class_loss(real, labels) + _class_loss(fake, labels)


def generator_loss(fake: Tensor, labels: Tensor) -> Tensor:
    """−E[D(G(z, y), y)], a float32 scalar; `fake` is the discriminator's output, `labels` are y."""
    return _class_loss(fake, labels) - realness(fake).mean()


def realness(output: Tensor) -> Tensor:
    """The (B,) float32 logits, positive for real, in a discriminator's output of either form."""
    return (output if output.dim() == 1 else output[:, 0]).float()


def _class_loss(output: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of `labels`; 0 for a discriminator without a classifier."""
    if output.dim() == 1:
        return output.new_zeros((), dtype=torch.float32)
    return F.cross_entropy(output[:, 1:].float(), labels)

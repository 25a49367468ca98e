"""What both networks minimise: an adversarial loss, and AC-GAN's classification beside it.

A discriminator gives (B,) logits, or, with an auxiliary classifier, (B, 1 + num_classes): see
`Discriminator.forward`. The classifier adds the cross-entropy of the right class to both losses, on
real and fake for the discriminator and on fake for the generator, each with the weight 1 of Odena
et al. 2017 (section 3). There the adversarial term is a log-likelihood; here it is any of these.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor
from torch.nn import functional as F

LossName = Literal["hinge", "logistic", "relativistic"]


class Loss(NamedTuple):
    """An adversarial loss, as two functions of (B,) float32 logits on real and on fake images.

    With `compares_pairs` each logit means something only beside that of the other kind, so the
    generator's loss needs real images too, and real and fake of a pair must be of one class.
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
    """What the discriminator minimises, a float32 scalar.

    `real` and `fake` are its outputs on images of the same (B,) classes `labels`, in this order.
    """
    adversarial = LOSSES[loss].discriminator(realness(real), realness(fake))
    return adversarial + _class_loss(real, labels) + _class_loss(fake, labels)


def generator_loss(loss: LossName, real: Tensor | None, fake: Tensor, labels: Tensor) -> Tensor:
    """What the generator minimises, a float32 scalar.

    `real` and `fake` are the discriminator's outputs on images of the (B,) classes `labels`; a loss
    that does not compare pairs needs no `real`.
    """
    on_fake = realness(fake)
    on_real = on_fake.detach() if real is None else realness(real)
    return LOSSES[loss].generator(on_real, on_fake) + _class_loss(fake, labels)


def realness(output: Tensor) -> Tensor:
    """The (B,) float32 logits, higher for real, in a discriminator's output of either form."""
    return (output if output.dim() == 1 else output[:, 0]).float()


def _class_loss(output: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of `labels`; 0 for a discriminator without a classifier."""
    if output.dim() == 1:
        return output.new_zeros(()).float()
    return F.cross_entropy(output[:, 1:].float(), labels)

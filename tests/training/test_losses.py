"""The hinge losses against the paper's equation by hand."""

import torch

from training.losses import discriminator_loss, generator_loss


def test_the_discriminators_loss_is_the_two_hinges() -> None:
    """Real logits over 1 and fake ones under -1 cost nothing; the rest costs its distance."""
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.25])
    assert discriminator_loss(real, fake).item() == 0.5 / 2 + 1.25 / 2


def test_the_generators_loss_is_minus_the_mean_logit() -> None:
    """No hinge on the generator's side."""
    assert generator_loss(torch.tensor([3.0, -1.0])).item() == -1.0

"""The losses against their equations by hand."""

import math

import pytest
import torch

from training.run.losses import discriminator_loss, generator_loss, realness

LABELS = torch.tensor([0, 1])


def test_the_discriminators_loss_is_the_two_hinges() -> None:
    """Real logits over 1 and fake ones under -1 cost nothing; the rest costs its distance."""
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.25])
    assert discriminator_loss("hinge", real, fake, LABELS).item() == 0.5 / 2 + 1.25 / 2


def test_the_generators_loss_is_minus_the_mean_logit() -> None:
    """No hinge on the generator's side."""
    assert generator_loss("hinge", None, torch.tensor([3.0, -1.0]), LABELS).item() == -1.0


def test_the_logistic_loss_is_minus_the_log_likelihood() -> None:
    """−log σ(D(real)) − log(1 − σ(D(fake))); the generator's does not saturate: −log σ(D(fake))."""
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.25])
    expected = -float(real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean())
    assert discriminator_loss("logistic", real, fake, LABELS).item() == pytest.approx(expected)
    generator = generator_loss("logistic", None, fake, LABELS).item()
    assert generator == pytest.approx(-float(fake.sigmoid().log().mean()))


def test_the_relativistic_loss_looks_at_the_difference_within_each_pair() -> None:
    """−log σ(±(D(real) − D(fake))): a constant added to all logits changes nothing."""
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.25])
    apart = real - fake
    for shift in (0.0, 7.0):
        discriminator = discriminator_loss("relativistic", real + shift, fake + shift, LABELS)
        assert discriminator.item() == pytest.approx(-float(apart.sigmoid().log().mean()))
        generator = generator_loss("relativistic", real + shift, fake + shift, LABELS)
        assert generator.item() == pytest.approx(-float((-apart).sigmoid().log().mean()))


def test_a_classifier_adds_the_cross_entropy_of_the_right_class() -> None:
    """On real and fake for the discriminator, on fake for the generator, each with weight 1."""
    real = torch.tensor([[2.0, 5.0, 5.0], [0.5, 0.0, 100.0]])  # ln 2 and 0 nats
    fake = torch.tensor([[-3.0, 1.0, 1.0], [0.25, 3.0, 3.0]])  # ln 2 twice
    hinges, log_2 = 0.5 / 2 + 1.25 / 2, math.log(2)
    loss = discriminator_loss("hinge", real, fake, LABELS)
    assert loss.item() == pytest.approx(hinges + log_2 / 2 + log_2)
    assert generator_loss("hinge", None, fake, LABELS).item() == pytest.approx(2.75 / 2 + log_2)


def test_realness_is_the_first_logit_of_either_form() -> None:
    """In float32 also under autocast."""
    assert realness(torch.tensor([3.0, 1.0])).tolist() == [3.0, 1.0]
    both = realness(torch.tensor([[3.0, 9.0, 9.0], [1.0, 9.0, 9.0]], dtype=torch.bfloat16))
    assert both.tolist() == [3.0, 1.0]
    assert both.dtype == torch.float32

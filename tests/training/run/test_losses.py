"""The losses against their equations by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from model.config import DiscriminatorConfig
from model.discriminator import Discriminator
from training.run.losses import (
    GradientPenalty,
    discriminator_loss,
    generator_loss,
    outputs_and_gradients,
    realness,
)

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


CLASSES = torch.tensor([0, 2])
H = 1e-8  # of finite differences: small, since slopes leap where a ReLU or a maximum switches


def discriminator(**switches: object) -> Discriminator:
    """A small one in float64 whose attention takes part."""
    torch.manual_seed(0)
    shape = {"resolution": 32, "base_channels": 4, "num_classes": 3, "attention_at": (8, 16)}
    network = Discriminator(DiscriminatorConfig.model_validate(shape | switches)).double()
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, 0.7)
        if name.endswith(("query.weight", "key.weight")):
            nn.init.normal_(parameter)  # so that it chooses among positions
    return network


def penalty_by_differences(network: Discriminator, images: Tensor, r1: float, r2: float) -> float:
    """γ/2·E‖∇D‖² of the two halves of `images`, each ‖∇D‖² from a directional derivative.

    Along its own direction a gradient's directional derivative is its norm.
    """
    images = images.clone().requires_grad_()
    labels = CLASSES.repeat(2)
    (gradients,) = torch.autograd.grad(network(images, labels).sum(), images)
    along = gradients / gradients.flatten(1).norm(dim=1)[:, None, None, None]
    with torch.no_grad():
        higher, lower = (network(images + h * along, labels) for h in (H, -H))
    squares = ((higher - lower) / (2 * H)).square()
    real, fake = squares.chunk(2)
    return float(r1 / 2 * real.mean() + r2 / 2 * fake.mean())


@pytest.mark.parametrize("switches", [{}, {"spectral_norm": False, "pooling": "scaled"}], ids=str)
def test_penalties_equal_finite_differences(switches: dict[str, object]) -> None:
    """In float64: the value, and what it changes in the weights, through attention too."""
    network = discriminator(**switches)
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    penalty = GradientPenalty(r1=0.8, r2=0.3)

    def value() -> Tensor:
        _, gradients = outputs_and_gradients(network, images, CLASSES.repeat(2))
        return penalty.of(*gradients.chunk(2))

    computed = value()
    expected = penalty_by_differences(network, images, 0.8, 0.3)
    assert computed.item() == pytest.approx(expected, rel=1e-5)
    computed.backward()
    for name in ("blocks.0.conv1.weight", "attention.8.query.weight", "attention.16.value.weight"):
        weight = network.get_parameter(name)
        assert weight.grad is not None
        direction = torch.randn_like(weight)
        slope = float((weight.grad * direction).sum())
        ends = []
        for step in (H, -2 * H):
            weight.data += step * direction
            ends.append(value().item())
        weight.data += H * direction
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * H), rel=1e-3), name


def test_a_row_s_gradient_is_that_of_its_own_logit() -> None:
    """Alone or beside others, so that a batch in parts pays the same."""
    network = discriminator()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    _, together = outputs_and_gradients(network, images, CLASSES)
    for i in range(2):
        _, alone = outputs_and_gradients(network, images[i : i + 1], CLASSES[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)


def test_the_penalty_is_computed_in_float32_under_autocast() -> None:
    """Squares of bfloat16 gradients would be 1 % off."""
    network = discriminator().float()
    with torch.autocast("cpu", torch.bfloat16):
        outputs, gradients = outputs_and_gradients(network, torch.randn(2, 3, 32, 32), CLASSES)
    assert outputs.dtype == gradients.dtype == torch.float32


def test_the_interval_leaves_the_mean_over_steps_as_it_is() -> None:
    """Every eighth step eight times as strong; which steps is a function of their number."""
    gradient = torch.randn(3, 3, 4, 4)
    always, lazy = GradientPenalty(2.0, 1.0), GradientPenalty(2.0, 1.0, interval=8)
    torch.testing.assert_close(lazy.of(gradient, gradient), 8 * always.of(gradient, gradient))
    assert [step for step in range(20) if lazy.is_due(step)] == [0, 8, 16]
    assert not GradientPenalty(0.0, 0.0).is_due(0)

"""R1 and R2 against finite differences, and what a step makes of them."""

import pytest
import torch
from torch import Tensor, nn

from model.config import DiscriminatorConfig
from model.discriminator import Discriminator
from training.run.gradient_penalty import GradientPenalty, outputs_and_gradients

LABELS = torch.tensor([0, 2])
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
    labels = LABELS.repeat(2)
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
        _, gradients = outputs_and_gradients(network, images, LABELS.repeat(2))
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
    _, together = outputs_and_gradients(network, images, LABELS)
    for i in range(2):
        _, alone = outputs_and_gradients(network, images[i : i + 1], LABELS[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)


def test_the_penalty_is_computed_in_float32_under_autocast() -> None:
    """Squares of bfloat16 gradients would be 1 % off."""
    network = discriminator().float()
    with torch.autocast("cpu", torch.bfloat16):
        outputs, gradients = outputs_and_gradients(network, torch.randn(2, 3, 32, 32), LABELS)
    assert outputs.dtype == gradients.dtype == torch.float32


def test_the_interval_leaves_the_mean_over_steps_as_it_is() -> None:
    """Every eighth step eight times as strong; which steps is a function of their number."""
    gradient = torch.randn(3, 3, 4, 4)
    always, lazy = GradientPenalty(2.0, 1.0), GradientPenalty(2.0, 1.0, interval=8)
    torch.testing.assert_close(lazy.of(gradient, gradient), 8 * always.of(gradient, gradient))
    assert [step for step in range(20) if lazy.is_due(step)] == [0, 8, 16]
    assert not GradientPenalty(0.0, 0.0).is_due(0)

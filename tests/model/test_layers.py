"""Spectral norm, conditional batch norm and the blocks."""

from typing import Literal

import pytest
import torch
from torch.nn import functional as F

from model.config import DiscriminatorConfig, GeneratorConfig
from model.discriminator import Discriminator
from model.generator import Generator
from model.layers import (
    ConditionalBatchNorm2d,
    Conv2d,
    DownBlock,
    Embedding,
    UpBlock,
    advance_power_iteration,
    spectral_norm_layers,
)
from model.resampling import upsample


def conv(width_in: int = 3, width_out: int = 5, kernel: int = 3) -> Conv2d:
    torch.manual_seed(0)
    layer = Conv2d(width_in, width_out, kernel, spectral_norm=True, eps=1e-12).double()
    layer.power_iterate(50)
    return layer


def test_sigma_converges_to_the_largest_singular_value() -> None:
    """After enough power iterations σ is what an SVD gives, and the weight used has norm 1."""
    layer = conv()
    largest = torch.linalg.svdvals(layer.weight.flatten(1))[0]
    torch.testing.assert_close(layer.sigma(), largest, rtol=1e-6, atol=0)
    used = torch.linalg.svdvals(layer.normalized_weight().flatten(1))[0]
    assert float(used.detach()) == pytest.approx(1.0, rel=1e-6)


def test_reading_a_weight_never_advances_the_power_iteration() -> None:
    """u and v change only when `advance_power_iteration` says so, in training mode too."""
    layer = Conv2d(3, 5, 3, spectral_norm=True, eps=1e-12).train()
    assert layer.u is not None
    before = layer.u.clone()
    layer(torch.randn(1, 3, 8, 8))
    assert torch.equal(layer.u, before)
    advance_power_iteration(layer)
    assert not torch.equal(layer.u, before)


def test_spectral_norm_matches_pytorchs_parametrization() -> None:
    """With the same weight, u and v, the normalised weight and its gradient are PyTorch's."""
    layer = conv()
    plain = torch.nn.Conv2d(3, 5, 3, padding=1).double()
    reference = torch.nn.utils.parametrizations.spectral_norm(plain).eval()
    reference.load_state_dict(
        {
            "bias": layer.bias,
            "parametrizations.weight.original": layer.weight,
            "parametrizations.weight.0._u": layer.u,
            "parametrizations.weight.0._v": layer.v,
        }
    )
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    layer(x).square().sum().backward()
    reference(x).square().sum().backward()
    expected = dict(reference.named_parameters())["parametrizations.weight.original"].grad
    torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-7, atol=1e-9)


def test_sigma_and_its_power_iteration_stay_in_float32_under_autocast() -> None:
    """bf16 has 8 bits of mantissa: σ, u and v computed in it would be off by half a percent."""
    layers = [conv(64, 64).float() for _ in range(2)]
    with torch.autocast("cpu", torch.bfloat16):
        layers[0].power_iterate()
        inside = layers[0].sigma()
    layers[1].power_iterate()
    assert layers[0].u is not None
    assert layers[1].u is not None
    assert torch.equal(layers[0].u, layers[1].u)
    assert torch.equal(inside, layers[1].sigma())


def test_without_spectral_norm_a_layer_is_plain_and_has_no_buffers() -> None:
    """`spectral_norm=False` uses the weight as it is."""
    layer = Conv2d(3, 5, 3, spectral_norm=False, eps=1e-12)
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert layer.normalized_weight() is layer.weight
    assert list(spectral_norm_layers(layer)) == []


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_an_upsampled_convolution_equals_upsampling_and_convolving(
    mode: Literal["nearest", "bilinear"],
) -> None:
    """The fused form is the same function, borders included, to float64 rounding."""
    layer, x = conv(), torch.randn(2, 3, 7, 5, dtype=torch.float64)
    torch.testing.assert_close(
        layer.forward_upsampled(x, mode), layer(upsample(x, mode)), rtol=1e-12, atol=1e-12
    )


def test_a_pooled_convolution_equals_convolving_and_pooling() -> None:
    """The fused form is the same function, borders included, to float64 rounding."""
    layer, x = conv(), torch.randn(2, 3, 8, 6, dtype=torch.float64)
    torch.testing.assert_close(
        layer.forward_pooled(x), F.avg_pool2d(layer(x), 2), rtol=1e-12, atol=1e-12
    )


def test_an_embedding_takes_mixtures_of_classes() -> None:
    """A row of class weights with a single 1 is that class; halves are the mean of two."""
    layer = Embedding(4, 6, spectral_norm=True, eps=1e-12)
    one_hot = torch.eye(4)
    assert torch.equal(layer(one_hot), layer(torch.arange(4)))
    half = layer(torch.tensor([[0.5, 0.0, 0.5, 0.0]]))
    torch.testing.assert_close(half[0], (layer(torch.tensor([0, 2]))).mean(0))


@pytest.mark.parametrize("gain", ["direct", "offset"])
def test_conditional_batch_norm_is_batch_norm_with_the_classes_own_affine(
    gain: Literal["direct", "offset"],
) -> None:
    """Row by row it equals plain batch norm with that class's gain and bias."""
    config = GeneratorConfig(resolution=32, base_channels=8, num_classes=3, conditional_gain=gain)
    layer = ConditionalBatchNorm2d(6, config).eval()
    z = torch.randn(3, 128)  # of no effect here
    mean, variance = torch.randn(6), torch.rand(6) + 0.5
    layer.norm.load_state_dict(
        {"running_mean": mean, "running_var": variance, "num_batches_tracked": torch.tensor(1)}
    )
    x, labels = torch.randn(3, 6, 4, 4), torch.tensor([2, 0, 1])
    for i, label in enumerate(labels):
        row_gain = layer.gain.weight[label] + (1.0 if gain == "offset" else 0.0)
        expected = F.batch_norm(
            x[i : i + 1], mean, variance, row_gain,
            layer.bias.weight[label], eps=config.batch_norm_eps,
        )  # fmt: skip
        torch.testing.assert_close(layer(x, labels, z)[i : i + 1], expected, rtol=1e-5, atol=1e-5)


def test_a_conditional_latent_adds_a_linear_function_of_z_to_gain_and_bias() -> None:
    """Each picture's affine is its class's plus W z, by hand; the same in a mix of classes."""
    config = GeneratorConfig(
        resolution=32, base_channels=8, num_classes=3, z_dim=5, conditional_latent=True
    )
    layer = ConditionalBatchNorm2d(6, config).eval()
    assert layer.latent_gain is not None
    assert layer.latent_bias is not None
    x, z, labels = torch.randn(3, 6, 4, 4), torch.randn(3, 5), torch.tensor([2, 0, 1])
    gain = layer.gain.weight[labels] + z @ layer.latent_gain.weight.T
    bias = layer.bias.weight[labels] + z @ layer.latent_bias.weight.T
    expected = layer.norm(x) * gain[:, :, None, None] + bias[:, :, None, None]
    torch.testing.assert_close(layer(x, labels, z), expected)
    torch.testing.assert_close(layer(x, torch.eye(3)[labels], z), expected)


def test_class_gains_start_at_one_in_both_forms() -> None:
    """A new generator's conditional batch norm is plain batch norm, however gains are stored."""
    for form in ("direct", "offset"):
        config = GeneratorConfig.model_validate(
            {"resolution": 32, "base_channels": 8, "num_classes": 3, "conditional_gain": form}
        )
        block = Generator(config).blocks[0]
        assert isinstance(block, UpBlock)
        assert torch.all(block.norm1.gain.weight + block.norm1.gain_offset == 1)


@pytest.mark.parametrize("quirk", [False, True])
def test_the_skip_of_a_down_block_carries_relu_of_its_input_only_with_the_quirk(
    quirk: bool,
) -> None:
    """`skip_sees_relu` is what an in-place ReLU at the block's entry does to the skip."""
    torch.manual_seed(0)
    block = DownBlock(
        4, 4, first=False, downsample=False, skip_sees_relu=quirk, spectral_norm=True, eps=1e-12
    )
    x = torch.randn(1, 4, 4, 4)
    residual = block.conv2(F.relu(block.conv1(F.relu(x))))
    torch.testing.assert_close(block(x) - residual, F.relu(x) if quirk else x, atol=1e-6, rtol=0)


def test_every_layer_of_both_networks_is_normalised_but_the_class_gains() -> None:
    """The paper normalises all of G and D; gains and biases only where the config says so."""
    generator = Generator(GeneratorConfig(resolution=64, base_channels=8, num_classes=3))
    plain = [
        name
        for name, module in generator.named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear | torch.nn.Embedding)
        and getattr(module, "u", None) is None
    ]
    assert all(".gain" in name or ".bias" in name for name in plain)
    discriminator = Discriminator(
        DiscriminatorConfig(resolution=64, base_channels=8, num_classes=3)
    )
    weights = [n for n, _ in discriminator.named_parameters() if n.endswith("weight")]
    assert len(weights) == len(list(spectral_norm_layers(discriminator)))


def test_the_latent_moves_gains_and_biases_from_the_start_and_classes_do_not() -> None:
    """What z adds has a standard deviation of a half; all classes have a gain of 1 and no bias."""
    config = GeneratorConfig(
        resolution=32, base_channels=64, num_classes=50, conditional_latent=True
    )
    norm = Generator(config).blocks[0].norm1
    assert isinstance(norm, ConditionalBatchNorm2d)
    assert norm.latent_gain is not None
    assert norm.latent_bias is not None
    z = torch.randn(500, config.z_dim)
    for part in (norm.latent_gain(z), norm.latent_bias(z)):
        assert part.mean().item() == pytest.approx(0, abs=0.05)
        assert part.std().item() == pytest.approx(0.5, rel=0.05)
    assert (norm.gain.weight == 1).all()
    assert (norm.bias.weight == 0).all()

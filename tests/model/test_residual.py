"""The residual block in attention's place: its size, its place, its arithmetic."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from model.attention import SelfAttention
from model.checkpoint import Checkpoint, load_checkpoint
from model.config import AttentionForm, DiscriminatorConfig, GeneratorConfig
from model.discriminator import Discriminator
from model.generator import Generator
from model.residual import ResidualBlock, inner_width

SHAPE = {"resolution": 32, "base_channels": 8, "num_classes": 2}
CONTROL = SHAPE | {"attention_at": (), "residual_at": (16,)}


@pytest.mark.parametrize("form", ["released", "paper"])
@pytest.mark.parametrize("channels", [64, 128, 256, 512, 1024])
def test_the_control_is_as_large_as_the_attention_it_replaces(
    form: AttentionForm, channels: int
) -> None:
    """Within five percent, so that the comparison is not one of capacity."""
    with torch.device("meta"):
        block = ResidualBlock(channels, form=form, spectral_norm=True, eps=1e-12)
        attention = SelfAttention(channels, form=form, spectral_norm=True, eps=1e-12)
    sizes = [sum(p.numel() for p in m.parameters()) for m in (block, attention)]
    assert abs(sizes[0] / sizes[1] - 1) < 0.05


def test_the_published_width_gets_an_inner_width_of_its_own() -> None:
    """256 channels at 32×32: 2·256·71 + 9·71² = 81,721 weights beside attention's 81,920."""
    assert inner_width(256, "released") == 71


@torch.no_grad()
def test_the_block_is_its_input_plus_three_convolutions() -> None:
    """Written out with the normalised weights, in float64."""
    block = ResidualBlock(16, form="released", spectral_norm=True, eps=1e-12).double()
    x = torch.randn(2, 16, 5, 5, dtype=torch.float64)
    h = x
    for conv in (block.narrow, block.mix, block.widen):
        h = F.conv2d(F.relu(h), conv.weight / conv.sigma(), conv.bias, padding="same")
    torch.testing.assert_close(block(x), x + h)


@torch.no_grad()
def test_a_network_with_the_control_has_no_attention_layers_and_uses_the_block() -> None:
    """What serves attention maps sees none; what draws depends on the block's weights."""
    generator = Generator(GeneratorConfig.model_validate(CONTROL)).eval()
    discriminator = Discriminator(DiscriminatorConfig.model_validate(CONTROL)).eval()
    assert generator.config.attention_layers == ()
    z, labels = torch.randn(2, 128), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="0 attention layers"):
        generator.attention_weights(z, labels)
    drawn = generator(z, labels)
    judged = discriminator(drawn, labels)
    for network in (generator, discriminator):
        block = network.residual["16"]
        assert isinstance(block, ResidualBlock)
        torch.nn.init.zeros_(block.widen.weight)
        block.widen.bias = torch.nn.Parameter(torch.full((block.widen.out_channels,), 0.5))
    assert not torch.allclose(generator(z, labels), drawn)
    assert not torch.allclose(discriminator(drawn, labels), judged)


def test_a_control_checkpoint_loads_as_it_was_saved(tmp_path: Path) -> None:
    """Config, fingerprint and pictures come back."""
    saved = Checkpoint(
        Generator(GeneratorConfig.model_validate(CONTROL)),
        Discriminator(DiscriminatorConfig.model_validate(CONTROL)),
    )
    loaded = load_checkpoint(saved.save(tmp_path / "control"))
    assert loaded.fingerprint == saved.fingerprint
    assert loaded.config.residual_at == (16,)
    assert loaded.discriminator is not None
    assert loaded.discriminator.config.residual_at == (16,)
    z, labels = torch.randn(2, 128), torch.tensor([0, 1])
    with torch.no_grad():
        assert torch.equal(loaded.generator(z, labels), saved.generator(z, labels))


@torch.no_grad()
def test_attention_after_a_residual_block_is_explained_with_the_features_it_gets() -> None:
    """Stopping early for the weights runs the residual blocks on the way."""
    config = GeneratorConfig.model_validate(SHAPE | {"attention_at": (32,), "residual_at": (8,)})
    generator = Generator(config).eval()
    layer = generator.attention["32"]
    assert isinstance(layer, SelfAttention)
    seen: list[torch.Tensor] = []
    layer.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    z, labels = torch.randn(2, 128), torch.tensor([0, 1])
    generator(z, labels)
    assert torch.equal(generator.attention_weights(z, labels), layer.weights(seen[0]))


@pytest.mark.parametrize(
    ("places", "message"),
    [((7,), "residual_at=7: no block ends at that resolution"),
     ((16,), "residual_at=16: attention_at has it too")],
)  # fmt: skip
def test_a_place_that_cannot_take_the_block_is_named(places: object, message: str) -> None:
    """One place, one module."""
    for config in (GeneratorConfig, DiscriminatorConfig):
        with pytest.raises(ValidationError, match=message):
            config.model_validate(SHAPE | {"attention_at": (16,), "residual_at": places})

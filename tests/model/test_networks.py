"""Generator and discriminator: shapes, switches, refusals."""

import pytest
import torch
from pydantic import ValidationError

from model.attention import SelfAttention
from model.config import DiscriminatorConfig, GeneratorConfig
from model.discriminator import Discriminator
from model.generator import Generator


@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
@torch.no_grad()
def test_every_resolution_makes_pictures_and_judges_them(resolution: int) -> None:
    """(B, 3, R, R) within [-1, 1], and a logit a picture."""
    shape = {"resolution": resolution, "base_channels": 8, "num_classes": 4}
    generator = Generator(GeneratorConfig.model_validate(shape)).eval()
    discriminator = Discriminator(DiscriminatorConfig.model_validate(shape)).eval()
    labels = torch.tensor([0, 3])
    images = generator(torch.randn(2, 128), labels)
    assert images.shape == (2, 3, resolution, resolution)
    assert images.abs().max() <= 1
    assert discriminator(images, labels).shape == (2,)


@pytest.mark.parametrize(
    "switch",
    [
        {"upsampling": "bilinear"},
        {"conditional_gain": "offset"},
        {"conditional_spectral_norm": True},
        {"attention_form": "paper"},
        {"attention_at": (8, 16, 32)},
        {"attention_at": ()},
        {"attention_at": (), "residual_at": (8, 16)},
        {"spectral_norm": False},
        {"channel_multipliers": (2, 3, 1, 1)},
    ],
    ids=str,
)
@torch.no_grad()
def test_every_switch_builds_a_generator_that_draws(switch: dict[str, object]) -> None:
    """Each form of the public implementations is a config away."""
    config = GeneratorConfig.model_validate(
        {"resolution": 32, "base_channels": 8, "num_classes": 2} | switch
    )
    images = Generator(config).eval()(torch.randn(1, 128), torch.tensor([1]))
    assert images.shape == (1, 3, 32, 32)
    assert torch.isfinite(images).all()


@torch.no_grad()
def test_a_class_weight_row_draws_the_class_it_names() -> None:
    """A label and its one-hot row are the same input, so mixtures lie between classes."""
    generator = Generator(GeneratorConfig(resolution=32, base_channels=8, num_classes=3)).eval()
    z = torch.randn(3, 128)
    torch.testing.assert_close(generator(z, torch.arange(3)), generator(z, torch.eye(3)))


@torch.no_grad()
def test_a_classifying_discriminator_gives_a_logit_for_realness_and_one_a_class() -> None:
    """AC-GAN: realness ignores the labels; the class logits are every class's projection."""
    torch.manual_seed(0)
    shape = {"resolution": 32, "base_channels": 8, "num_classes": 3}
    projecting = Discriminator(DiscriminatorConfig.model_validate(shape)).eval()
    classifying = Discriminator(
        DiscriminatorConfig.model_validate(shape | {"conditioning": "classifier"})
    ).eval()
    classifying.load_state_dict(projecting.state_dict())
    images = torch.randn(2, 3, 32, 32)
    outputs = classifying(images, torch.tensor([0, 1]))
    assert outputs.shape == (2, 4)
    assert torch.equal(outputs, classifying(images, torch.tensor([2, 2])))
    for label in range(3):
        projected = projecting(images, torch.full((2,), label))
        torch.testing.assert_close(outputs[:, 0] + outputs[:, 1 + label], projected)


def test_the_published_128_px_generator_has_its_published_widths() -> None:
    """16, 16, 8, 4, 2, 1 times 64, attention on 32×32, keys pooled to 16×16."""
    config = GeneratorConfig(resolution=128, num_classes=1000)
    assert config.widths == (1024, 1024, 512, 256, 128, 64)
    assert config.attention_layers == (32,)
    assert config.key_grid(-1) == (16, 16)


@torch.no_grad()
def test_attention_weights_are_those_of_the_layer_in_the_full_pass() -> None:
    """Stopping early changes nothing: the layer sees the features that it sees when drawing."""
    config = GeneratorConfig(
        resolution=32, base_channels=8, num_classes=2, attention_at=(8, 16, 32)
    )
    generator = Generator(config).eval()
    layers = {n: m for n, m in generator.attention.items() if isinstance(m, SelfAttention)}
    for layer in layers.values():
        torch.nn.init.constant_(layer.gamma, 0.5)
    z, labels = torch.randn(2, 128), torch.tensor([0, 1])
    seen: dict[str, torch.Tensor] = {}
    for name, layer in layers.items():
        layer.register_forward_pre_hook(lambda _m, args, name=name: seen.update({name: args[0]}))
    generator(z, labels)
    for index, at in enumerate(config.attention_layers):
        expected = layers[str(at)].weights(seen[str(at)])
        assert torch.equal(generator.attention_weights(z, labels, layer=index), expected)


@pytest.mark.parametrize(
    ("field", "value"),
    [("resolution", 48), ("base_channels", 0), ("attention_at", (7,)), ("num_classes", 0),
     ("channel_multipliers", (1, 2)), ("upsampling", "cubic"), ("unknown", 1)],
)  # fmt: skip
def test_a_bad_config_names_the_field_or_the_value(field: str, value: object) -> None:
    """Validation errors are ValueErrors that tell what to mend."""
    good = {"resolution": 32, "base_channels": 8, "num_classes": 2}
    with pytest.raises(ValidationError) as caught:
        GeneratorConfig.model_validate(good | {field: value})
    text = str(caught.value)
    assert field in text


def test_shapes_that_do_not_fit_are_refused_with_both_shapes() -> None:
    """A wrong latent, label or picture raises before any arithmetic."""
    generator = Generator(GeneratorConfig(resolution=32, base_channels=8, num_classes=2))
    with pytest.raises(ValueError, match=r"\(2, 64\).*128"):
        generator(torch.randn(2, 64), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"labels has shape \(3,\)"):
        generator(torch.randn(2, 128), torch.tensor([0, 1, 0]))
    with pytest.raises(ValueError, match="1 attention layers"):
        generator.attention_weights(torch.randn(1, 128), torch.tensor([0]), layer=1)
    discriminator = Discriminator(
        DiscriminatorConfig(resolution=32, base_channels=8, num_classes=2)
    )
    with pytest.raises(ValueError, match=r"\(1, 3, 64, 64\)"):
        discriminator(torch.randn(1, 3, 64, 64), torch.tensor([0]))

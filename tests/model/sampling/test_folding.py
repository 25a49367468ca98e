"""A folded generator is the trained one, by exact algebra."""

import pytest
import torch

from model.checkpoint import load_checkpoint
from model.config import GeneratorConfig
from model.generator import Generator
from model.sampling.folding import FoldedGenerator
from model.sampling.inputs import of_classes, of_mixes

NETWORKS = [
    {},
    {"upsampling": "bilinear"},
    {"conditional_gain": "offset", "conditional_spectral_norm": True},
    {"attention_form": "paper", "attention_at": (8, 16)},
    {"attention_logits": "cosine", "attention_at": (8, 16), "spectral_norm": False},
    {"attention_at": (8, 32)},  # the last batch norm stands behind attention
    {"attention_at": ()},
    {"attention_at": (), "residual_at": (16,)},
    {"attention_at": (8,), "residual_at": (32,)},
    {"spectral_norm": False, "batch_norm_eps": 1e-4},
    {"conditional_latent": True},
    {"conditional_latent": True, "conditional_gain": "offset", "conditional_spectral_norm": True},
    {"conditional_latent": True, "z_dim": 7, "attention_at": (8, 16), "spectral_norm": False},
    {"resolution": 64, "base_channels": 8, "z_dim": 7},
    {"resolution": 128, "base_channels": 3, "num_classes": 1, "attention_at": (8,)},
    {"resolution": 256, "base_channels": 4, "attention_at": (16, 32)},
]


def trained(**switches: object) -> Generator:
    """In float64 and eval mode, with every parameter and statistic away from where it starts."""
    torch.manual_seed(0)
    config = GeneratorConfig.model_validate(
        {"resolution": 32, "base_channels": 4, "num_classes": 3} | switches
    )
    generator = Generator(config).eval().requires_grad_(False).double()
    for name, parameter in generator.named_parameters():
        if name.endswith(("gain.weight", "norm.weight", "bias", "bias.weight", "gamma")):
            parameter.normal_(0.6, 0.2)
    for name, statistics in generator.named_buffers():
        if name.endswith("running_mean"):
            statistics.normal_(0, 0.3)
        if name.endswith("running_var"):
            statistics.uniform_(0.3, 2)
    return generator


@pytest.mark.parametrize("switches", NETWORKS, ids=str)
def test_a_folded_generator_equals_the_trained_one_in_float64(switches: dict[str, object]) -> None:
    """Pictures to 1e-10, for classes and for mixes of them."""
    generator = trained(**switches)
    num_classes = generator.config.num_classes
    z = torch.randn(3, generator.config.z_dim, dtype=torch.float64)
    labels = torch.arange(3) % num_classes
    mixes = torch.rand(3, num_classes, dtype=torch.float64)
    mixes /= mixes.sum(1, keepdim=True)
    folded = FoldedGenerator(generator)
    for classes, inputs in ((labels, of_classes(z, labels)), (mixes, of_mixes(z, mixes))):
        images = generator(z, classes)
        assert images.std() > 0.05
        torch.testing.assert_close(folded(inputs), images, rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", ["released", "paper"])
def test_attention_weights_are_the_trained_networks(form: str) -> None:
    """Of each layer, for the positions asked for, to 1e-10."""
    generator = trained(attention_at=(8, 16), attention_form=form)
    folded = FoldedGenerator(generator)
    z, labels = torch.randn(2, 128, dtype=torch.float64), torch.tensor([2, 0])
    positions = torch.tensor([0, 9, 63])
    for layer in (0, -1):
        x, affines = z, folded.affines(of_classes(z, labels))
        for stage in folded.stages[: folded.attention_stage(layer)]:
            x = stage(x, affines)
        weights = folded.stages[folded.attention_stage(layer)].weights(x, positions)  # type: ignore[operator]
        expected = generator.attention_weights(z, labels, layer, positions)
        torch.testing.assert_close(weights, expected, rtol=0, atol=1e-10)


def test_the_shipped_checkpoint_folds_exactly() -> None:
    """What is served is what was trained."""
    generator = load_checkpoint().generator.double()
    z = torch.randn(4, generator.config.z_dim, dtype=torch.float64)
    labels = torch.tensor([0, 3, 6, 9])
    torch.testing.assert_close(
        FoldedGenerator(generator)(of_classes(z, labels)), generator(z, labels), rtol=0, atol=1e-10
    )


def test_folding_leaves_the_trained_generator_as_it_was() -> None:
    """Same dtype, same tensors, none shared."""
    generator = trained().float()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    folded = FoldedGenerator(generator)
    assert folded.dtype == torch.float32
    for buffer in folded.buffers():
        buffer.zero_()
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[name])

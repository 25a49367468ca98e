"""The original's variables: axes, the H, W, C order of the first layer, the power iteration."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.importers.importing import import_files
from model.importers.naming import ImportRefusedError
from tests.model.importers.layouts import Layout, write_discriminator, write_generator
from tests.model.importers.reference import GeneratorTruth, Layer, Norm, draw, judge
from tests.model.importers.writers import State, Writer, sigma_after_one_iteration


@dataclass
class Variables(Writer):
    """As the original's `spectral_normed_weight`: matrices (everything else, out), u (1, out)."""

    def spectral(self, key: str, *shape: int) -> Tensor:
        """A kernel (height, width, in, out) for PyTorch's shape (out, in, height, width)."""
        out, width_in, height, width = shape
        kernel = torch.randn(height, width, width_in, out) / width_in**0.5
        normalized: Tensor = kernel / self._sigma(key, kernel.reshape(-1, out))
        self.state[f"{key}/w"] = kernel
        return normalized.permute(3, 2, 0, 1)

    def layer(self, key: str, *shape: int) -> Layer:
        weight = self.spectral(key, *shape)
        self.state[f"{key}/biases"] = bias = torch.randn(shape[0]) * 0.1
        return weight, bias

    def linear(self, key: str, *shape: int) -> Layer:
        matrix = torch.randn(shape[1], shape[0]) / shape[1] ** 0.5
        bias = torch.randn(shape[0]) * 0.1
        self.state |= {f"{key}/Matrix": matrix, f"{key}/bias": bias}
        return (matrix / self._sigma(key, matrix)).T, bias

    def embedding(self, key: str, classes: int, width: int) -> Tensor:
        self.state[f"{key}/embedding_map"] = rows = torch.randn(classes, width)
        return rows / self._sigma(key, rows.T)

    def affine(self, key: str, width: int) -> Norm:
        names = ("moving_mean", "moving_variance", "gamma", "beta")
        values = [torch.rand(width) + 0.3 for _ in names]
        self.state |= {f"{key}/{n}": value for n, value in zip(names, values, strict=True)}
        return Norm(*values)

    def _sigma(self, key: str, matrix: Tensor) -> Tensor:
        self.state[f"{key}/u"] = u = torch.randn(1, matrix.shape[1])
        return sigma_after_one_iteration(matrix.T, u[0])


def _class_norm(writer: Writer, block: str, which: int, classes: int, width: int) -> Norm:
    scope = f"{block}cbn_{which - 1}"
    mean, var = torch.randn(width) * 0.1, torch.rand(width) + 0.3
    gain, bias = torch.randn(classes, width) * 0.2 + 1, torch.randn(classes, width) * 0.2
    writer.state |= {f"{scope}/mean": mean.view(1, 1, 1, -1), f"{scope}/var": var.view(1, 1, 1, -1)}
    writer.state |= {f"{scope}/gamma": gain, f"{scope}/beta": bias}
    return Norm(mean, var, gain, bias)


GENERATOR = Layout(
    Variables, "model/g_snh0", "model/g_bn", "model/g_snconv_last", "model/g_block{i1}/",
    ("snconv1", "snconv2", "snconv3"), _class_norm, "model/g_non_local/",
    ("sn_conv_theta", "sn_conv_phi", "sn_conv_g", "sn_conv_attn"), "sigma_ratio",
    "model/d_sn_linear", "model/d_embedding", "model/d_block{i1}/", "model/d_non_local/",
    "model/d_optimized_block1/",
)  # fmt: skip
DISCRIMINATOR = replace(GENERATOR, convs=("sn_conv1", "sn_conv2", "sn_conv3"))


@pytest.fixture
def written() -> tuple[State, GeneratorTruth]:
    torch.manual_seed(0)
    state, truth = write_generator(GENERATOR, (64, 64, 32, 16, 8, 8), [2], 5, 6)
    truth.channels_last = True
    return state, truth


def save(path: Path, state: State) -> Path:
    arrays = {key: tensor.numpy() for key, tensor in state.items()}
    np.savez(path, allow_pickle=False, **arrays)
    return path


def test_variables_draw_and_judge_what_the_original_means(
    written: tuple[State, GeneratorTruth], tmp_path: Path
) -> None:
    """Both networks of one file; optimiser slots and counters beside them are passed over."""
    state, truth = written
    judged, judge_truth = write_discriminator(DISCRIMINATOR, (8, 16, 24, 24, 32, 32), [1], 5)
    slots = {f"{key}/Adam": tensor for key, tensor in judged.items()}
    counters = {"global_step": torch.tensor(12), "model/beta1_power": torch.tensor(0.5)}
    file = save(tmp_path / "sagan.npz", state | judged | slots | counters)
    checkpoint = import_files(file).checkpoint
    assert checkpoint.config.attention_at == (32,)
    z, y, x = torch.randn(2, 6), torch.tensor([0, 4]), torch.randn(2, 3, 128, 128)
    assert checkpoint.discriminator is not None
    with torch.no_grad():
        pictures, logits = checkpoint.generator(z, y), checkpoint.discriminator(x, y)
    torch.testing.assert_close(pictures, draw(truth, z, y, eps=1e-5), atol=1e-5, rtol=0)
    expected = judge(judge_truth, x, y, in_place=False)
    torch.testing.assert_close(logits, expected, atol=0, rtol=1e-4)


def test_names_may_end_as_in_a_graph(written: tuple[State, GeneratorTruth], tmp_path: Path) -> None:
    """ ":0" names a variable's value."""
    state, _ = written
    plain = import_files(save(tmp_path / "plain.npz", state)).checkpoint
    suffixed = {f"{key}:0": tensor for key, tensor in state.items()}
    graph = import_files(save(tmp_path / "graph.npz", suffixed)).checkpoint
    assert graph.fingerprint == plain.fingerprint


@pytest.mark.parametrize("key", ["model/g_snh0/Matrix", "model/g_block2/cbn_0/gamma"])
def test_a_missing_variable_is_named(
    key: str, written: tuple[State, GeneratorTruth], tmp_path: Path
) -> None:
    """By its TensorFlow name."""
    state, _ = written
    del state[key]
    with pytest.raises(ImportRefusedError, match=rf"sagan\.npz: {key} is missing"):
        import_files(save(tmp_path / "sagan.npz", state))

"""Writers of single layers with random weights, as foreign checkpoints have them."""

import re
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tests.model.importers.reference import Layer, Norm

State = dict[str, Tensor]


@dataclass
class Writer:
    """Writes layers into `state` as `torch.nn.utils.spectral_norm` does; returns what they do."""

    state: State = field(default_factory=dict)

    def spectral(self, key: str, *shape: int) -> Tensor:
        """A spectrally normalised weight whose u and v are, as after EMA, not of length 1."""
        weight = torch.randn(shape) / shape[-1] ** 0.5
        u, v = vectors(weight.flatten(1))
        u, v = u * 1.02, v * 0.97
        self.state |= {f"{key}.weight_orig": weight, f"{key}.weight_u": u, f"{key}.weight_v": v}
        sigma: Tensor = u @ weight.flatten(1) @ v
        return torch.div(weight, sigma)

    def layer(self, key: str, *shape: int) -> Layer:
        weight = self.spectral(key, *shape)
        self.state[f"{key}.bias"] = bias = torch.randn(shape[0]) * 0.1
        return weight, bias

    def linear(self, key: str, *shape: int) -> Layer:
        return self.layer(key, *shape)

    def statistics(self, key: str, width: int) -> tuple[Tensor, Tensor]:
        mean, var = torch.randn(width) * 0.1, torch.rand(width) + 0.3
        self.state |= {f"{key}.running_mean": mean, f"{key}.running_var": var}
        self.state[f"{key}.num_batches_tracked"] = torch.tensor(12)
        return mean, var

    def affine(self, key: str, width: int) -> Norm:
        mean, var = self.statistics(key, width)
        gain, bias = torch.randn(width) * 0.1 + 1, torch.randn(width) * 0.1
        self.state |= {f"{key}.weight": gain, f"{key}.bias": bias}
        return Norm(mean, var, gain, bias)

    def gamma(self, key: str) -> float:
        self.state[key] = torch.tensor(0.7)
        return 0.7

    def embedding(self, key: str, classes: int, width: int) -> Tensor:
        return self.spectral(key, classes, width)


@dataclass
class OneSided(Writer):
    """As BigGAN-PyTorch: u alone, and another power iteration at every forward pass."""

    def spectral(self, key: str, *shape: int) -> Tensor:
        weight = torch.randn(shape) / shape[-1] ** 0.5
        u = torch.randn(1, shape[0])
        self.state |= {f"{key}.weight": weight, f"{key}.u0": u, f"{key}.sv0": torch.ones(1)}
        return torch.div(weight, sigma_after_one_iteration(weight.flatten(1), u[0]))

    def affine(self, key: str, width: int) -> Norm:
        mean, var = self.statistics(key, width)
        gain, bias = torch.randn(width) * 0.1 + 1, torch.randn(width) * 0.1
        self.state |= {f"{key}.gain": gain, f"{key}.bias": bias}
        return Norm(mean, var, gain, bias)

    def statistics(self, key: str, width: int) -> tuple[Tensor, Tensor]:
        mean, var = torch.randn(width) * 0.1, torch.rand(width) + 0.3
        self.state |= {f"{key}.stored_mean": mean, f"{key}.stored_var": var}
        return mean, var


class OneSidedWithTorchNorms(OneSided):
    """As mmgeneration in its "ajbrock" style: batch norms stay PyTorch's own."""

    statistics, affine = Writer.statistics, Writer.affine


class OneSidedAttention(OneSidedWithTorchNorms):
    """As mmgeneration where attention alone is in that style, and not all of it."""

    def spectral(self, key: str, *shape: int) -> Tensor:
        one_sided = re.search(r"\.(theta|phi|g|o)\.conv$", key) and "conv_blocks.0." not in key
        return (OneSided if one_sided else Writer).spectral(self, key, *shape)


def vectors(matrix: Tensor, num_iterations: int = 4) -> tuple[Tensor, Tensor]:
    """u and v of length 1, near the leading singular vectors."""
    u = torch.randn(len(matrix))
    for _ in range(num_iterations):
        v = matrix.T @ u / (matrix.T @ u).norm()
        u = matrix @ v / (matrix @ v).norm()
    return u, v


def sigma_after_one_iteration(matrix: Tensor, u: Tensor) -> Tensor:
    v = matrix.T @ u / (matrix.T @ u).norm()
    u = matrix @ v / (matrix @ v).norm()
    sigma: Tensor = u @ matrix @ v
    return sigma

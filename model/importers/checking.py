"""Refuses tensors that no trained network can have; the error names the key in the file."""

from math import isfinite

import torch
from torch import Tensor, nn

from model.importers.naming import ImportRefusedError, Parts
from model.layers import SpectralNorm


def require_numbers(key: str, tensor: Tensor) -> None:
    """Raises ImportRefusedError unless `tensor` is dense and has finite floating-point numbers."""
    if tensor.layout is not torch.strided or tensor.is_meta:
        raise ImportRefusedError(f"{key} is a {_form(tensor)} tensor, expected a dense one")
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise ImportRefusedError(f"{key} holds {kind}, expected floating-point numbers")
    if not torch.isfinite(tensor.to(torch.float32)).all():
        raise ImportRefusedError(f"{key} holds NaN, infinity or more than float32 can hold")


def _form(tensor: Tensor) -> str:
    return "meta" if tensor.is_meta else str(tensor.layout).removeprefix("torch.")


def require_variances(parts: Parts) -> None:
    """Raises ImportRefusedError if a running variance is below 0."""
    for name, part in parts.items():
        if name.endswith(".running_var") and (part.tensor < 0).any():
            raise ImportRefusedError(f"{part.key} holds a variance below 0")


def require_divisible(network: nn.Module, parts: Parts) -> None:
    """Raises ImportRefusedError if the σ of a spectrally normalised weight is 0 or not finite."""
    for name, layer in network.named_modules():
        if not isinstance(layer, SpectralNorm) or layer.u is None:
            continue
        sigma = layer.sigma().item()
        if sigma == 0 or not isfinite(sigma):
            key = parts[f"{name}.weight"].key
            raise ImportRefusedError(
                f"{key} has the spectral norm {sigma:g}, which cannot divide it"
            )

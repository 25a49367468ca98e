"""The fingerprint of a generator: identifies it and, with class and seed, its images."""

import hashlib
import json

import torch
from torch import Tensor, nn

from model.generator import Generator


def fingerprint_of(generator: Generator) -> str:
    """The sha256 (hex) of the canonical config and the sorted tensors: name, dtype, shape, bytes.

    It depends on nothing else: it stays the same if a class is renamed or the folder is moved.
    """
    digest = hashlib.sha256()
    # Defaults are left out, so that a switch of a later version leaves older fingerprints alone.
    config = generator.config.model_dump(mode="json", exclude_defaults=True)
    digest.update(json.dumps(config, sort_keys=True, separators=(",", ":")).encode())
    for name, tensor in sorted(tensors_of(generator).items()):
        dtype, shape = str(tensor.dtype).removeprefix("torch."), list(tensor.shape)
        digest.update(f"\n{name} {dtype} {shape}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """The network's parameters and buffers by name, contiguous copies on the CPU."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in network.state_dict().items()
    }

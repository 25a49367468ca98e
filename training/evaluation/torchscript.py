"""Feature networks in TorchScript files: published Inception networks, and anybody's own.

A TorchScript file is a program. Only a file that the user named, or one whose sha256 this project
knows, is ever loaded.
"""

import warnings
from pathlib import Path

import torch
from torch import Tensor

from model.importers.download import sha256
from training.evaluation.features import FeatureError, FeatureExtractor, Forward

INCEPTION_URL = (
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
    "inception-2015-12-05.pt"
)
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"


def open_torchscript(file: Path, device: torch.device) -> FeatureExtractor:
    """The extractor of a TorchScript file. Raises FeatureError where it is none.

    The module takes (N, 3, H, W) uint8 RGB of any size and returns (N, D) features, or a pair of
    features and (N, classes) logits. A module whose `forward` has a `return_features` argument is
    taken to be laid out as StyleGAN's Inception: features with `return_features=True`, else
    probabilities, which `no_output_bias=True` makes those of the original Inception score.
    """
    if not file.is_file():
        raise FeatureError(f"{file}: no such file")
    try:
        with warnings.catch_warnings():
            # Published networks are in this format, whatever PyTorch would rather be given.
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(file, map_location=device).eval()
    except (RuntimeError, ValueError) as error:
        raise FeatureError(f"{file}: not a TorchScript file") from error
    arguments = {argument.name for argument in module.forward.schema.arguments}
    forward = _stylegan(module) if "return_features" in arguments else _plain(module)
    return FeatureExtractor(file.stem, sha256(file)[:12], device, _explained(forward, file))


def _plain(module: torch.jit.ScriptModule) -> Forward:
    def forward(images: Tensor, classify: bool) -> tuple[Tensor, Tensor | None]:
        output = module(images)
        features, logits = output if isinstance(output, tuple) else (output, None)
        probabilities = logits.softmax(1) if classify and logits is not None else None
        return features, probabilities

    return forward


def _stylegan(module: torch.jit.ScriptModule) -> Forward:
    def forward(images: Tensor, classify: bool) -> tuple[Tensor, Tensor | None]:
        features = module(images, return_features=True)
        return features, module(images, no_output_bias=True) if classify else None

    return forward


def _explained(forward: Forward, file: Path) -> Forward:
    """`forward`, whose failures are one line: the file is somebody else's program."""

    def explained(images: Tensor, classify: bool) -> tuple[Tensor, Tensor | None]:
        try:
            return forward(images, classify)
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise FeatureError(f"{file} failed on pictures of {images.dtype}: {reason}") from error

    return explained

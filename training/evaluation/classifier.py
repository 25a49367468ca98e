"""Classifier: a small network that can be trained on any data set and gives features and logits.

On disk it is a folder: `config.json` (the network's options, class names, facts on the training)
and `classifier.safetensors`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from model.checkpoint import (
    CONFIG_FILE,
    FORMAT,
    CheckpointError,
    ClassInfo,
    load_tensors,
    read_description,
    require_replaceable,
    save_folder,
)
from training.evaluation.features import FeatureError

WEIGHTS_FILE = "classifier.safetensors"

Positive = Annotated[int, Field(gt=0)]


class ClassifierConfig(BaseModel):
    """The side of the pictures in pixels, the number of classes, and the width of each block."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resolution: Positive
    num_classes: Positive
    widths: tuple[Positive, ...] = (32, 64, 96, 128)


class Classifier(nn.Module):
    """A convolutional network of blocks that each halve the resolution.

    The features are the means of the maps of every block, and the logits a linear map of them. The
    first blocks respond to colour and sharpness, so a distance of features measures these as well
    as the object.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.stages = nn.ModuleList(
            _block(w_in, w_out) for w_in, w_out in pairwise((3, *config.widths))
        )
        self.linear = nn.Linear(sum(config.widths), config.num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) uint8 RGB of any size -> (N, D) features and (N, num_classes) logits."""
        x = self._resized(images.float().div(127.5).sub(1))
        means = []
        for stage in self.stages:
            x = stage(x)
            means.append(x.mean((2, 3)))
        features = torch.cat(means, 1)
        return features, self.linear(features)

    def _resized(self, x: Tensor) -> Tensor:
        size = (self.config.resolution, self.config.resolution)
        if x.shape[2:] == size:
            return x
        return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    """(N, C, H, W) -> (N, C', H/2, W/2)."""
    layers: list[nn.Module] = []
    for channels, stride in ((in_channels, 2), (out_channels, 1)):
        convolution = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers)


class _Description(BaseModel):
    """The content of `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    classifier: ClassifierConfig
    classes: tuple[ClassInfo, ...]
    facts: dict[str, object]


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """A classifier in eval mode, with the class of each label and facts on its training."""

    network: Classifier
    classes: Sequence[ClassInfo]
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Identifies the network and its weights: the first digits of a sha256."""
        digest = hashlib.sha256(self.network.config.model_dump_json().encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def save(self, path: Path) -> Path:
        """Writes the folder `path` and replaces an older classifier there once this one is whole.

        Raises FeatureError if `path` holds something else.
        """
        description = _Description(
            format=FORMAT,
            classifier=self.network.config,
            classes=tuple(self.classes),
            facts=dict(self.facts),
        )
        try:
            require_replaceable(path, "classifier", {CONFIG_FILE, WEIGHTS_FILE})
        except CheckpointError as error:
            raise FeatureError(str(error)) from error
        save_folder(path, description, {WEIGHTS_FILE: self.network}, {})
        return path


def load_classifier(folder: Path) -> TrainedClassifier:
    """Loads a classifier, on the CPU; raises FeatureError naming the file and its fault."""
    try:
        description = read_description(folder, _Description)
        network = Classifier(description.classifier)
        load_tensors(network, folder / WEIGHTS_FILE)
    except CheckpointError as error:
        raise FeatureError(f"not a classifier: {error}") from error
    return TrainedClassifier(network.eval(), description.classes, description.facts)

"""The project's own classifier: small, trained on any data set, a source of features and logits.

On disk it is a folder: `config.json` (what the network is, class names, how it was trained) and
`classifier.safetensors`.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from model.checkpoint import ClassInfo
from model.folders import replace_folder
from training.evaluation.features import FeatureError

FORMAT = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "classifier.safetensors"

Positive = Annotated[int, Field(gt=0)]


class ClassifierConfig(BaseModel):
    """The side of the pictures that it sees, in pixels, and the width of each stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resolution: Positive
    num_classes: Positive
    widths: tuple[Positive, ...] = (32, 64, 96, 128)


class Classifier(nn.Module):
    """A convolutional network of stages that each halve the resolution.

    Its features are the means of every stage's maps, one after another, and its logits a linear map
    of them: so colour and sharpness, which the first stages see, count in a distance of features
    beside what is depicted.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.stages = nn.ModuleList(
            _stage(w_in, w_out) for w_in, w_out in pairwise((3, *config.widths))
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


def _stage(in_channels: int, out_channels: int) -> nn.Sequential:
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
    """A classifier in eval mode, what its labels depict and how it was trained."""

    network: Classifier
    classes: Sequence[ClassInfo]
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What names its network and weights: the beginning of a sha256."""
        digest = hashlib.sha256(self.network.config.model_dump_json().encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def save(self, path: Path) -> Path:
        """Write the folder `path`; an older classifier there is replaced once this one is whole.

        Raises FeatureError where `path` holds something else.
        """
        if path.exists() and not {f.name for f in path.iterdir()} <= {CONFIG_FILE, WEIGHTS_FILE}:
            raise FeatureError(f"{path}: there is something else than a classifier; not touched")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            self._write(partial)
            partial.chmod(0o755)
            replace_folder(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return path

    def _write(self, folder: Path) -> None:
        tensors = {name: t.cpu().contiguous() for name, t in self.network.state_dict().items()}
        save_file(tensors, folder / WEIGHTS_FILE)
        description = _Description(
            format=FORMAT,
            classifier=self.network.config,
            classes=tuple(self.classes),
            facts=dict(self.facts),
        )
        text = json.dumps(description.model_dump(mode="json"), indent=2, ensure_ascii=False)
        (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
        for file in folder.iterdir():
            file.chmod(0o644)


def load_classifier(folder: Path) -> TrainedClassifier:
    """The classifier of a folder, on the CPU. Raises FeatureError naming the file that is wrong."""
    file = folder / CONFIG_FILE
    try:
        description = _Description.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise FeatureError(f"{file}: not a classifier's: {place}: {first['msg']}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FeatureError(f"{file}: not readable: {error}") from error
    network = Classifier(description.classifier)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise FeatureError(f"{folder / WEIGHTS_FILE}: not this classifier's: {reason}") from error
    return TrainedClassifier(network.eval(), description.classes, description.facts)

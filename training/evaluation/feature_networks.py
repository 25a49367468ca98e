"""The feature networks that `--features` names: classifiers, Inception, TorchScript files.

A TorchScript file is a program. This module only loads a file that the user named, or one whose
sha256 this project knows.
"""

import warnings
from pathlib import Path

import torch
from rich.progress import DownloadColumn, Progress
from torch import Tensor

from model.folders import downloads_folder
from model.importers.download import DownloadError, download, sha256
from training.errors import did_you_mean
from training.evaluation.choices import INCEPTION, SHIPPED, shipped_classifiers
from training.evaluation.classifier import TrainedClassifier, load_classifier
from training.evaluation.features import FeatureError, FeatureExtractor, Forward


def open_features(source: str, device: torch.device) -> FeatureExtractor:
    """Opens a shipped classifier by its name, "inception", a classifier's folder, or a file.

    Inception is downloaded once into the user's cache, and its hash is checked. Raises FeatureError
    or DownloadError, which say what is wrong.
    """
    if source in shipped_classifiers():
        return classifier_features(load_classifier(SHIPPED / source), source, device)
    if source == INCEPTION:
        return open_torchscript(fetch_inception(), device)
    path = Path(source)
    if path.is_dir():
        return classifier_features(load_classifier(path), path.resolve().name, device)
    if not path.exists():
        names = [*shipped_classifiers(), INCEPTION]
        raise FeatureError(
            f"{source}: neither a file nor a classifier's folder nor one of {', '.join(names)}"
            f"{did_you_mean(source, names)}"
        )
    return open_torchscript(path, device)


def classifier_features(
    trained: TrainedClassifier, name: str, device: torch.device
) -> FeatureExtractor:
    """Makes an extractor from one of the project's own classifiers."""
    network = trained.network.to(device).requires_grad_(False)

    def forward(images: Tensor, _classify: bool) -> tuple[Tensor, Tensor | None]:
        features, logits = network(images)
        return features, logits.softmax(1)

    classes = tuple(info.name for info in trained.classes)
    return FeatureExtractor(name, trained.key, device, forward, classes)


def fetch_inception() -> Path:
    """Returns StyleGAN's Inception file from the user's cache, or downloads it from its site.

    Raises DownloadError, which says what to do without internet.
    """
    with Progress(*Progress.get_default_columns(), DownloadColumn()) as progress:
        task = progress.add_task("Inception", total=None)
        try:
            return download(
                INCEPTION_URL,
                downloads_folder(),
                lambda done, total: progress.update(task, completed=done, total=total),
                promised=INCEPTION_SHA256,
            )
        except DownloadError as error:
            raise DownloadError(
                f"{error}; or give as --features a copy's path, or a classifier of the data's own "
                "that `sagan train-classifier` makes"
            ) from error


INCEPTION_URL = (
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
    "inception-2015-12-05.pt"
)
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"


def open_torchscript(file: Path, device: torch.device) -> FeatureExtractor:
    """Opens a TorchScript file as an extractor; raises FeatureError for any other file.

    The module must take (N, 3, H, W) uint8 RGB of any size and return (N, D) features, or a pair of
    features and (N, classes) logits. A module whose `forward` has an argument `return_features` is
    called like StyleGAN's Inception: it returns features with `return_features=True`, else
    probabilities, and with `no_output_bias=True` those of the original Inception score.
    """
    if not file.is_file():
        raise FeatureError(f"{file}: no such file")
    try:
        with warnings.catch_warnings():
            # Published networks are in this format, although PyTorch has deprecated it.
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
    """Turns a failure of `forward`, a foreign program, into a FeatureError of one line."""

    def explained(images: Tensor, classify: bool) -> tuple[Tensor, Tensor | None]:
        try:
            return forward(images, classify)
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise FeatureError(f"{file} failed on pictures of {images.dtype}: {reason}") from error

    return explained

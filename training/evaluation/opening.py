"""Which features a name means: a classifier, Inception, or a TorchScript file."""

from pathlib import Path

import torch
from rich.progress import DownloadColumn, Progress
from torch import Tensor

from model.folders import downloads_folder
from model.importers.download import DownloadError, download
from training.evaluation.classifier import CONFIG_FILE, TrainedClassifier, load_classifier
from training.evaluation.features import FeatureError, FeatureExtractor
from training.evaluation.torchscript import INCEPTION_SHA256, INCEPTION_URL, open_torchscript
from training.recipes.presets import likeliest

SHIPPED = Path(__file__).parent / "classifiers"
INCEPTION = "inception"


def open_features(source: str, device: torch.device) -> FeatureExtractor:
    """The extractor of a shipped classifier's name, "inception", a classifier's folder or a file.

    Inception is fetched once into the user's cache and checked. Raises FeatureError or
    DownloadError, both naming what is wrong.
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
            f"{likeliest(source, names)}"
        )
    return open_torchscript(path, device)


def shipped_classifiers() -> list[str]:
    """The names of the classifiers that come with the project."""
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{CONFIG_FILE}"))


def classifier_features(
    trained: TrainedClassifier, name: str, device: torch.device
) -> FeatureExtractor:
    """The extractor of one of the project's own classifiers."""
    network = trained.network.to(device).requires_grad_(False)

    def forward(images: Tensor, _classify: bool) -> tuple[Tensor, Tensor | None]:
        features, logits = network(images)
        return features, logits.softmax(1)

    return FeatureExtractor(name, trained.key, device, forward)


def fetch_inception() -> Path:
    """Inception as StyleGAN's metrics use it, from its own site or from the user's cache.

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

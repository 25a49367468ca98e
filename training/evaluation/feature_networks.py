"""Which features a name means: a classifier, Inception, or a TorchScript file."""

import warnings
from pathlib import Path

import torch
from rich.progress import DownloadColumn, Progress
from torch import Tensor

from model.checkpoint import CONFIG_FILE
from model.folders import downloads_folder
from model.importers.download import DownloadError, download, sha256
from training.errors import did_you_mean
from training.evaluation.classifier import TrainedClassifier, load_classifier
from training.evaluation.features import FeatureError, FeatureExtractor, Forward

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
            f"{did_you_mean(source, names)}"
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

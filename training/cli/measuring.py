"""Runs `sagan evaluate`: measures the samples of a checkpoint, and reports the metrics."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from class_names import ClassNames
from model.checkpoint import Checkpoint, load_checkpoint
from model.checkpoint_folder import CheckpointError, ClassInfo
from model.cli.class_choice import command_error
from model.sampling.sampler import Sampler
from training import picturebook
from training.data.image_set import DataError, ImageSet, data_key
from training.data.opening import classes_of, open_data
from training.evaluation.choices import INCEPTION
from training.evaluation.evaluating import (
    DrawnPictures,
    Evaluation,
    class_counts,
    evaluate,
    require_classes,
    require_enough,
    usual_metrics,
)
from training.evaluation.feature_networks import open_features
from training.evaluation.features import FeatureError, FeatureExtractor
from training.evaluation.statistics import STATISTICS, Advance, data_statistics
from training.run.fine_tuning import known_labels

PICTUREBOOK_FEATURES = "picturebook-64"


def run_evaluation(
    checkpoint_name: str,
    data: str,
    num_samples: int,
    metrics: Sequence[str] | None,
    features: str | None,
    truncation: float | None,
    num_pictures: int,
    data_dir: Path,
    device: torch.device,
    out: Path | None,
) -> None:
    """Measures the checkpoint, prints the metrics and writes the report to `out`, if given.

    The arguments are the flags of `sagan evaluate`. Raises click.ClickException.
    """
    try:
        checkpoint = load_checkpoint(checkpoint_name)
        labels = _labels(checkpoint, classes_of(data, num_pictures))
        extractor = open_features(features or _default_features(checkpoint), device)
        images = open_data(data, data_dir, checkpoint.config.resolution, num_pictures)
        sampler = Sampler(checkpoint, str(device))
        samples = DrawnPictures(
            draw=lambda classes, seeds: sampler.sample(classes, seeds, truncation),
            counts=class_counts(images, num_samples),
            labels=labels,
        )
        chosen = metrics or usual_metrics(extractor, images.classes)
        found = _compare(samples, images, extractor, chosen, data_dir / STATISTICS)
    except CheckpointError as error:
        raise command_error(error) from error
    except (DataError, FeatureError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for line in report_lines(found, extractor.name):
        click.echo(line)
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    if out is not None:
        written = report_as_json(found, checkpoint, images, extractor, samples)
        _write(out, written | {"truncation": truncation})


def _write(out: Path, written: Mapping[str, object]) -> None:
    try:
        out.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{out}: {error.strerror}") from error


def _default_features(checkpoint: Checkpoint) -> str:
    drawn = [info.name for info in picturebook.CLASSES]
    known = [info.name for info in checkpoint.classes] == drawn
    return PICTUREBOOK_FEATURES if known else INCEPTION


def _labels(checkpoint: Checkpoint, classes: Sequence[ClassInfo]) -> list[int]:
    """Returns the checkpoint's label of each class of the data.

    Raises DataError for a missing one.
    """
    labels = known_labels(checkpoint.classes, classes)
    if unknown := [c.name for label, c in enumerate(classes) if label not in labels]:
        raise DataError(
            f"the checkpoint has no class {', '.join(unknown[:5])}: evaluate it on data of its own "
            "classes (--data; by name or WordNet id)"
        )
    return [labels[label] for label in range(len(classes))]


def _compare(
    samples: DrawnPictures,
    data: ImageSet,
    extractor: FeatureExtractor,
    metrics: Sequence[str],
    cache: Path,
) -> Evaluation:
    require_enough(data, samples.counts, metrics)
    if "accuracy" in metrics:
        require_classes(extractor, data.classes)
    if "is" in metrics:
        extractor.features_and_probabilities(
            data.images[:1]
        )  # raises now rather than after all the data
    by_class = "intra-fid" in metrics
    with _progress(f"{len(data):,} real pictures", len(data)) as advance:
        real = data_statistics(data, extractor, cache, by_class=by_class, advance=advance)
    total = sum(samples.counts) + (real.num_unread if by_class else 0)
    with _progress("samples", total) as advance:
        return evaluate(samples, real, extractor, metrics, advance)


@contextmanager
def _progress(description: str, total: int) -> Iterator[Advance]:
    """Shows a progress bar that counts pictures."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn()) as progress:
        task = progress.add_task(description, total=total)
        yield lambda count: progress.advance(task, count)


# metric: (its title, which direction is better)
TITLES: Mapping[str, tuple[str, str]] = {
    "fid": ("FID", "lower"),
    "kid": ("KID", "lower"),
    "is": ("Inception score", "higher"),
    "intra_fid": ("intra-FID", "lower"),
    "precision": ("precision", "higher"),
    "recall": ("recall", "higher"),
    "density": ("density", "higher"),
    "coverage": ("coverage", "higher"),
    "accuracy": ("class accuracy", "higher"),
}


def report_lines(found: Evaluation, features: str) -> Iterator[str]:
    """Writes a line for each metric: its title, the features, its value, the better direction."""
    for name, (title, better) in TITLES.items():
        if name in found.metrics:
            deviation = f" ± {found.metrics['is_std']:.2g}" if name == "is" else ""
            label = f"{title} ({features} features)"
            yield f"{label:<44} {found.metrics[name]:>10.5g}{deviation}  {better} is better"


def report_as_json(
    found: Evaluation,
    checkpoint: Checkpoint,
    data: ImageSet,
    extractor: FeatureExtractor,
    samples: DrawnPictures,
) -> dict[str, object]:
    """Makes the JSON report: the metrics and everything that they depend on."""
    num_samples = sum(samples.counts)
    report: dict[str, object] = {
        "metrics": found.metrics,
        "checkpoint": checkpoint.fingerprint,
        "data": {"key": data_key(data), "pictures": len(data)},
        "features": {"name": extractor.name, "key": extractor.key},
        "samples": num_samples,
        "seeds": [0, num_samples - 1],
    }
    if found.warnings:
        report["warnings"] = found.warnings
    if found.fid_by_label:
        names = ClassNames(data.classes).unique_names(range(len(data.classes)))
        report["fid_by_class"] = {names[k]: value for k, value in found.fid_by_label.items()}
    return report

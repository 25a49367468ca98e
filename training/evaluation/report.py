"""What an evaluation says: lines for people, JSON for programs. Both name the features."""

from collections.abc import Iterator, Mapping

from model.checkpoint import Checkpoint
from training.data.image_set import ImageSet
from training.evaluation.data_statistics import data_key
from training.evaluation.evaluating import DrawnPictures, Evaluation
from training.evaluation.features import FeatureExtractor

# metric: (what it is called, which way is better)
TITLES: Mapping[str, tuple[str, str]] = {
    "fid": ("FID", "lower"),
    "kid": ("KID", "lower"),
    "is": ("Inception score", "higher"),
    "intra_fid": ("intra-FID", "lower"),
    "precision": ("precision", "higher"),
    "recall": ("recall", "higher"),
}


def lines(found: Evaluation, features: str) -> Iterator[str]:
    """A line a metric: its name with the features it is of, its value, which way is better."""
    for name, (title, better) in TITLES.items():
        if name in found.metrics:
            spread = f" ± {found.metrics['is_std']:.2g}" if name == "is" else ""
            told = f"{title} ({features} features)"
            yield f"{told:<44} {found.metrics[name]:>10.5g}{spread}  {better} is better"


def as_json(
    found: Evaluation,
    checkpoint: Checkpoint,
    data: ImageSet,
    extractor: FeatureExtractor,
    samples: DrawnPictures,
) -> dict[str, object]:
    """The report: the metrics and everything that they depend on."""
    num_samples = sum(samples.counts)
    report: dict[str, object] = {
        "metrics": found.metrics,
        "checkpoint": checkpoint.fingerprint,
        "data": {"key": data_key(data), "pictures": len(data)},
        "features": {"name": extractor.name, "key": extractor.key},
        "samples": num_samples,
        "seeds": [0, num_samples - 1],
    }
    if found.fid_by_label:
        names = [info.name for info in data.classes]
        report["fid_by_class"] = {names[k]: value for k, value in found.fid_by_label.items()}
    return report

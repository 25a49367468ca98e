"""From a generator and a data set to metrics."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.checkpoint import ClassInfo
from training.data.image_set import DataError, ImageSet
from training.evaluation.choices import METRICS
from training.evaluation.evaluating import (
    DrawnPictures,
    class_counts,
    evaluate,
    require_enough,
    usual_metrics,
)
from training.evaluation.feature_networks import open_features
from training.evaluation.features import FeatureError, FeatureExtractor
from training.evaluation.metrics import Moments, frechet_distance
from training.evaluation.statistics import batch_bounds, data_statistics


def labelled(counts: Sequence[int]) -> ImageSet:
    labels = np.repeat(np.arange(len(counts)), counts)
    classes = tuple(ClassInfo(name=f"c{i}") for i in range(len(counts)))
    return ImageSet(np.zeros((len(labels), 4, 4, 3), np.uint8), labels, classes)


@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=8), num_samples=st.integers(2, 200))
def test_samples_are_shared_as_the_data_are(counts: list[int], num_samples: int) -> None:
    """To within one sample, and none is lost."""
    shared = class_counts(labelled(counts), num_samples)
    assert sum(shared) == num_samples
    shares = np.array(counts) * num_samples / sum(counts)
    assert (np.abs(np.array(shared) - shares) < 1).all()


def test_a_class_too_small_for_a_distance_of_its_own_is_named() -> None:
    """With what there is of it."""
    with pytest.raises(DataError, match="c1 has 1 and 5"):
        require_enough(labelled([9, 1]), [5, 5], METRICS)
    with pytest.raises(DataError, match="c0 has 9 and 1"):
        require_enough(labelled([9, 9]), [1, 9], ["intra-fid"])


@pytest.mark.parametrize(
    ("metric", "too_few"), [("fid", 1), ("kid", 1), ("is", 9), ("pr", 3), ("dc", 5)]
)
def test_a_metric_of_too_few_samples_is_refused(
    metric: str, too_few: int, data: ImageSet, colours: FeatureExtractor, tmp_path: Path
) -> None:
    """By name, before anything is computed; one more is enough."""
    with pytest.raises(DataError, match=f"{metric} takes at least {too_few + 1} "):
        require_enough(data, class_counts(data, too_few), [metric])
    counts = class_counts(data, too_few + 1)
    require_enough(data, counts, [metric])
    samples = DrawnPictures(redrawn(data).draw, counts, range(10))
    assert evaluate(samples, data_statistics(data, colours, tmp_path), colours, [metric]).metrics


def test_every_sample_has_a_seed_of_its_own_and_its_class() -> None:
    """Labels are the generator's, which may number the classes otherwise."""
    asked: list[tuple[int, int]] = []

    def draw(labels: Sequence[int], seeds: Sequence[int]) -> NDArray[np.uint8]:
        asked.extend(zip(labels, seeds, strict=True))
        return np.zeros((len(labels), 4, 4, 3), np.uint8)

    samples = DrawnPictures(draw, counts=[70, 0, 3], labels=[5, 6, 2])
    sizes = [
        len(samples.batch(label, *bounds))
        for label in range(3)
        for bounds in batch_bounds(samples.counts[label])
    ]
    assert sizes == [64, 6, 3]
    assert asked == [(5, seed) for seed in range(70)] + [(2, seed) for seed in range(70, 73)]


def redrawn(data: ImageSet, darker: int = 0) -> DrawnPictures:
    """A generator that learnt by heart: sample k of a class is its picture k, perhaps darker."""

    def draw(labels: Sequence[int], seeds: Sequence[int]) -> NDArray[np.uint8]:
        members = np.flatnonzero(data.labels == labels[0])
        chosen = data.images[members[np.array(seeds) % len(members)]]
        return np.asarray(chosen // (1 + darker))

    return DrawnPictures(draw, class_counts(data, 60), range(10))


def test_the_data_itself_is_at_distance_zero(
    data: ImageSet, colours: FeatureExtractor, tmp_path: Path
) -> None:
    """In each metric, in each class; and a darker copy is not."""
    real = data_statistics(data, colours, tmp_path, by_class=True)
    same = evaluate(redrawn(data), real, colours, METRICS[:-1])
    darker = evaluate(redrawn(data, darker=2), real, colours, METRICS[:-1])
    assert same.metrics["fid"] == pytest.approx(0, abs=1e-6)
    assert same.metrics["intra_fid"] == pytest.approx(0, abs=1e-6)
    assert (same.metrics["precision"], same.metrics["recall"]) == (1, 1)
    assert same.metrics["coverage"] == 1
    assert darker.metrics["coverage"] < 0.5
    assert same.metrics["kid"] < darker.metrics["kid"]
    assert darker.metrics["fid"] > 100
    assert darker.metrics["precision"] < 0.5
    assert same.metrics.keys() == {
        "fid", "kid", "is", "is_std", "intra_fid", "precision", "recall", "density", "coverage",
    }  # fmt: skip


def test_intra_fid_is_the_mean_of_the_classes_own(
    data: ImageSet, colours: FeatureExtractor, tmp_path: Path
) -> None:
    """Miyato & Koyama (2018): a distance a class, from that class's samples and pictures."""
    real = data_statistics(data, colours, tmp_path, by_class=True)
    found = evaluate(redrawn(data, darker=1), real, colours, ["intra-fid"])
    assert found.metrics.keys() == {"intra_fid"}
    for label, value in found.fid_by_label.items():
        pictures = data.images[data.labels == label]
        pair = [Moments(), Moments()]
        pair[0].add(colours.features(pictures))
        pair[1].add(colours.features(pictures // 2))
        assert value == pytest.approx(frechet_distance(*pair), rel=1e-4)
    assert found.metrics["intra_fid"] == pytest.approx(np.mean(list(found.fid_by_label.values())))


def test_some_metrics_are_computed_on_request_alone(colours: FeatureExtractor) -> None:
    """Intra-FID of more than fifty classes, and accuracy without a classifier of the classes."""
    few, many = (labelled([1] * count).classes for count in (50, 51))
    assert usual_metrics(colours, few) == METRICS[:-1]
    assert usual_metrics(colours, many) == ("fid", "kid", "is", "pr", "dc")
    knowing = replace(colours, classes=tuple(info.name for info in few))
    assert usual_metrics(knowing, few) == METRICS
    assert "accuracy" not in usual_metrics(knowing, many)


def test_accuracy_is_the_share_of_samples_that_a_classifier_recognizes(
    data: ImageSet, tmp_path: Path
) -> None:
    """Its classes may be in another order; a class that it does not know is named."""
    classifier = open_features("picturebook-64", torch.device("cpu"))
    real = data_statistics(data, classifier, tmp_path)
    samples = redrawn(data)
    assert evaluate(samples, real, classifier, ["accuracy"]).metrics == {"accuracy": 1.0}
    swapped = replace(samples, labels=[1, 0, *range(2, 10)])
    found = evaluate(swapped, real, classifier, ["accuracy", "fid"]).metrics["accuracy"]
    assert found == pytest.approx(0.8)
    names = classifier.classes
    with pytest.raises(FeatureError, match=f"does not know the class {names[0]}: accuracy takes"):
        evaluate(samples, real, replace(classifier, classes=names[1:]), ["accuracy"])


def test_an_fid_of_fewer_images_than_features_comes_with_a_warning(
    data: ImageSet, colours: FeatureExtractor, tmp_path: Path
) -> None:
    """It says both numbers; with one image more there is none."""
    real = data_statistics(data, colours, tmp_path)
    for num_samples, count in ((3, 1), (4, 0)):
        counts = class_counts(data, num_samples)
        samples = DrawnPictures(redrawn(data).draw, counts, range(10))
        warnings = evaluate(samples, real, colours, ["fid"]).warnings
        assert len(warnings) == count
        assert all("3 images in 3 features" in warning for warning in warnings)

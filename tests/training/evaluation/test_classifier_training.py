"""Training the classifier: what it sees, and that it learns."""

import numpy as np
import pytest
import torch

from model.checkpoint import ClassInfo
from training.data.image_set import DataError, ImageSet
from training.evaluation.classifier_training import split, train_classifier

CPU = torch.device("cpu")


def bars(count: int) -> ImageSet:
    """16 px noise with a bright bar somewhere, lying for one class and standing for the other."""
    random = np.random.default_rng(0)
    images = random.integers(0, 100, (count, 16, 16, 3)).astype(np.uint8)
    labels = np.arange(count) % 2
    for image, label in zip(images, labels, strict=True):
        x, y = random.integers(2, 6, 2)
        width, height = (2, 8) if label else (8, 2)
        image[y : y + height, x : x + width] = 250
    return ImageSet(images, labels, (ClassInfo(name="lying"), ClassInfo(name="standing")))


def test_every_fifth_picture_of_each_class_is_held_out() -> None:
    """Nothing is in both parts, nothing is lost, and classes keep their proportions."""
    labels = np.array([0] * 10 + [1] * 25)
    data = ImageSet(np.zeros((35, 16, 16, 3), np.uint8), labels, bars(2).classes)
    learnt, held_out = split(data)
    assert sorted([*learnt, *held_out]) == list(range(35))
    assert np.bincount(labels[held_out]).tolist() == [2, 5]


def test_a_class_with_too_few_pictures_is_named() -> None:
    """There would be none to hold out."""
    data = bars(60)
    few = ImageSet(data.images[:9], data.labels[:9], data.classes)
    with pytest.raises(DataError, match="standing has 4 pictures"):
        split(few)


def test_the_classifier_learns_and_repeats_itself() -> None:
    """It knows the held-out pictures; the same seed gives the same weights."""
    data = bars(400)
    trained = train_classifier(data, 16, 4, 0, CPU)
    assert trained.facts["held_out_pictures"] == 80
    accuracy = trained.facts["held_out_accuracy"]
    assert isinstance(accuracy, float)
    assert accuracy > 0.95
    assert trained.key == train_classifier(data, 16, 4, 0, CPU).key


def test_no_batch_is_of_a_single_picture() -> None:
    """Batch norm has no variance then: 81 pictures leave 65 to learn, one more than a batch."""
    trained = train_classifier(bars(81), 16, 1, 0, CPU)
    assert trained.facts["pictures"] == 65

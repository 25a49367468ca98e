"""The classifier: what it gives, how it is kept, and the one that ships."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoint import CONFIG_FILE, ClassInfo
from training import picturebook
from training.evaluation.choices import SHIPPED
from training.evaluation.classifier import (
    WEIGHTS_FILE,
    Classifier,
    ClassifierConfig,
    TrainedClassifier,
    load_classifier,
)
from training.evaluation.feature_networks import open_features
from training.evaluation.features import FeatureError
from training.evaluation.metrics import Moments, frechet_distance

CPU = torch.device("cpu")
CLASSES = (ClassInfo(name="a"), ClassInfo(name="b", wnid="n01"))


def untrained(seed: int = 0) -> TrainedClassifier:
    torch.manual_seed(seed)
    config = ClassifierConfig(resolution=16, num_classes=2, widths=(4, 6))
    return TrainedClassifier(Classifier(config).eval(), CLASSES, {"epochs": 0})


@pytest.mark.parametrize("size", [8, 16, 33])
def test_pictures_of_any_size_give_features_and_logits(size: int) -> None:
    """The features are as many as all stages are wide; each picture's are its own."""
    network = untrained().network
    images = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        features, logits = network(images)
        alone, _ = network(images[1:2])
    assert features.shape == (3, 10)
    assert logits.shape == (3, 2)
    torch.testing.assert_close(features[1:2], alone)


def test_a_saved_classifier_is_loaded_whole(tmp_path: Path) -> None:
    """Weights, class names and facts; saved again, it replaces the older one."""
    untrained(1).save(tmp_path / "c")
    saved = untrained()
    saved.save(tmp_path / "c")
    loaded = load_classifier(tmp_path / "c")
    assert loaded.key == saved.key != untrained(1).key
    assert (tuple(loaded.classes), loaded.facts) == (CLASSES, {"epochs": 0})
    assert not loaded.network.training
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_another_folder_is_never_replaced(tmp_path: Path) -> None:
    """It may hold somebody's work."""
    (tmp_path / "work.txt").write_text("x")
    with pytest.raises(FeatureError, match="something else than a classifier"):
        untrained().save(tmp_path)
    assert (tmp_path / "work.txt").exists()


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    """Which file, and what is wrong with it."""
    folder = untrained().save(tmp_path / "c")
    whole = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(whole | {"classifier": {"resolution": -1}}))
    with pytest.raises(FeatureError, match=r"config\.json: .*resolution"):
        load_classifier(folder)
    wider = whole | {"classifier": whole["classifier"] | {"widths": [4, 8]}}
    (folder / CONFIG_FILE).write_text(json.dumps(wider))
    with pytest.raises(FeatureError, match=WEIGHTS_FILE):
        load_classifier(folder)
    (folder / CONFIG_FILE).unlink()
    with pytest.raises(FeatureError, match=r"config\.json: not readable"):
        load_classifier(folder)


def drawn(size: int, first: int = 1_000_000) -> tuple[np.ndarray, np.ndarray]:
    """Ten pictures of each class that are in no training set, and their labels."""
    indices = range(first, first + 100)
    pictures = np.stack([picturebook.draw(index, size) for index in indices])
    return pictures, np.array([picturebook.label_of(index) for index in indices])


@pytest.mark.parametrize("size", [32, 64])
def test_the_shipped_classifier_knows_pictures_that_it_never_saw(size: int) -> None:
    """Nearly all of them, at its own size and at half of it."""
    pictures, labels = drawn(size)
    extractor = open_features("picturebook-64", CPU)
    _, probabilities = extractor.features_and_probabilities(pictures)
    assert (probabilities.argmax(1) == labels).mean() >= 0.97


def test_the_shipped_classifier_is_small_and_states_its_accuracy() -> None:
    """At most 2 MB, with the command that trained it."""
    folder = SHIPPED / "picturebook-64"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_000_000
    facts = load_classifier(folder).facts
    assert str(facts["command"]).startswith("sagan train-classifier")
    assert isinstance(facts["held_out_accuracy"], float)
    assert facts["held_out_accuracy"] > 0.99


@pytest.mark.slow
def test_the_shipped_features_tell_worse_pictures_from_better_ones() -> None:
    """Their FID grows as pictures blur, gather noise or lose classes."""
    extractor = open_features("picturebook-64", CPU)
    pictures, labels = drawn(64)
    fresh, _ = drawn(64, 2_000_000)

    def distance(other: np.ndarray) -> float:
        sets = [Moments(), Moments()]
        for moments, shown in zip(sets, (pictures, other), strict=True):
            moments.add(extractor.features(shown))
        return frechet_distance(*sets)

    random = np.random.default_rng(0)
    noise = random.normal(size=fresh.shape)
    noisy = [np.clip(fresh + level * noise, 0, 255).astype(np.uint8) for level in (8, 32)]
    blurred = [
        fresh.reshape(100, 64 // k, k, 64 // k, k, 3).mean((2, 4)).astype(np.uint8) for k in (2, 4)
    ]
    best = distance(fresh)
    assert best < distance(noisy[0]) < distance(noisy[1])
    assert best < distance(blurred[0]) < distance(blurred[1])
    assert best < distance(fresh[labels < 5])

"""Feature networks in TorchScript files: the contract, and what breaks it."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.importers.download import DownloadError
from tests.training.evaluation.networks import Colours, Quadrants, StyleGanLayout, grey, script
from training.evaluation import feature_networks
from training.evaluation.choices import shipped_classifiers
from training.evaluation.feature_networks import open_features, open_torchscript
from training.evaluation.features import FeatureError

CPU = torch.device("cpu")


def coloured(red: int, green: int, blue: int) -> np.ndarray:
    return np.broadcast_to(np.array([red, green, blue], np.uint8), (2, 4, 4, 3))


def test_a_module_gets_bytes_in_rgb_planes(tmp_path: Path) -> None:
    """(N, 3, H, W) uint8, red first; what it returns are the features."""
    file = script(Quadrants(), tmp_path)
    extractor = open_torchscript(file, CPU)
    features = extractor.features(coloured(200, 100, 0))
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, [[200] * 4 + [100] * 4 + [0] * 4] * 2)
    assert extractor.name == "Quadrants"
    assert extractor.key == hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def test_a_pair_is_features_and_logits(tmp_path: Path) -> None:
    """Probabilities are the softmax of the second."""
    extractor = open_torchscript(script(Colours(), tmp_path), CPU)
    features, probabilities = extractor.features_and_probabilities(coloured(10, 20, 0))
    np.testing.assert_array_equal(features, [[10, 20, 0]] * 2)
    expected = np.exp([1.0, 2.0, 0.0]) / np.exp([1.0, 2.0, 0.0]).sum()
    np.testing.assert_allclose(probabilities, [expected] * 2, rtol=1e-6)


def test_stylegans_inception_is_asked_for_what_it_calls_them(tmp_path: Path) -> None:
    """Features by `return_features`, and the probabilities of the original Inception score."""
    extractor = open_torchscript(script(StyleGanLayout(), tmp_path), CPU)
    features, probabilities = extractor.features_and_probabilities(coloured(10, 20, 0))
    np.testing.assert_array_equal(features, [[10, 20, 0]] * 2)
    expected = np.exp([1.0, 2.0, 0.0]) / np.exp([1.0, 2.0, 0.0]).sum()
    np.testing.assert_allclose(probabilities, [expected] * 2, rtol=1e-6)
    np.testing.assert_array_equal(extractor.features(coloured(10, 20, 0)), features)


def test_features_alone_have_no_probabilities(tmp_path: Path) -> None:
    """The error names the features and what takes both."""
    extractor = open_torchscript(script(Quadrants(), tmp_path), CPU)
    with pytest.raises(FeatureError, match="Quadrants gives features but no logits"):
        extractor.features_and_probabilities(grey(0))


def test_any_network_is_traced_into_such_a_module(tmp_path: Path) -> None:
    """As docs/evaluation.md has it: the batch that it was traced with does not bind it."""

    class Features(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            x = nn.functional.interpolate(
                images.float() / 255, size=(24, 24), mode="bilinear", antialias=True
            )
            return x.flatten(1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(Features(), torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
        traced.save(tmp_path / "features.pt")
    features = open_torchscript(tmp_path / "features.pt", CPU).features(grey(51, count=5))
    np.testing.assert_allclose(features, np.full((5, 3 * 24 * 24), 0.2), rtol=1e-5)


class OneForAll(nn.Module):
    """Forgets that there are several pictures."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean((0, 2, 3))


class Infinite(nn.Module):
    """Divides by the picture's mean."""

    def forward(self, images: Tensor) -> Tensor:
        return 1 / images.float().mean((2, 3))


class WantsFloats(nn.Module):
    """Multiplies bytes with a matrix of floats."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ torch.ones(images[0].numel(), 4)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (OneForAll(), r"OneForAll gave \(3,\) for 3 pictures, expected \(3, D\)"),
        (Infinite(), "Infinite gave features that are not finite"),
        (WantsFloats(), r"WantsFloats\.pt failed on pictures of torch\.uint8"),
    ],
)
def test_a_module_that_breaks_the_contract_is_named(
    module: nn.Module, message: str, tmp_path: Path
) -> None:
    """One line that says what it gave."""
    extractor = open_torchscript(script(module, tmp_path), CPU)
    with pytest.raises(FeatureError, match=message) as caught:
        extractor.features(grey(0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no program", b"PK\x03\x04"])
def test_another_file_is_refused(content: bytes, tmp_path: Path) -> None:
    """Also one that only begins like an archive."""
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(FeatureError, match=r"x\.pt: not a TorchScript file"):
        open_torchscript(tmp_path / "x.pt", CPU)


def test_a_pickle_is_never_unpickled(tmp_path: Path) -> None:
    """A plain PyTorch file is not a TorchScript one."""
    torch.save({"weight": torch.ones(2)}, tmp_path / "x.pt")
    with pytest.raises(FeatureError, match="not a TorchScript file"):
        open_torchscript(tmp_path / "x.pt", CPU)


def test_the_shipped_classifier_is_found_by_its_name() -> None:
    """Reports call its features by it."""
    assert shipped_classifiers() == ["picturebook-64"]
    assert open_features("picturebook-64", CPU).name == "picturebook-64"


def test_an_unknown_name_lists_what_there_is() -> None:
    """A typing mistake is one line."""
    with pytest.raises(FeatureError, match=r"picturebok: .* one of picturebook-64, inception"):
        open_features("picturebok", CPU)


def test_without_internet_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens on port 9 of this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(feature_networks, "INCEPTION_URL", "http://127.0.0.1:9/inception.pt")
    with pytest.raises(DownloadError, match="or give as --features a copy's path"):
        open_features("inception", CPU)

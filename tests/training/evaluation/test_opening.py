"""What `--features` may be."""

from pathlib import Path

import pytest
import torch

from model.importers.download import DownloadError
from training.evaluation import opening
from training.evaluation.features import FeatureError
from training.evaluation.opening import open_features, shipped_classifiers

CPU = torch.device("cpu")


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
    monkeypatch.setattr(opening, "INCEPTION_URL", "http://127.0.0.1:9/inception.pt")
    with pytest.raises(DownloadError, match="or give as --features a copy's path"):
        open_features("inception", CPU)

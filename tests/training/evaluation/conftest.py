"""What tests of evaluation share: small data and feature networks."""

import pytest
import torch

from tests.training.evaluation.networks import Colours, script
from training.data.image_set import ImageSet
from training.data.opening import open_picturebook
from training.evaluation.feature_networks import open_torchscript
from training.evaluation.features import FeatureExtractor


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Six pictures of each class at 32 px."""
    return open_picturebook(tmp_path_factory.mktemp("data"), 32, 60)


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> FeatureExtractor:
    """Three features, the mean of each colour, and three classes."""
    file = script(Colours(), tmp_path_factory.mktemp("features"))
    return open_torchscript(file, torch.device("cpu"))

"""A tiny run for tests that kill it; its process is forked where torch is loaded already."""

from pathlib import Path

import torch

from training.data.opening import open_data
from training.recipes.config import TrainConfig
from training.run.loop import train

CONFIG = TrainConfig.model_validate(
    {
        "generator": {"resolution": 32, "base_channels": 8, "num_classes": 10},
        "discriminator": {"resolution": 32, "base_channels": 8, "num_classes": 10},
        "num_pictures": 20,
        "batch_size": 2,
        "total_images": 10**9,
        "snapshot_every_images": 2,
        "on_trouble": "go-on",
    }
)


def go_on(folder: Path) -> None:
    """Train in `folder`, with a snapshot every step, until killed."""
    torch.set_num_threads(1)
    data = open_data("picturebook", folder / "data", 32, CONFIG.num_pictures)
    train(CONFIG, data, folder / "run", torch.device("cpu"))

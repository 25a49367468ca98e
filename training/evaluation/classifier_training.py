"""Trains the classifier on any data set; every fifth picture of each class is held out."""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from training.data.image_set import DataError, ImageSet
from training.evaluation.classifier import Classifier, ClassifierConfig, TrainedClassifier

HELD_OUT_EVERY = 5
BATCH_SIZE = 64
PEAK_RATE = 2e-3
WEIGHT_DECAY = 1e-2
MAX_SHIFT = 8  # pictures are shifted by up to an eighth of their side

logger = logging.getLogger(__name__)


def train_classifier(
    data: ImageSet, resolution: int, num_epochs: int, seed: int, device: torch.device
) -> TrainedClassifier:
    """Trains a classifier of `data`; its facts have the accuracy on the held-out pictures.

    The optimiser is AdamW with a one-cycle schedule (Smith & Topin 2018). Pictures are shifted at
    random, and in half of the batches they have half the side. Raises DataError if a class has too
    few pictures to hold one out.
    """
    learnt, held_out = split(data)
    torch.manual_seed(seed)
    config = ClassifierConfig(resolution=resolution, num_classes=len(data.classes))
    network = Classifier(config).to(device)
    _fit(network, data, learnt, num_epochs, seed)
    accuracy = accuracy_on(network.eval(), data, held_out)
    logger.info("accuracy on %d held-out pictures: %.2f %%", len(held_out), 100 * accuracy)
    facts: dict[str, object] = {
        "pictures": len(learnt),
        "held_out_pictures": len(held_out),
        "held_out_accuracy": round(accuracy, 4),
        "epochs": num_epochs,
        "seed": seed,
    }
    return TrainedClassifier(network.cpu(), data.classes, facts)


def split(data: ImageSet) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Splits the pictures into those to learn from and those held out: every fifth of each class.

    Raises DataError naming a class with fewer than five pictures.
    """
    number = np.empty(len(data), np.int64)  # of each picture within its class
    for label, info in enumerate(data.classes):
        members = np.flatnonzero(data.labels == label)
        if len(members) < HELD_OUT_EVERY:
            raise DataError(
                f"{info.name} has {len(members)} pictures: a classifier takes at least "
                f"{HELD_OUT_EVERY} of each class"
            )
        number[members] = np.arange(len(members))
    held_out = number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


@torch.inference_mode()
def accuracy_on(network: Classifier, data: ImageSet, indices: NDArray[np.int64]) -> float:
    """The share of these pictures that the network classifies correctly."""
    right = 0
    for start in range(0, len(indices), BATCH_SIZE):
        images, labels = _batch(network, data, indices[start : start + BATCH_SIZE])
        _, logits = network(images)
        right += int((logits.argmax(1) == labels).sum())
    return right / len(indices)


def _fit(
    network: Classifier, data: ImageSet, learnt: NDArray[np.int64], num_epochs: int, seed: int
) -> None:
    steps = -(-len(learnt) // BATCH_SIZE) * num_epochs
    optimizer = AdamW(network.parameters(), PEAK_RATE, weight_decay=WEIGHT_DECAY)
    schedule = OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    random = np.random.Generator(np.random.Philox(key=seed))
    network.train()
    batches = _batches(learnt, num_epochs, random)
    for indices in track(batches, description=f"{num_epochs} epochs", total=steps):
        images, labels = _batch(network, data, indices)
        _, logits = network(_varied(images, random))
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits, labels).backward()
        optimizer.step()
        schedule.step()


def _batches(
    learnt: NDArray[np.int64], num_epochs: int, random: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yields indices in a new order every epoch.

    Sizes are nearly equal, as batch norm needs two.
    """
    for _ in range(num_epochs):
        yield from np.array_split(random.permutation(learnt), -(-len(learnt) // BATCH_SIZE))


def _batch(
    network: Classifier, data: ImageSet, indices: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Returns (N, 3, H, W) uint8 pictures and (N,) labels, on the network's device."""
    device = network.linear.weight.device
    pixels = torch.from_numpy(data.images[indices]).to(device)
    return pixels.permute(0, 3, 1, 2), torch.from_numpy(data.labels[indices]).to(device)


def _varied(images: Tensor, random: np.random.Generator) -> Tensor:
    """Shifts the pictures by one random offset, with mirrored edges.

    Half of the batches are also halved in size, so that the network, which enlarges small pictures,
    learns soft ones, too.
    """
    reach = images.shape[2] // MAX_SHIFT
    x, y = (int(offset) for offset in random.integers(0, 2 * reach + 1, 2))
    padded = F.pad(images.float(), (reach,) * 4, mode="reflect")
    moved = padded[:, :, y : y + images.shape[2], x : x + images.shape[3]]
    return F.avg_pool2d(moved, 2) if random.random() < 0.5 else moved

"""Shows whether samples are copies: each with the training pictures that are nearest to it.

    .venv/bin/python -m benchmarks.nearest picturebook-64 nearest.png

The sheet has two samples of each class. Each is shown with the three pictures of its class that are
nearest by the features of a classifier, and the three nearest by pixels (at 16×16, so that a shift
by a pixel does not hide a copy). The command prints the median pixel distance of samples to the
nearest picture, and that of held-out pictures, which are certainly no copies: they are pictures of
the same data with numbers after those of the training.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d

from model import Sampler, load_checkpoint
from training.data.opening import open_picturebook
from training.evaluation.feature_networks import open_features
from training.picturebook import draw

SAMPLES_A_CLASS, NEAREST = 2, 3
COARSE = 16


def main() -> None:
    """Writes the sheet and prints the distances."""
    options = parse()
    checkpoint = load_checkpoint(options.checkpoint)
    size, num_classes = checkpoint.config.resolution, checkpoint.config.num_classes
    data = open_picturebook(options.data_dir, size, options.num_pictures)
    extractor = open_features(options.features, torch.device("cpu"))
    labels = np.repeat(np.arange(num_classes), SAMPLES_A_CLASS)
    samples = Sampler(checkpoint).sample(labels.tolist(), range(len(labels)))
    held_out = np.stack([draw(options.num_pictures + i, size) for i in range(10 * num_classes)])
    rows, of_samples, of_held_out = [], [], []
    for label in range(num_classes):
        pictures = np.asarray(data.images[data.labels == label])
        by_features, by_pixels = extractor.features(pictures), coarse(pictures)
        for sample in samples[labels == label]:
            distances = distances_to(coarse(sample[None]), by_pixels)
            of_samples.append(distances.min())
            alike = distances_to(extractor.features(sample[None]), by_features).argsort()[:NEAREST]
            rows.append([sample, *pictures[alike], *pictures[distances.argsort()[:NEAREST]]])
        fresh = coarse(held_out[label::num_classes])
        of_held_out += [distances_to(one[None], by_pixels).min() for one in fresh]
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    Image.fromarray(sheet).resize([2 * side for side in sheet.shape[1::-1]], 0).save(options.sheet)
    print(f"{options.sheet}: sample, {NEAREST} nearest by features, {NEAREST} nearest by pixels")
    print(f"to the nearest picture, median: samples {np.median(of_samples):.1f} levels, ")
    print(f"  least {np.min(of_samples):.1f}; held-out pictures {np.median(of_held_out):.1f}, ")
    print(f"  least {np.min(of_held_out):.1f} (root mean square at {COARSE}×{COARSE})")


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="a shipped name or a folder, trained on the picturebook")
    parser.add_argument("sheet", type=Path, help="the PNG file to write")
    parser.add_argument("--features", default="picturebook-64")
    parser.add_argument("--num-pictures", type=int, default=40_000, help="that it was trained on")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    return parser.parse_args()


def coarse(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(N, H, W, 3) pictures averaged down to (N, 16·16·3)."""
    planes = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    return np.asarray(adaptive_avg_pool2d(planes, COARSE).flatten(1).numpy(), np.float64)


def distances_to(one: NDArray[np.floating], many: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) root mean square distances of a (1, D) row to (N, D) ones."""
    return np.asarray(np.sqrt(np.square(many.astype(np.float64) - one).mean(1)))


if __name__ == "__main__":
    main()

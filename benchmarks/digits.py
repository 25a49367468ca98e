"""Trains on 1,797 scanned digits, and checks the samples with an independent classifier.

    .venv/bin/python -m pip install -e '.[bench]'
    .venv/bin/python -m benchmarks.digits runs/digits

The command writes scikit-learn's digits (8×8 scans) into a folder for each class. `sagan
train-classifier` learns to classify them, with every fifth of each class held out; `sagan train`
learns to generate them at 32 px. Then the classifier classifies 100 samples of each class, and the
command prints the share that it assigns to the right class, and its accuracy on the held-out scans.
After an interruption the same command resumes.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from model import Sampler, load_checkpoint
from training.evaluation.classifier import load_classifier

SAMPLES_A_CLASS = 100
MAX_INTENSITY = 16  # of the scans: each value counts the dark pixels of a 4×4 cell
RECIPE = {
    "--size": 32, "--base-channels": 16, "--batch-size": 32, "--generator-rate": 2e-4,
    "--total-images": 60_000, "--snapshot-every-images": 10_000,
}  # fmt: skip


def main() -> None:
    """Prints the classifier's accuracy and the share it accepts by digit; fails below 90 %."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where everything goes")
    folder: Path = parser.parse_args().folder
    pictures = write_pictures(folder / "pictures")
    if not (folder / "classifier").exists():
        sagan("train-classifier", folder / "classifier", *data(folder, pictures), "--size", 32,
              "--epochs", 20, "--seed", 1)  # fmt: skip
    recipe = [part for pair in RECIPE.items() for part in pair]
    sagan("train", folder / "run", *data(folder, pictures), *recipe)
    accepted = acceptance(folder / "run/checkpoint", folder / "classifier")
    facts = load_classifier(folder / "classifier").facts
    print(f"right on {facts['held_out_pictures']} held-out scans: {facts['held_out_accuracy']:.2%}")
    print("accepted, by digit:  " + "  ".join(f"{share:.0%}" for share in accepted))
    print(
        f"accepted in all: {np.mean(accepted):.1%} of {SAMPLES_A_CLASS * len(accepted):,} samples"
    )
    sys.exit(0 if np.mean(accepted) >= 0.9 else "fewer than 90 % are accepted")


def write_pictures(folder: Path) -> Path:
    """Writes the scans as white-on-black PNG files into a folder for each class."""
    digits = load_digits()
    for number, (scan, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        file = folder / str(label) / f"{number:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        levels = np.round(scan * (255 / MAX_INTENSITY)).astype(np.uint8)
        Image.fromarray(levels).save(file)
    return folder


def data(folder: Path, pictures: Path) -> tuple[object, ...]:
    """The options of `sagan` that name the data."""
    return "--data", pictures, "--data-dir", folder / "data"


def sagan(*args: object) -> None:
    """Runs a `sagan` command as a user does, with its output shown."""
    subprocess.run([sys.executable, "-m", "sagan", *map(str, args)], check=True)  # noqa: S603


def acceptance(checkpoint: Path, classifier: Path) -> list[float]:
    """For each class, the share of its samples that the classifier assigns to it."""
    sampler = Sampler(load_checkpoint(checkpoint), device="cpu")
    network = load_classifier(classifier).network
    accepted = []
    for label in range(sampler.config.num_classes):
        seeds = range(label * SAMPLES_A_CLASS, (label + 1) * SAMPLES_A_CLASS)
        pixels = sampler.sample([label] * SAMPLES_A_CLASS, seeds)
        with torch.inference_mode():
            _, logits = network(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        accepted.append(float((logits.argmax(1) == label).float().mean()))
    return accepted


if __name__ == "__main__":
    main()

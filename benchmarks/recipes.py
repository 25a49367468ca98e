"""Compares the recipe of `laptop-32` with the paper's, on pictures that the project did not draw.

    .venv/bin/python -m pip install -c constraints.txt -e '.[bench]'
    npm pack emoji-datasource-twitter && tar xzf emoji-datasource-twitter-*.tgz
    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.recipes runs/recipes --emoji package

There are two sets of pictures: scikit-learn's 1,797 scanned digits, and the emoji of an npm package
with a class for each category. The command trains a classifier on each set, and measures both
recipes with its features: FID, precision and recall of 2,000 samples, and diversity. After an
interruption the same command resumes.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.digits import write_pictures as write_digits
from training.monitor.report import LOG_FILE

RECIPES = {"laptop-32": "this project's", "laptop-32-paper": "the paper's"}
MIN_EMOJI = 80  # of a category that becomes a class


def main() -> None:
    """Trains the unfinished runs and prints a line for each run."""
    options = parse()
    sets = {"digits": write_digits(options.folder / "digits/pictures")}
    if options.emoji:
        sets["emoji"] = write_emoji(options.emoji, options.folder / "emoji/pictures")
    for name, pictures in sets.items():
        folder = options.folder / name
        data = ("--data", pictures, "--data-dir", folder / "data")
        if not (folder / "classifier").exists():
            sagan("train-classifier", folder / "classifier", *data, "--size", 32, "--epochs", 20)
        for preset in RECIPES:
            sagan(
                "train", folder / preset, "--preset", preset, *data, "--base-channels",
                options.base_channels, "--total-images", options.total_images,
                "--snapshot-every-images", options.total_images // 2, "--on-trouble", "go-on",
                "--fid", folder / "classifier",
            )  # fmt: skip
    for name in sets:
        for preset, title in RECIPES.items():
            print(f"{name}, {title} recipe: {last_scores(options.folder / name / preset)}")


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where everything goes")
    parser.add_argument("--emoji", type=Path, help="the unpacked npm package")
    parser.add_argument("--base-channels", type=int, default=8)
    parser.add_argument("--total-images", type=int, default=40_000, help="of each run")
    return parser.parse_args()


def write_emoji(package: Path, folder: Path) -> Path:
    """Copies the package's 64 px pictures into a folder for each category that has enough."""
    emoji = json.loads((package / "emoji.json").read_text(encoding="utf-8"))
    by_category: dict[str, list[str]] = {}
    for one in emoji:
        by_category.setdefault(one["category"], []).append(one["image"])
    for category, images in by_category.items():
        if len(images) < MIN_EMOJI:
            continue
        target = folder / category.lower().replace(" & ", "_and_")
        target.mkdir(parents=True, exist_ok=True)
        for image in images:
            shutil.copy(package / "img/twitter/64" / image, target / image)
    return folder


def sagan(*args: object) -> None:
    """Runs a `sagan` command as a user does, with its output shown."""
    subprocess.run([sys.executable, "-m", "sagan", *map(str, args)], check=True)  # noqa: S603


def last_scores(run: Path) -> str:
    """The scores of a run's last snapshot."""
    lines = (run / LOG_FILE).read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    last: dict[str, float] = next(r for r in reversed(records) if "recall" in r)
    scores = "  ".join(f"{name} {value:.3g}" for name, value in last.items() if name != "images")
    return f"{scores} after {last['images']:,} images"


if __name__ == "__main__":
    main()

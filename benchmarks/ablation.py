"""What attention, spectral norm in G and TTUR are worth: four runs of one length, FID by FID.

    .venv/bin/python -m pip install -c constraints.txt -e '.[bench]'
    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.ablation runs/ablation --figure ablation.png

Each run is the preset `laptop-32` on the picturebook with one thing changed, all from one seed. At
every snapshot 2,000 samples get their FID by the picturebook's own classifier. After Ctrl-C the
same command goes on. `--only` trains some of the runs, so that several processes can share them;
the table and the figure are of all that have begun.
"""

import argparse
import json
from pathlib import Path

import torch
from matplotlib.figure import Figure

from training.data.image_set import ImageSet
from training.data.opening import open_picturebook
from training.evaluation.data_statistics import STATISTICS
from training.evaluation.opening import open_features
from training.evaluation.scoring import fid_score
from training.monitor.run_log import LOG_FILE
from training.recipes.config import TrainConfig
from training.recipes.presets import preset
from training.recipes.recipe import config_of
from training.run.loop import train

SIZE, NUM_PICTURES = 32, 20_000
FEATURES = "picturebook-64"
VARIANTS = {  # folder: (preset, what the figure calls it)
    "attention": ("laptop-32", "SAGAN"),
    "no-attention": ("laptop-32-no-attention", "without attention"),
    "sn-d-only": ("laptop-32-sn-d-only", "spectral norm on D only"),
    "no-ttur": ("laptop-32-no-ttur", "one learning rate"),
}
Curve = list[tuple[int, float]]  # (images seen, FID)


def main() -> None:
    """Trains what is not done yet, then prints a table and draws the figure."""
    options = parse()
    data = open_picturebook(options.data_dir, SIZE, NUM_PICTURES)
    finished = all(
        run(options.folder / name, VARIANTS[name][0], data, options) for name in options.only
    )
    curves = {name: read_curve(options.folder / name) for name in VARIANTS}
    show(curves)
    if options.figure:
        draw(curves).savefig(options.figure)
    if not finished:
        print("stopped; the same command goes on")


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the runs are")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--total-images", type=int, default=80_000, help="of each run")
    parser.add_argument("--snapshot-every-images", type=int, default=10_000)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--figure", type=Path, help="the picture of the curves to write")
    return parser.parse_args()


def run(folder: Path, preset_name: str, data: ImageSet, options: argparse.Namespace) -> bool:
    """Train one variant to its end, or until a signal; whether it came to the end."""
    extractor = open_features(FEATURES, torch.device("cpu"))
    score = fid_score(data, extractor, options.data_dir / STATISTICS)
    config = recipe(preset_name, len(data.classes), options)
    _, finished = train(config, data, folder, torch.device("cpu"), score=score)
    return finished


def recipe(preset_name: str, num_classes: int, options: argparse.Namespace) -> TrainConfig:
    """The preset's config; a run that collapses goes on, since that is a result too."""
    changes = {
        "total_images": options.total_images,
        "snapshot_every_images": options.snapshot_every_images,
        "num_pictures": NUM_PICTURES,
        "on_trouble": "go-on",
    }
    return config_of(preset(preset_name) | changes, num_classes)


def read_curve(folder: Path) -> Curve:
    """The FIDs in a run's log; empty where it has not begun."""
    log = folder / LOG_FILE
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    key = f"fid_{FEATURES}"
    records = [json.loads(line) for line in lines]
    return [(record["images"], record[key]) for record in records if key in record]


def show(curves: dict[str, Curve]) -> None:
    """A line a run: where its FID ends, and the best that it had."""
    print(f"FID ({FEATURES} features) of 2,000 samples")
    for name, curve in curves.items():
        if curve:
            (images, last), best = curve[-1], min(fid for _, fid in curve)
            print(f"{VARIANTS[name][1]:<26} {last:8.3f} after {images:,} images, best {best:.3f}")


def draw(curves: dict[str, Curve]) -> Figure:
    """FID against images seen, a curve a run."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        if curve:
            axes.plot(*zip(*curve, strict=True), marker=".", label=VARIANTS[name][1])
    axes.set_yscale("log")
    axes.set_xlabel("images seen")
    axes.set_ylabel(f"FID ({FEATURES} features)")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    return figure


if __name__ == "__main__":
    main()

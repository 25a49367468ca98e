"""The effect of attention: equally long runs with it, without it, and with the paper's recipe.

    .venv/bin/python -m pip install -c constraints.txt -e '.[bench]'
    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.ablation runs/ablation --figure ablation.png

Each variant is the preset `laptop-32` on the picturebook with one change; it runs from several
seeds. At every snapshot FID, precision and recall of 2,000 samples are measured with the
picturebook's own classifier, and their diversity. After Ctrl-C the same command resumes. `--only`
and `--seeds` train some of the runs, so that several processes can share them. The table and the
figure have all runs that have begun.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.data.image_set import ImageSet
from training.data.opening import open_picturebook
from training.evaluation.feature_networks import open_features
from training.evaluation.scoring import snapshot_score
from training.evaluation.statistics import STATISTICS
from training.monitor.report import LOG_FILE
from training.recipes.config import TrainConfig
from training.recipes.presets import preset
from training.recipes.recipe import config_of
from training.run.loop import train
from training.run.processes import SINGLE_PROCESS

SIZE, NUM_PICTURES = 32, 20_000
FEATURES = "picturebook-64"
VARIANTS = {  # folder: (preset, what the figure calls it)
    "attention": ("laptop-32", "attention on 8² and 16²"),
    "no-attention": ("laptop-32-no-attention", "no attention"),
    "residual": ("laptop-32-residual8-16", "residual blocks of its size"),
    "paper": ("laptop-32-paper", "the paper's recipe"),
}
METRICS = {  # name in the log: what the figure and the table call it
    f"fid_{FEATURES}": "FID",
    "precision": "precision",
    "recall": "recall",
    "diversity": "diversity",
}
Curve = list[tuple[int, float]]  # (images seen, value)


def main() -> None:
    """Trains the unfinished runs, then prints a table and draws the figure."""
    options = parse()
    data = open_picturebook(options.data_dir, SIZE, NUM_PICTURES)
    finished = all(
        run(options.folder, name, seed, data, options)
        for seed in options.seeds
        for name in options.only
    )
    show(options.folder)
    if options.figure:
        draw(options.folder).savefig(options.figure)
    if not finished:
        print("stopped; the same command resumes")


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the runs are")
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--base-channels", type=int, default=8)
    parser.add_argument("--total-images", type=int, default=40_000, help="of each run")
    parser.add_argument("--snapshot-every-images", type=int, default=10_000)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--figure", type=Path, help="the image of the curves to write")
    return parser.parse_args()


def run(folder: Path, name: str, seed: int, data: ImageSet, options: argparse.Namespace) -> bool:
    """Trains one variant from one seed to its end or until a signal; true if it is finished."""
    extractor = open_features(FEATURES, torch.device("cpu"))
    score = snapshot_score(data, extractor, options.data_dir / STATISTICS, SINGLE_PROCESS)
    config = recipe(VARIANTS[name][0], seed, len(data.classes), options)
    _, finished = train(config, data, folder / f"{name}-{seed}", torch.device("cpu"), score=score)
    return finished


def recipe(
    preset_name: str, seed: int, num_classes: int, options: argparse.Namespace
) -> TrainConfig:
    """The preset's config; a run that collapses continues, since that is a result too."""
    changes = {
        "base_channels": options.base_channels,
        "total_images": options.total_images,
        "snapshot_every_images": options.snapshot_every_images,
        "num_pictures": NUM_PICTURES,
        "on_trouble": "go-on",
        "seed": seed,
    }
    return config_of(preset(preset_name) | changes, num_classes)


def runs_of(folder: Path, name: str) -> list[Path]:
    """The folders of a variant's runs, one for each seed."""
    return sorted(folder.glob(f"{name}-[0-9]*"))


def read_curve(run_folder: Path, metric: str) -> Curve:
    """The values of a metric in a run's log; empty if the run has no snapshot yet."""
    log = run_folder / LOG_FILE
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    records = [json.loads(line) for line in lines]
    return [(record["images"], record[metric]) for record in records if metric in record]


def show(folder: Path) -> None:
    """Prints a line for each variant: means over its seeds at the last snapshot, and each FID."""
    print(f"{FEATURES} features, 2,000 samples; the last snapshot, mean of the seeds")
    for name, (_, title) in VARIANTS.items():
        curves = [
            {metric: read_curve(path, metric) for metric in METRICS}
            for path in runs_of(folder, name)
        ]
        curves = [curve for curve in curves if all(curve.values())]
        if curves:
            values = (
                f"{called} {mean(curve[metric][-1][1] for curve in curves):.3g}"
                for metric, called in METRICS.items()
            )
            fid = next(iter(METRICS))
            each = ", ".join(f"{curve[fid][-1][1]:.2f}" for curve in curves)
            images = curves[0][fid][-1][0]
            print(f"{title:<28} {'  '.join(values)}  (FID {each}) after {images:,} images")


def draw(folder: Path) -> Figure:
    """Plots every metric against images seen: a colour for each variant, a line for each seed."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(2, 2).flat, METRICS.items(), strict=True):
        for colour, name in enumerate(VARIANTS):
            curves = (read_curve(path, metric) for path in runs_of(folder, name))
            _draw_curves(axes, curves, f"C{colour}", VARIANTS[name][1])
        axes.set_title(title)
        axes.set_xlabel("images seen")
        axes.grid(visible=True, which="both", alpha=0.3)
        if title == "FID":
            axes.set_yscale("log")
            axes.legend(fontsize="small")
    return figure


def _draw_curves(axes: Axes, curves: Iterable[Curve], colour: str, title: str) -> None:
    for number, curve in enumerate(curve for curve in curves if curve):
        label = title if number == 0 else None
        axes.plot(*zip(*curve, strict=True), marker=".", color=colour, label=label)


if __name__ == "__main__":
    main()

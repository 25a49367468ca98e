"""`sagan evaluate` and `sagan train-classifier`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import sagan
from model.checkpoint import Checkpoint, ClassInfo
from model.config import GeneratorConfig
from model.generator import Generator
from tests.training.evaluation.networks import Colours, Quadrants, script


def run(*args: object) -> Result:
    return CliRunner().invoke(sagan.main, [str(a) for a in args])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained; it numbers its classes otherwise than the folder of pictures does."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(resolution=32, base_channels=8, num_classes=3))
    classes = (ClassInfo(name="other"), ClassInfo(name="yellow"), ClassInfo(name="blue"))
    return Checkpoint(generator, classes=classes).save(tmp_path_factory.mktemp("c") / "small")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures in each of two folders, blue and yellow."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for name, colour in (("blue", (0, 0, 200)), ("yellow", (200, 200, 0))):
        (folder / name).mkdir()
        for number in range(12):
            pixels = np.clip(np.array(colour) + random.integers(0, 50, (40, 40, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


@pytest.mark.slow
def test_an_evaluation_says_its_metrics_and_writes_them(
    checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    """Every line and the report name the features; a second run reads the data's statistics."""
    features = script(Colours(), tmp_path)
    args = (
        "evaluate", checkpoint, "--data", pictures, "--samples", 40, "--features", features,
        "--data-dir", tmp_path / "data", "--device", "cpu", "-o", tmp_path / "report.json",
    )  # fmt: skip
    result = run(*args)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["features"]["name"] == "Colours"
    assert report["data"]["pictures"] == 24
    assert (report["samples"], report["seeds"]) == (40, [0, 39])
    assert report["fid_by_class"].keys() == {"blue", "yellow"}
    assert f"{report['metrics']['fid']:.5g}" in result.output
    for title in ("FID", "KID", "Inception score", "intra-FID", "precision", "recall"):
        assert f"{title} (Colours features)" in result.output
    assert len(list((tmp_path / "data/statistics").iterdir())) == 1
    again = run(*args)
    assert json.loads((tmp_path / "report.json").read_text()) == report, again.output


@pytest.mark.slow
def test_a_trained_classifier_gives_the_features_of_an_evaluation(
    checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    """It says how it does on held-out pictures; its folder is what --features takes."""
    common = ("--data", pictures, "--data-dir", tmp_path / "data", "--device", "cpu")
    out = tmp_path / "blue-or-yellow"
    trained = run("train-classifier", out, *common, "--size", 32, "--epochs", 30)
    assert trained.exit_code == 0, trained.output
    facts = json.loads((out / "config.json").read_text())["facts"]
    assert facts["held_out_accuracy"] == 1.0
    result = run(
        "evaluate", checkpoint, *common, "--samples", 20, "--features", out, "--metrics", "fid,is"
    )
    assert result.exit_code == 0, result.output
    assert "FID (blue-or-yellow features)" in result.output
    assert "KID (" not in result.output
    assert "warning: the FID of 20 images in" in result.output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--metrics", "fid,fig"), "'fig' is none of fid, kid, is, intra-fid, pr"),
        (("--features", "nowhere.pt"), "nowhere.pt: neither a file nor a classifier's folder"),
        (("--samples", "2", "--metrics", "intra-fid"), "blue has 12 and 1: more --samples"),
        (("--samples", "1"), "1 is not in the range"),
        (("--samples", "9", "--metrics", "is"), "is takes at least 10 pictures and 10 samples"),
        (("--device", "abacus"), "abacus"),
        (("--data", "nowhere"), "nowhere: no such folder"),
        (("-o", "nowhere/report.json"), "there is no folder nowhere"),
        (
            ("-o", "/dev/full", "--metrics", "fid", "--samples", "2"),
            "/dev/full: No space left on device",
        ),
        (("--truncation", "9"), "9.0 is not in the range"),
    ],
)
def test_a_bad_value_is_one_clear_line(
    args: tuple[str, ...], message: str, checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    """The value is named; there is no traceback."""
    result = run(
        "evaluate", checkpoint, "--data", pictures, "--features", script(Colours(), tmp_path),
        "--data-dir", tmp_path, "--device", "cpu", *args,
    )  # fmt: skip
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert isinstance(result.exception, SystemExit)


def test_classes_that_the_checkpoint_does_not_know_are_named(
    pictures: Path, tmp_path: Path
) -> None:
    """A checkpoint is measured on data of its own classes."""
    result = run("evaluate", "picturebook-64", "--data", pictures, "--data-dir", tmp_path,
                 "--features", script(Colours(), tmp_path))  # fmt: skip
    assert result.exit_code == 1
    assert "the checkpoint has no class blue, yellow" in result.output


def test_missing_logits_are_found_before_the_data_are_read(
    checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    """Nothing is computed that would be thrown away."""
    result = run("evaluate", checkpoint, "--data", pictures, "--data-dir", tmp_path,
                 "--features", script(Quadrants(), tmp_path), "--metrics", "fid,is")  # fmt: skip
    assert result.exit_code == 1
    assert "Quadrants gives features but no logits" in result.output
    assert not (tmp_path / "statistics").exists()

"""`sagan train` from the command line: what it takes, and what it refuses in one line."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import sagan
from tests.training.evaluation.networks import Colours, script
from training.recipes.config import TrainConfig
from training.saving.run_folder import claim_run_folder
from training.saving.snapshots import images_of, snapshots


def train(*args: object) -> Result:
    return CliRunner().invoke(sagan.main, ["train", *map(str, args), "--device", "cpu"])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three class folders with twelve pictures each."""
    for label, name in enumerate(("ship", "tabby", "truck")):
        (tmp_path / "p" / name).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (8, 8), (80 * label, i, 0)).save(tmp_path / "p" / name / f"{i}.png")
    return tmp_path / "p"


@pytest.mark.slow
def test_a_prepared_folder_and_a_file_make_a_run(pictures: Path, tmp_path: Path) -> None:
    """prepare, then train with a preset, a TOML file and a flag; train.json records the result."""
    prepared, run = tmp_path / "prepared", tmp_path / "run"
    result = CliRunner().invoke(
        sagan.main, ["prepare", str(pictures), str(prepared), "--size", "32"]
    )
    assert result.exit_code == 0, result.output
    file = tmp_path / "recipe.toml"
    file.write_text(f'base_channels = 8\nbatch_size = 8\ndata = "{prepared}"\n')
    args = (run, "--preset", "laptop-32-residual16", "--config", file)
    result = train(*args, "--batch-size", 4, "--total-images", 8)
    assert result.exit_code == 0, result.output
    config = TrainConfig.model_validate_json((run / "train.json").read_text())
    assert (config.batch_size, config.generator.base_channels) == (4, 8)
    assert (config.generator.residual_at, config.generator.num_classes) == ((16,), 3)
    classes = json.loads((run / "checkpoint" / "config.json").read_text())["classes"]
    assert [c["name"] for c in classes] == ["ship", "tabby", "truck"]


def test_unknown_features_are_one_line(pictures: Path, tmp_path: Path) -> None:
    """Said before the first step."""
    result = train(tmp_path / "run", "--data", pictures, "--data-dir", tmp_path / "data",
                   "--size", 32, "--fid", "nowhere.pt")  # fmt: skip
    assert result.exit_code == 1
    assert "nowhere.pt: neither a file nor a classifier's folder" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_going_on_with_other_classes_is_refused_by_number_and_name(
    pictures: Path, tmp_path: Path
) -> None:
    """A class folder was added since; another was renamed."""
    options = ("--size", 32, "--base-channels", 8, "--batch-size", 4, "--total-images", 4)
    args = (tmp_path / "run", "--data", pictures, "--data-dir", tmp_path / "data", *options)
    assert train(*args).exit_code == 0
    (pictures / "zebra").mkdir()
    Image.new("RGB", (8, 8)).save(pictures / "zebra" / "1.png")
    result = train(*args)
    assert result.exit_code == 1
    assert "has learnt 3 classes, the pictures have 4 (new: zebra)" in result.output
    (pictures / "ship").rename(pictures / "aeroplane")
    shutil.rmtree(pictures / "zebra")
    result = train(*args)
    assert result.exit_code == 1
    assert "(new: aeroplane; missing: ship)" in result.output


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("--preset", "sagan-129"), "no preset is called 'sagan-129'; did you mean sagan-128"),
        (("--data", "nowhere"), "nowhere: no such folder"),
        (("--batch-size", "0"), "batch_size: input should be greater than 0, not 0"),
        (("--config", "none.toml"), "none.toml: No such file"),
        (
            ("--fid", "picturbook-64"),
            "picturbook-64: neither a file nor a classifier's folder nor "
            "one of picturebook-64, inception; did you mean picturebook-64?",
        ),
        (("--preset", "laptop-32-schedule-b"), "its variant schedule-b does not fit: "),
        (("--init", "picturebook-64", "--size", "32"), "--init gives the networks: leave out size"),
    ],
)
def test_a_bad_call_is_one_line_and_writes_nothing(
    args: tuple[str, ...], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run's folder, no prepared pictures."""
    monkeypatch.chdir(tmp_path)
    result = train("run", *args)
    assert result.exit_code in (1, 2)
    assert complaint in result.output
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_prepared_folder_of_another_size_says_what_to_do(pictures: Path, tmp_path: Path) -> None:
    """The default run is of 64 px."""
    prepared = tmp_path / "prepared"
    CliRunner().invoke(sagan.main, ["prepare", str(pictures), str(prepared), "--size", "32"])
    result = train(tmp_path / "run", "--data", prepared)
    assert result.exit_code == 1
    assert f"{prepared} is prepared at 32 px, the run is of 64: add --size 32" in result.output


@pytest.mark.slow
def test_a_dry_run_says_what_a_run_costs_and_writes_nothing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parameters, arithmetic, memory, steps and time; not even the pictures are prepared."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    options = ("--size", 32, "--base-channels", 8, "--batch-size", 4, "--total-images", 400)
    result = train("run", "--data", pictures, *options, "--dry-run")
    assert result.exit_code == 0, result.output
    shown = " ".join(result.output.replace("│", " ").split())
    for part in ("generator", "parameters", "GFLOP", "at least", "in 100 steps of 4", "images/s"):
        assert part in shown
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_each_snapshot_is_scored_and_the_best_is_kept(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With features of a file: an FID a snapshot in the log, the lowest in best.json and best/.

    Its snapshot stays, too. Going on without --fid says what is lost.
    """
    features = script(Colours(), tmp_path)
    run = tmp_path / "run"
    result = train(
        run, "--data", pictures, "--data-dir", tmp_path / "data", "--size", 32,
        "--base-channels", 8, "--batch-size", 4, "--total-images", 12,
        "--snapshot-every-images", 4, "--fid", features,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    scores = {r["images"]: r["fid_Colours"] for r in records if "fid_Colours" in r}
    assert sorted(scores) == [4, 8, 12]
    best = json.loads((run / "best.json").read_text())
    assert best["value"] == min(scores.values()) == scores[best["images"]]
    facts = json.loads((run / "best/config.json").read_text())["facts"]
    assert facts["images_seen"] == best["images"]
    assert facts["scores"]["fid_Colours"] == pytest.approx(best["value"], abs=1e-4)
    assert best["images"] in [images_of(path) for path in snapshots(run)]
    facts = json.loads((run / "checkpoint/config.json").read_text())["facts"]
    assert facts["scores"]["fid_Colours"] == pytest.approx(scores[12], abs=1e-4)
    assert "scored" not in caplog.text
    assert train(run, "--data-dir", tmp_path / "data", "--total-images", 16).exit_code == 0
    assert (
        "snapshots have scores (fid_Colours), later ones will have none: add --fid" in caplog.text
    )
    assert images_of(snapshots(run)[-1]) == 16


def test_another_recipe_is_refused_before_any_picture_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name of what differs, and with the command that goes on."""
    monkeypatch.chdir(tmp_path)
    shape = {"resolution": 64, "base_channels": 8, "num_classes": 10}
    config = TrainConfig.model_validate({"generator": shape, "discriminator": shape})
    Path("run").mkdir()
    claim_run_folder(Path("run"), config)
    asked = ("--preset", "laptop-64-paper", "--base-channels", 8, "--batch-size", 8)
    result = train("run", *asked)
    assert result.exit_code == 1
    assert "run was started with batch_size=16, asked is 8: leave the recipe out" in result.output
    assert "(sagan train run)" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["run"]

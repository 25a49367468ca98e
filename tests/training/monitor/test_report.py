"""What a run leaves of its course, through rollbacks, kills and full disks."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.training.full_disk import files_up_to
from training.errors import RunError
from training.monitor.report import Report
from training.monitor.tensorboard import TensorBoard

VALUES = {
    "images_per_s": 8.0, "discriminator_loss": 1.0, "generator_loss": 1.0, "real_accuracy": 0.5,
    "fake_accuracy": 0.5, "loader_wait": 0.0,
}  # fmt: skip

SHEET = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def logged(folder: Path) -> list[int]:
    return [json.loads(line)["images"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_what_comes_after_the_snapshot_gone_on_from_is_dropped(tmp_path: Path) -> None:
    """Going on after a kill and after a rollback; half a line goes too."""
    with Report(tmp_path, 100, 0) as report:
        for num_images in (8, 16, 24):
            report.record(num_images, VALUES)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"images": 1')
    with Report(tmp_path, 100, 16) as report:
        assert logged(tmp_path) == [8, 16]
        report.record(24, VALUES)
        report.rewind(8)
        report.record(16, VALUES)
    assert logged(tmp_path) == [8, 16]


def test_the_time_left_is_told_by_the_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """8 images a second, 4,800 to go."""
    with Report(tmp_path, 5000, 0) as report:
        report.record(200, VALUES)
    told = capsys.readouterr().out
    assert "200/5,000 images  8.0 images/s" in told
    assert "10 min left" in told


def test_where_pairs_are_compared_the_share_of_right_ones_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A logit's sign means nothing then, so no share of real and of fake is told."""
    values = {name: value for name, value in VALUES.items() if "accuracy" not in name}
    with Report(tmp_path, 5000, 0) as report:
        report.record(200, values | {"pair_accuracy": 0.9})
    assert "right 90% of pairs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("write", "file"),
    [
        (lambda report: report.record(8, VALUES), "log.jsonl"),
        (lambda report: report.save_sheets(8, {"samples": SHEET}), "samples/000000000008.png"),
    ],
)
def test_a_full_disk_is_one_line_that_names_the_file(
    write: Callable[[Report], None], file: str, tmp_path: Path
) -> None:
    """Whatever was being written, and closing the rest adds nothing to it."""
    with files_up_to(100), pytest.raises(RunError) as error, Report(tmp_path, 100, 0) as report:
        write(report)
    assert f"{tmp_path / file}: File too large; what was saved before is intact" in str(error.value)


def test_a_board_on_a_full_disk_is_an_error_and_no_run_that_hangs(tmp_path: Path) -> None:
    """TensorBoard's file is written by the caller, who hears of it at once."""
    board = TensorBoard(tmp_path, 0)
    names = {f"loss_{i}": 0.0 for i in range(100)}
    with files_up_to(1000), pytest.raises(RunError, match="tensorboard: File too large; what was"):
        board.add(8, names)
    board.close()

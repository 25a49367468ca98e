"""`benchmarks.gpu` without a GPU: every part runs; one that cannot does not stop the others."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import Part, run, write_report

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_every_part_runs_on_a_cpu(tmp_path: Path) -> None:
    """With the smallest shapes; the tests of a GPU are skipped, and the report says so."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--quick"]
    done = subprocess.run(
        [*command, "--minutes", "8", "--out", tmp_path], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    rows = [
        line for line in (tmp_path / "report.md").read_text().splitlines() if "| done |" in line
    ]
    assert [row.split("|")[1].strip() for row in rows] == ["tests", "card", "sampler-32", "service"]
    assert "needs a CUDA device" in (tmp_path / "tests.log").read_text()
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["training laptop-32"]["float32, batch 4"]["images_per_s"] > 0


def test_a_part_that_fails_or_takes_too_long_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its last line, or with its limit; the report has a row for each."""
    monkeypatch.setattr(gpu, "LEAST_S", 0.5)
    python = [sys.executable, "-c"]
    results = [
        run(Part("bad", [*python, "raise SystemExit('no such card')"], 1), tmp_path, 60),
        run(Part("slow", [*python, "import time; time.sleep(60)"], 1), tmp_path, 1),
        run(Part("silent", [*python, ""], 1, tmp_path / "silent.json"), tmp_path, 60),
        run(Part("late", [*python, ""], 1), tmp_path, 0.1),
        run(Part("good", [*python, ""], 1), tmp_path, 60),
    ]
    assert [result.state for result in results] == [
        "failed: no such card",
        "stopped after 1 s",
        "failed: it wrote no figures",
        "skipped: no time is left",
        "done",
    ]
    write_report(tmp_path, torch.device("cpu"), results)
    report = (tmp_path / "report.md").read_text()
    assert all(f"| {result.name} | {result.state} |" in report for result in results)

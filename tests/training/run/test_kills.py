"""A real run is killed -9 again and again, wherever it is; it can always be gone on from."""

import multiprocessing
import random
import time
from pathlib import Path

import pytest
import torch

from model.checkpoint import load_checkpoint
from tests.training.killable_run import CONFIG, go_on
from training.data.opening import open_data
from training.saving.snapshots import load_newest_snapshot, snapshots
from training.saving.state import TrainState

NUM_KILLS = 100
LONGEST_S = 0.5  # of life after the first sign of it
LEFTOVERS = ("*.partial", ".checkpoint-*")  # of files and folders that are being written


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_hundred_kills_leave_a_readable_snapshot_each(tmp_path: Path) -> None:
    """Killed at random moments, and every other time within a write, the run loses nothing saved.

    After each kill the newest snapshot and the exported checkpoint are read whole, and the next
    process goes on from that snapshot. At least ten kills must have left something half written.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.killable_run"])
    open_data("picturebook", tmp_path / "data", 32, CONFIG.num_pictures)
    run = tmp_path / "run"
    chance = random.Random(0)
    state = TrainState.start(CONFIG, torch.device("cpu"))
    seen, cut_short, exported = 0, 0, [0]
    for i in range(NUM_KILLS):
        process = context.Process(target=go_on, args=(tmp_path,))
        process.start()
        _wait_for_a_snapshot(run, seen, process)
        if i % 2:
            _wait_for_a_write(run)
        else:
            time.sleep(chance.uniform(0, LONGEST_S))
        process.kill()
        process.join()
        cut_short += bool(_leftovers(run))
        assert load_newest_snapshot(run, state) is not None
        assert state.num_images > seen  # each process went on from where the last was killed
        seen = state.num_images
        exported.append(int(str(load_checkpoint(run).facts["images_seen"])))
    assert cut_short >= 10
    assert exported == sorted(exported)
    assert exported[-1] <= seen


def _leftovers(run: Path) -> list[Path]:
    return [path for pattern in LEFTOVERS for path in run.glob(pattern)]


def _wait_for_a_write(run: Path) -> None:
    """Until something is being written; a moment is enough to be within it."""
    until_s = time.monotonic() + 60
    while not _leftovers(run):
        assert time.monotonic() < until_s, "nothing is written any more"


def _wait_for_a_snapshot(
    run: Path, num_images: int, process: multiprocessing.process.BaseProcess
) -> None:
    """Until the run has come further than `num_images` and has exported a checkpoint."""
    until_s = time.monotonic() + 60
    newest = f"snapshot-{num_images:012d}.pt"
    while not any(path.name > newest for path in snapshots(run)) or not list(
        run.glob("checkpoint/config.json")
    ):
        assert process.is_alive(), "the run ended by itself"
        assert time.monotonic() < until_s, "no snapshot came"
        time.sleep(0.01)

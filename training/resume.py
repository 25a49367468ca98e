"""A run's folder: its config, its snapshots, and going on from the newest whole one."""

import os
from pathlib import Path

import torch

from training.config import TrainConfig
from training.state import TrainState

CONFIG_FILE = "train.json"
KEPT_SNAPSHOTS = 2


class RunError(ValueError):
    """A run folder that cannot be gone on with."""


def claim_run_folder(folder: Path, config: TrainConfig) -> None:
    """Record `config` in `folder`, or make sure that it is the one recorded there.

    Only `total_images` and `snapshot_every_images` may differ: a run may be prolonged. Raises
    RunError naming what differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / CONFIG_FILE
    if file.exists():
        _check_same(TrainConfig.model_validate_json(file.read_text("utf-8")), config, folder)
    _write_atomically(file, (config.model_dump_json(indent=2) + "\n").encode())


def save_snapshot(folder: Path, state: TrainState) -> Path:
    """Write the state beside the older snapshots, whole or not at all, and drop the oldest."""
    path = folder / f"snapshot-{state.num_images:012d}.pt"
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state.state_dict(), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    for old in snapshots(folder)[:-KEPT_SNAPSHOTS]:
        old.unlink()
    return path


def load_newest_snapshot(folder: Path, state: TrainState) -> Path | None:
    """Bring `state` to the newest snapshot of `folder`; None where there is none.

    Raises RunError naming a snapshot that cannot be read.
    """
    paths = snapshots(folder)
    if not paths:
        return None
    try:
        loaded = torch.load(paths[-1], map_location=state.device, weights_only=True)
        state.load_state_dict(loaded)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{paths[-1]}: unreadable; delete it to go on from an older one") from error
    return paths[-1]


def snapshots(folder: Path) -> list[Path]:
    """The whole snapshots of `folder`, the newest last."""
    return sorted(folder.glob("snapshot-*.pt"))


def _check_same(recorded: TrainConfig, asked: TrainConfig, folder: Path) -> None:
    free = {"total_images", "snapshot_every_images"}
    before, now = recorded.model_dump(exclude=free), asked.model_dump(exclude=free)
    for name, value in before.items():
        if value != now[name]:
            raise RunError(
                f"{folder} was started with {name}={value!r}, asked is {now[name]!r}: "
                "use the same options to go on, or another folder"
            )


def _write_atomically(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)

"""A run's folder: its config, its snapshots, and going on from the newest whole one."""

import os
import pickle
import zipfile
from pathlib import Path

import torch

from training.config import TrainConfig
from training.state import TrainState

CONFIG_FILE = "train.json"
KEPT_SNAPSHOTS = 2
UNREADABLE = (
    EOFError, KeyError, OSError, RuntimeError, TypeError, ValueError,
    pickle.UnpicklingError, zipfile.BadZipFile,
)  # fmt: skip


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
        try:
            recorded = TrainConfig.model_validate_json(file.read_text("utf-8"))
        except ValueError as error:
            raise RunError(f"{file}: not a run's config; use another folder") from error
        _check_same(recorded, config, folder)
    _write_atomically(file, (config.model_dump_json(indent=2) + "\n").encode())


def save_snapshot(folder: Path, state: TrainState) -> Path:
    """Write the state beside the older snapshots, whole or not at all, and drop the oldest.

    Raises RunError for a state that is not finite: the older snapshots are kept instead.
    """
    _require_finite(state)
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
        _require_intact(paths[-1])
        loaded = torch.load(paths[-1], map_location=state.device, weights_only=True)
        state.load_state_dict(loaded)
    except UNREADABLE as error:
        raise RunError(f"{paths[-1]}: unreadable; delete it to go on from an older one") from error
    return paths[-1]


def snapshots(folder: Path) -> list[Path]:
    """The whole snapshots of `folder`, the newest last."""
    return sorted(folder.glob("snapshot-*.pt"))


def _require_finite(state: TrainState) -> None:
    for network in (state.generator, state.discriminator):
        for name, parameter in network.named_parameters():
            if not parameter.isfinite().all():
                raise RunError(
                    f"{type(network).__name__} {name} is no longer finite after "
                    f"{state.num_images:,} images; not saved. The last snapshot is whole: go on "
                    "from it in a new folder with lower rates or in float32"
                )


def _require_intact(path: Path) -> None:
    """Raises BadZipFile where a part's checksum is off, which torch.load does not check."""
    with zipfile.ZipFile(path) as archive:
        if (broken := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{broken} does not match its checksum")


def _check_same(recorded: TrainConfig, asked: TrainConfig, folder: Path) -> None:
    free = {"total_images", "snapshot_every_images"}
    before, now = _flat(recorded.model_dump(exclude=free)), _flat(asked.model_dump(exclude=free))
    for name, value in before.items():
        if value != now[name]:
            raise RunError(
                f"{folder} was started with {name}={value!r}, asked is {now[name]!r}: "
                "use the same options to go on, or another folder"
            )


def _flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    """{"generator": {"z_dim": 1}} -> {"generator.z_dim": 1}."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}  # type: ignore[arg-type]
    return flat


def _write_atomically(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)

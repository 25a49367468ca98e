"""Best: what the best snapshot of a run scored, kept in `best.json`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from training.saving.disk import write_whole_bytes

BEST_FILE = "best.json"


class Best(BaseModel):
    """What the best snapshot of a run scored, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    value: float
    images: int

    def beats(self, other: "Best | None") -> bool:
        """Whether this is lower than `other`, or there is none by the same metric."""
        return other is None or other.metric != self.metric or self.value < other.value


def write_best(folder: Path, best: Best) -> None:
    """Record the best so far; raises RunError where the disk does not take it."""
    write_whole_bytes(folder / BEST_FILE, f"{best.model_dump_json()}\n".encode())


def read_best(folder: Path) -> Best | None:
    """What the best snapshot so far scored; None before the first, or where that is not told."""
    try:
        return Best.model_validate_json((folder / BEST_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None

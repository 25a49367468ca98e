"""The log of a run: `log.jsonl`, a line of JSON a record, by images seen."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from training.saving.disk import write_whole_bytes, writing

LOG_FILE = "log.jsonl"


class RunLog:
    """Appends records; raises RunError where the disk does not take one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG_FILE

    def add(self, num_images: int, values: Mapping[str, float]) -> None:
        """Append what was seen after `num_images`."""
        record = {"images": num_images} | {n: _finite_or_none(v) for n, v in values.items()}
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def rewind(self, num_images: int) -> None:
        """Drop the records of later images, which are to be seen anew, and half a last line."""
        if not self.path.exists():
            return
        lines = self.path.read_text("utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and _images_of(line) <= num_images]
        if kept != lines:
            write_whole_bytes(self.path, "".join(kept).encode())


def _images_of(line: str) -> float:
    """Infinity for what is no record: a power cut can leave such a line."""
    try:
        return float(json.loads(line)["images"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _finite_or_none(value: float) -> float | None:
    """JSON knows no NaN."""
    return value if math.isfinite(value) else None

"""The processes that decode."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.data import decoding

ROOT = Path(__file__).parents[3]


def test_decoding_needs_no_torch() -> None:
    """So that a process for each core starts quickly and stays small."""
    code = "import sys, training.data.decoding; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# Pictures that kill their process always, unless they are alone, or never.
KILLING = """
import os, signal, sys, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from training.data import decoding

@dataclass(frozen=True)
class Deadly:
    name: str
    place: Path
    def read(self, size):
        time.sleep(0.05)
        together = len(list(self.place.glob("decoding-*"))) > 1
        if self.name == "always" or (self.name == "together" and together):
            os.kill(os.getpid(), signal.SIGKILL)
        return np.full((size, size, 3), 7, np.uint8)

if __name__ == "__main__":
    file, names = Path(sys.argv[1]), sys.argv[2:]
    array = decoding.ArrayFile(file, 0, 2)
    file.write_bytes(bytes(len(names) * array.row_bytes))
    chunks = [
        decoding.Chunk(i, tuple(Deadly(name, file.parent) for name in names[i : i + 2]), array)
        for i in range(0, len(names), 2)
    ]
    decoding._num_cores = lambda: 2
    for chunk in sorted(decoding.decode_all(chunks, len(chunks)), key=lambda chunk: chunk.start):
        print(chunk.start, *((one.index, one.reason) for one in chunk.unreadable))
"""


def decoded(tmp_path: Path, *names: str) -> list[str]:
    script = tmp_path / "killing.py"
    script.write_text(KILLING)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "array", *names],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100,
        check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_a_picture_that_kills_its_process_is_left_out_and_the_others_are_decoded(
    tmp_path: Path,
) -> None:
    """As when the system kills a process for its memory; it is tried alone before that is said."""
    lines = decoded(tmp_path, "never", "always", "never", "never", "always", "never")
    killed = "its decoding process was killed, probably for lack of memory"
    assert lines == [f"0 {(1, killed)}", "2", f"4 {(4, killed)}"]
    rows = (tmp_path / "array").read_bytes()
    assert [rows[12 * i] for i in range(6)] == [7, 0, 7, 7, 0, 7]


def test_where_processes_are_killed_together_fewer_go_on(tmp_path: Path) -> None:
    """Each picture can be decoded alone: nothing is left out."""
    assert decoded(tmp_path, *["together"] * 8) == ["0", "2", "4", "6"]


def test_as_many_processes_run_as_the_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The free memory is a number of this machine's; half of it allows half the processes."""
    free = decoding._available_bytes()
    assert 0 < free <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for memory, expected in (
        (10 * decoding.PROCESS_BYTES, 8),
        (2 * decoding.PROCESS_BYTES, 2),
        (0, 1),
    ):
        monkeypatch.setattr(decoding, "_available_bytes", lambda memory=memory: memory)
        monkeypatch.setattr(decoding, "_num_cores", lambda: 8)
        assert decoding.num_processes(100) == expected

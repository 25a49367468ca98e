"""The processes that decode."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_decoding_needs_no_torch() -> None:
    """So that a process for each core starts quickly and stays small."""
    code = "import sys, training.data.decoding; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


DYING = """
import os, signal, sys
from dataclasses import dataclass
from pathlib import Path
from training.data import decoding
from training.data.pictures import RawPicture

@dataclass(frozen=True)
class Deadly:
    name: str = "deadly"
    def read(self, size):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_bytes(bytes(2 * 12))
    array = decoding.ArrayFile(file, 0, 2)
    chunks = [decoding.Chunk(i, (Deadly(),), array) for i in range(2)]
    decoding._num_cores = lambda: 2
    list(decoding.decode_all(chunks, 2))
"""


def test_a_process_that_dies_ends_the_work_instead_of_hanging_it(tmp_path: Path) -> None:
    """As when the system kills the largest process for its memory."""
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "array"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "BrokenProcessPool" in done.stderr

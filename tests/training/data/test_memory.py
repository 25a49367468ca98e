"""A run's memory does not grow with its data."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training.data.opening import picturebook_source
from training.data.prepared import read_description
from training.data.preparing import prepare

ROOT = Path(__file__).parents[3]
SIZE = 64
TRAIN = """
import sys
from pathlib import Path
import torch
from training.data.opening import open_data
from training.run.loop import train
from training.recipes.presets import preset
from training.recipes.recipe import config_of

folder, run = map(Path, sys.argv[1:])
data = open_data(str(folder), folder, 64, 1)
values = preset("laptop-64") | {"base_channels": 8, "total_images": 320, "precision": "float32"}
train(config_of(values, 10), data, run, torch.device("cpu"))
status = Path("/proc/self/status").read_text()
print(len(data), next(l.split()[1] for l in status.splitlines() if l.startswith("RssAnon")))
"""


def grown(folder: Path, num_pictures: int) -> None:
    """Let a prepared folder have so many pictures: black ones, which take no room on the disk."""
    about = read_description(folder)
    with (folder / "images.npy").open("r+b") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (num_pictures, SIZE, SIZE, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + num_pictures * 3 * SIZE**2)
    np.save(folder / "labels.npy", np.arange(num_pictures) % len(about.classes))
    description = about.model_copy(update={"num_pictures": num_pictures})
    (folder / "data.json").write_text(description.model_dump_json())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_hundred_times_the_pictures_take_no_more_memory(tmp_path: Path) -> None:
    """Twenty steps on 25 MB and on 2.5 GB: the process's own memory stays within 32 MB."""
    prepare(picturebook_source(20), tmp_path / "data", SIZE)
    memory_kib = []
    for num_pictures in (2_000, 200_000):
        grown(tmp_path / "data", num_pictures)
        done = subprocess.run(
            [sys.executable, "-c", TRAIN, tmp_path / "data", tmp_path / f"run-{num_pictures}"],
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        seen, kib = done.stdout.split()[-2:]
        assert int(seen) == num_pictures
        memory_kib.append(int(kib))
    assert memory_kib[1] - memory_kib[0] < 32 * 1024, memory_kib

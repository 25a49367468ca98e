"""What an image installs: every file of the packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_packages(tmp_path: Path) -> None:
    """The Dockerfile installs no links to this folder: what the wheel lacks, an image lacks."""
    listed = [
        "git",
        "ls-files",
        "-z",
        "app",
        "model",
        "training",
        "*.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    ]
    tracked = subprocess.check_output(listed, cwd=ROOT, text=True).split("\0")[:-1]
    for name in tracked:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", "wheels", "."]
    subprocess.run(pip, cwd=tmp_path, check=True, capture_output=True)
    [wheel] = (tmp_path / "wheels").iterdir()
    with ZipFile(wheel) as file:
        packed = set(file.namelist())
    needed = {name for name in tracked if name.startswith(("app/", "model/", "training/"))}
    assert needed | {"class_names.py", "sagan.py"} <= packed

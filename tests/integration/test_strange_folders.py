"""`sagan serve` in a folder of somebody else: nothing that lies there is executed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model import Checkpoint, ClassInfo, Generator, GeneratorConfig
from tests.integration.service import Service

STRANGE = ("model.py", "app/__init__.py", "training.py", "redis.py", "random.py", "queue.py")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained model, saved."""
    generator = Generator(GeneratorConfig(resolution=32, base_channels=4, num_classes=1))
    classes = (ClassInfo(name="golden_retriever"),)
    return Checkpoint(generator, classes=classes).save(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A folder with modules that have the names of ours, each of which says that it ran."""
    for name in STRANGE:
        module = tmp_path / name
        module.parent.mkdir(exist_ok=True)
        ran = tmp_path / "executed"
        module.write_text(f"open({str(ran)!r}, 'a').write(__name__ + ' ')\nraise SystemExit(1)\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("path", ["", ":/nowhere"], ids=["unset", "empty part"])
def test_no_module_of_the_working_directory_is_executed(
    checkpoint: Path, strange: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the children's `-m`, nor because PYTHONPATH leads to the folder by accident.

    `PYTHONPATH=$PYTHONPATH:/some/where` has an empty part where the variable was not set before,
    and Python takes an empty part for the working directory.
    """
    monkeypatch.setenv("PYTHONPATH", path)
    service = Service("--model", f"tiny={checkpoint}", folder=strange)
    try:
        assert "sagan is ready" in service.greeting
        assert service.draw(7).status_code == 200
    finally:
        service.close()
    assert not (strange / "executed").exists(), (strange / "executed").read_text()


@pytest.mark.slow
def test_a_relative_checkpoint_is_still_found_from_the_working_directory(
    checkpoint: Path, strange: Path
) -> None:
    """The working directory is where paths begin, as ever."""
    where = os.path.relpath(checkpoint, strange)
    service = Service("--model", f"tiny={where}", folder=strange)
    try:
        assert service.draw(7).status_code == 200
    finally:
        service.close()

"""The `sagan` command: what it imports, completes, and says of errors, over all its commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

import sagan
from class_names import ClassNames
from model.checkpoint import Checkpoint, ClassInfo
from model.checkpoint_folder import read_classes
from model.config import GeneratorConfig
from model.generator import Generator

HEAVY = ("torch", "numpy", "safetensors", "isal")
REPORT = f"""
import sys, sagan
try:
    sagan.main(prog_name="sagan")
finally:
    sys.stderr.write("loaded: " + " ".join(m for m in {HEAVY!r} if m in sys.modules))
"""
every_command = pytest.mark.parametrize("name", sagan.COMMANDS)


def commands() -> Mapping[str, click.Command]:
    """Each command and each command of a group, by what one types."""
    found: dict[str, click.Command] = {}
    for name in sagan.COMMANDS:
        command = sagan.main.get_command(click.Context(sagan.main), name)
        assert command is not None
        found[name] = command
        if isinstance(command, click.Group):
            found |= {f"{name} {below}": one for below, one in command.commands.items()}
    return found


def loaded_by(*args: str, **environment: str) -> tuple[str, str]:
    """What `sagan ARGS` prints, and which of the heavy packages it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *args],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    _, found, loaded = done.stderr.rpartition("loaded:")
    assert found, done.stderr
    return done.stdout, loaded.strip()


@every_command
def test_help_imports_neither_torch_nor_numpy(name: str) -> None:
    """They take seconds, and --help is what one types first."""
    shown, loaded = loaded_by(name, "--help")
    assert shown.startswith(f"Usage: sagan {name} ")
    assert loaded == ""


def completed(line: str, **environment: str) -> tuple[list[str], str]:
    """What bash offers for the last word of the line, and what that has imported."""
    words = line.split(" ")
    shown, loaded = loaded_by(
        _SAGAN_COMPLETE="bash_complete",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
        **environment,
    )
    return shown.split(), loaded


@pytest.fixture(scope="module")
def dogs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = Generator(GeneratorConfig(resolution=32, base_channels=8, num_classes=4))
    classes = (
        ClassInfo(name="golden retriever", aliases=("goldie",)),
        ClassInfo(name="German shepherd"),
        ClassInfo(name="St. John's dog; $(rm)"),
        ClassInfo(name="Welpe"),
    )
    return Checkpoint(generator, classes=classes).save(tmp_path_factory.mktemp("c") / "dogs")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("sagan gen", ["plain,generate"]),
        ("sagan generate --trunc", ["plain,--truncation"]),
        ("sagan generate --class zeb", ["plain,zebra"]),
        ("sagan generate --model pic", ["plain,picturebook-64"]),
        ("sagan generate --device c", ["plain,cpu"]),
        ("sagan inspect pic", ["plain,picturebook-64"]),
        ("sagan inspect /no", ["dir,/no"]),
        ("sagan train --preset sagan-64", ["plain,sagan-64"]),
        ("sagan evaluate pic", ["plain,picturebook-64"]),
        ("sagan dead-letters r", ["plain,retry"]),
        ("sagan serve --log-level d", ["plain,debug"]),
        ("sagan genrate --cl", []),
        ("sagan generate --model /nowhere --class z", []),
    ],
)
def test_the_shell_completes_commands_flags_and_values(line: str, offered: list[str]) -> None:
    """By click's own completion for bash, and without torch."""
    shown, loaded = completed(line)
    assert [one for one in shown if "cuda" not in one] == offered
    assert loaded == ""


def test_classes_are_those_of_the_model_that_the_line_names(dogs: Path) -> None:
    """By name or alias, and only what a shell takes without quotes and `--class` understands."""
    before, loaded = completed(f"sagan generate --model {dogs} --class G")
    assert before == ["plain,golden_retriever", "plain,German_shepherd"]
    assert loaded == ""
    by_alias, _ = completed(f"sagan walk --model {dogs} --class 0 --to-class gol")
    assert by_alias == ["plain,golden_retriever"]
    typed, _ = completed(f"sagan attention --model {dogs} --class ")
    assert typed == ["plain,golden_retriever", "plain,German_shepherd", "plain,2", "plain,Welpe"]
    names = ClassNames(read_classes(dogs))
    assert [names.labels(name.removeprefix("plain,")) for name in typed] == [(0,), (1,), (2,), (3,)]


def test_an_imported_model_is_completed(
    dogs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the user's models folder."""
    (tmp_path / "sagan" / "models").mkdir(parents=True)
    (tmp_path / "sagan" / "models" / "my-dogs").symlink_to(dogs)
    shown, _ = completed("sagan generate --model my", XDG_DATA_HOME=str(tmp_path))
    assert shown == ["plain,my-dogs"]

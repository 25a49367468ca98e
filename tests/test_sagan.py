"""The `sagan` command: what it imports, completes, and says of errors, over all its commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import sagan
from app.settings import CONFIGURATION_EXIT
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
HELP = f"""
import sys, click, sagan
for name in sagan.COMMANDS:
    command = sagan.main.get_command(click.Context(sagan.main), name)
    below = list(command.commands) if isinstance(command, click.Group) else []
    for words in ([name], *([name, one] for one in below)):
        sagan.main([*words, "--help"], prog_name="sagan", standalone_mode=False)
        print("loaded after", " ".join(words) + ":", [m for m in {HEAVY!r} if m in sys.modules])
"""


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


def test_help_imports_neither_torch_nor_numpy() -> None:
    """They take seconds, and --help is what one types first; each command after the other."""
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    found = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert {name: found[f"loaded after {name}"] for name in commands()} == dict.fromkeys(
        commands(), "[]"
    )
    assert done.stdout.count("Usage: sagan ") == len(commands())


@pytest.mark.parametrize(
    "command",
    [
        "generate --class zebra -o a.png",
        "train RUN",
        "evaluate picturebook-64",
        "import auto a.pth",
    ],
)
def test_a_package_that_is_not_installed_is_named(command: str, tmp_path: Path) -> None:
    """Also one that is imported only when the command runs: an API's machine has no torch."""
    program = "import sys; sys.modules['torch'] = None; import sagan; sagan.main(prog_name='sagan')"
    done = subprocess.run(
        [sys.executable, "-c", program, *command.split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(sagan.__file__).parent)},
    )
    name = command.split()[0]
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: `sagan {name}` needs the package torch, which is not")


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


@pytest.fixture(scope="module")
def damaged(dogs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose weights are cut off."""
    folder = tmp_path_factory.mktemp("c") / "damaged"
    shutil.copytree(dogs, folder)
    (folder / "model.safetensors").write_bytes((dogs / "model.safetensors").read_bytes()[:999])
    return folder


def run(*args: object) -> Result:
    return CliRunner().invoke(sagan.main, [str(one) for one in args], prog_name="sagan")


def require_error(result: Result, status: int) -> str:
    """The one line of the error, which is the last on stderr; nothing is on stdout."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    *before, line = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert not before or before[0].startswith("Usage: sagan")
    return line.removeprefix("Error: ")


@pytest.mark.parametrize("name", commands())
def test_a_wrong_flag_is_a_usage_error(name: str) -> None:
    """Status 2, in the words of every other command."""
    line = require_error(run(*name.split(), "--no-such-flag"), 2)
    assert line.startswith("No such option '--no-such-flag'.")


@pytest.mark.parametrize("name", ["serve", "api", "worker", "dead-letters list"])
def test_a_wrong_setting_is_a_configuration_error(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 2: the same command would fail again."""
    monkeypatch.setenv("SAGAN_PORT", "eighty")
    line = require_error(run(*name.split()), CONFIGURATION_EXIT)
    assert line.startswith("SAGAN_PORT='eighty' is not valid: ")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("generate --class yak -o a.png", "no class is called 'yak'; there are: "),
        ("generate --class zebra --device abacus -o a.png", "device 'abacus' is not usable here"),
        ("walk --class zebra --to-class yak -o a.png", "no class is called 'yak'"),
        ("attention --class zebra --at 64 0 -o a.png", "query (64, 0) is outside"),
        ("classes --model picturebook-6", "did you mean picturebook-64?"),
        ("inspect picturebook-6", "did you mean picturebook-64?"),
        ("evaluate picturebook-6", "did you mean picturebook-64?"),
        ("train RUN --init picturebook-6", "did you mean picturebook-64?"),
        ("train RUN --preset sagan-12", "no preset is called 'sagan-12'"),
        ("train RUN --batch-size 0", "batch_size"),
        ("train RUN --init a --init b", "Invalid value for '--init': given 2 times (a, b)"),
        ("train RUN --device abacus", "device 'abacus' is not usable here"),
        ("train-classifier OUT --device abacus", "device 'abacus' is not usable here"),
        ("prepare pictures OUT --size 65", "'65' is not one of '32', '64', '128', '256'"),
        ("import studiogan", "which file? sagan import studiogan FILE-or-URL"),
        ("import studigan a.pth", "'studigan' is not one of"),
        ("api-key a:b", "Invalid value for NAME"),
        ("doctor --device abacus", "'abacus' is not one of"),
        ("dead-letters lits", "No such command 'lits'"),
        ("presents", "no command is called 'presents'; did you mean presets?"),
    ],
)
def test_a_name_or_value_that_is_not_there_is_status_2(
    command: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, with what was probably meant; nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert says in require_error(run(*command.split()), 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("generate --model DAMAGED --class 0 -o a.png", "not readable as safetensors"),
        ("walk --model DAMAGED --class 0 --to-class 1 -o a.png", "not readable as safetensors"),
        ("attention --model DAMAGED --class 0 --at 0 0 -o a.png", "not readable as safetensors"),
        ("inspect DAMAGED", "not readable as safetensors"),
        ("evaluate DAMAGED", "not readable as safetensors"),
        ("train RUN --init DAMAGED", "not readable as safetensors"),
        ("classes --model .", "config.json: not readable as JSON"),
        ("prepare nowhere OUT --size 64", "nowhere: no such folder"),
        ("train-classifier OUT --data nowhere", "nowhere: no such folder"),
        ("import auto nowhere.pth", "nowhere.pth"),
        ("dead-letters list --redis-url redis://127.0.0.1:9", "the queue does not answer"),
    ],
)
def test_what_fails_is_status_1(
    command: str, says: str, damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that says what, without a traceback."""
    monkeypatch.chdir(tmp_path)
    line = require_error(run(*command.replace("DAMAGED", str(damaged)).split()), 1)
    assert says in line


def test_a_server_without_an_answer_has_a_status_of_its_own(tmp_path: Path) -> None:
    """`verify` has 1 and 2 for what it says of files."""
    (tmp_path / "a.png").write_bytes(b"x")
    line = require_error(run("verify", tmp_path / "a.png", "--url", "http://127.0.0.1:9"), 3)
    assert "does not answer" in line

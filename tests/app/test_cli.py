"""The flags of `serve`, `api` and `worker`: what their help says is so."""

import re
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.cli import api, serve, worker
from app.settings import CONFIGURATION_EXIT, ModelSource, Settings

IN_WORDS = {
    "redis_url", "model", "models_dir", "model_memory_mb", "workers", "data_dir", "public_url",
    "api_keys_file", "rate_limit", "client_max_images", "cors_origins", "access_log",
}  # fmt: skip
HANDBOOK = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.mark.parametrize("command", [serve, api, worker])
def test_the_defaults_that_help_shows_are_those_of_the_settings(command: click.Command) -> None:
    """Each flag shows one; where the setting's own would tell nobody anything, in words."""
    for option in command.params:
        assert isinstance(option, click.Option)
        assert option.name is not None
        shown = re.search(r"\[default: (.+)\]$", option.help or "")
        assert shown is not None, option.name
        default = Settings.model_fields[option.name].default
        if option.name in IN_WORDS:
            assert not default
        else:
            assert type(default)(shown[1]) == default, option.name


def test_every_setting_is_a_flag_or_the_handbook_says_why_not() -> None:
    """One or the other, and each once; no flag shows a secret to whoever lists the processes."""
    flags = {option.name for command in (api, serve, worker) for option in command.params}
    section = HANDBOOK.read_text().partition("## Which settings are not flags?")[2]
    rows = re.findall(r"^\| (`SAGAN_[^|]+) \|", section.partition("\n## ")[0], re.MULTILINE)
    told = [name.lower() for row in rows for name in re.findall(r"`SAGAN_([A-Z_]+)`", row)]
    assert sorted(told) == sorted(set(Settings.model_fields) - flags)
    assert {"api_keys", "webhook_secret"} <= set(told)


def test_flags_reach_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where the environment says otherwise; a flag that is not given leaves it to that."""
    monkeypatch.setenv("SAGAN_ACCESS_LOG", "1")
    monkeypatch.setenv("SAGAN_RATE_LIMIT", "5/hour")
    given: list[Settings] = []
    monkeypatch.setattr("app.api.main.main", given.append)
    keys = str(tmp_path / "keys")
    flags = ["--no-access-log", "--api-keys-file", keys, "--client-max-images", "7"]
    for line in (flags, []):
        assert CliRunner().invoke(api, line).exit_code == 0
    assert [one.access_log for one in given] == [False, True]
    assert [one.api_keys_file for one in given] == [Path(keys), None]
    assert [one.client_max_images for one in given] == [7, None]
    assert [one.rate_limit for one in given] == ["5/hour"] * 2


@pytest.mark.parametrize("command", [serve, worker])
@pytest.mark.parametrize(
    ("flags", "models"),
    [
        (["a=x", "b=y"], [("a", "x"), ("b", "y")]),
        (["a=x,b=y", "c=z"], [("a", "x"), ("b", "y"), ("c", "z")]),
        (["x", "b=y=z"], [(None, "x"), ("b", "y=z")]),
        ([], [(None, None)]),
    ],
)
def test_the_flag_of_a_model_may_be_repeated(
    command: click.Command,
    flags: Sequence[str],
    models: Sequence[tuple[str | None, str | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None is dropped; commas separate several too."""
    given: list[Settings] = []
    monkeypatch.setattr("app.worker.main.main", given.append)
    monkeypatch.setattr("app.local.supervisor.serve", given.append)
    done = CliRunner().invoke(command, [part for one in flags for part in ("--model", one)])
    assert done.exit_code == 0, done.output
    assert given[0].models == tuple(ModelSource(*one) for one in models)


def test_one_name_for_two_models_is_refused_by_name() -> None:
    """Instead of serving the last one alone."""
    done = CliRunner().invoke(serve, ["--model", "dogs=x", "--model", "dogs=y"])
    assert done.exit_code == CONFIGURATION_EXIT
    assert "two models have the same name, 'dogs': give each a name of its own" in done.output

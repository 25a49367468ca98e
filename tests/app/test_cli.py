"""The flags of `serve`, `api` and `worker`: what their help says is so."""

import re
from collections.abc import Sequence

import click
import pytest
from click.testing import CliRunner

from app.cli import api, serve, worker
from app.settings import CONFIGURATION_EXIT, ModelSource, Settings

IN_WORDS = {"redis_url", "model", "models_dir", "model_memory_mb", "workers", "data_dir"}


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

"""The flags of `serve`, `api` and `worker`: what their help says is so."""

import re

import click
import pytest

from app.cli import api, serve, worker
from app.settings import Settings

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

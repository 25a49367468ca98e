"""Flags made of TrainConfig's fields."""

from click.testing import CliRunner

import sagan
from training.cli.options import HEADINGS
from training.recipes.config import TrainConfig


def test_every_field_of_a_run_is_a_described_flag_or_comes_from_elsewhere() -> None:
    """The networks come from the recipe, `init` from --init; all else stands under a heading."""
    flags = {name for names in HEADINGS.values() for name in names}
    assert flags == set(TrainConfig.model_fields) - {"generator", "discriminator", "init"}
    assert all(TrainConfig.model_fields[name].description for name in flags)


def test_the_help_has_headings_and_the_defaults_of_a_run_without_a_preset() -> None:
    """auto and batch 16, as laptop-64 says."""
    text = CliRunner().invoke(sagan.main, ["train", "--help"]).output
    for heading in ("Where the recipe comes from", "Networks", *HEADINGS, "This machine"):
        assert f"\n{heading}" in text
    assert "--flip / --no-flip" in text
    assert "[default: auto]" in " ".join(text.split())
    assert "[default: 500,000]" in " ".join(text.split())

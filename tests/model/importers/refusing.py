"""The command as refusals are tested with it, and the weights of a file that would be taken."""

from pathlib import Path

import torch
from click.testing import CliRunner, Result

from model.importers.cli import import_command
from tests.model.importers import layouts
from tests.model.importers.layouts import write_generator
from tests.model.importers.writers import State

KEY = "blocks.1.0.conv2d1.weight_orig"


def studiogan_state() -> State:
    torch.manual_seed(0)
    return write_generator(layouts.STUDIOGAN, (16, 8, 24, 16), [1], 5, 6)[0]


def run(*args: object) -> Result:
    return CliRunner().invoke(import_command, [str(a) for a in args])


def require_refusal(result: Result, out: Path, *fragments: str) -> None:
    """One line with the fragments, and no folder."""
    assert result.exit_code == 1, result.output
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
    for fragment in fragments:
        assert fragment in result.output
    assert not out.exists()
    assert not list(out.parent.glob(".*"))

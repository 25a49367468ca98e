"""docs/quickstart.ipynb: it runs, and what is committed is what it shows."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest
from nbformat import NotebookNode

from tests.integration.service import Service
from tests.notebook import NOTEBOOK, WIDGET, code_cells, executed, read, without_state

MAX_BYTES = 400_000


def kinds(notebook: NotebookNode) -> list[list[str]]:
    """The media types that each cell shows."""
    return [
        sorted(kind for one in cell.outputs for kind in one.get("data", {"text": ""}))
        for cell in code_cells(notebook)
    ]


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """Against a real service; its committed outputs are of the same kinds, its widget is live."""
    with closing(Service()) as service:
        ran = executed(service.url, tmp_path)
    shown = [kind for cell in kinds(ran) for kind in cell]
    assert WIDGET in shown
    assert shown.count("image/png") >= 3
    (widget,) = (
        state
        for state in ran.metadata.widgets["application/vnd.jupyter.widget-state+json"][
            "state"
        ].values()
        if state["model_module"] == "anywidget"
    )
    assert "attention_canvas.js" in widget["state"]["_modules"]
    assert kinds(read()) == kinds(without_state(ran))


def test_the_committed_notebook_reads_well_on_a_forge() -> None:
    """Small, with pictures, run in order, without errors and paths of the machine it ran on."""
    text, notebook = NOTEBOOK.read_text(), read()
    assert len(text) < MAX_BYTES
    assert not re.search(r"/(home|root|tmp|work|usr|var|Users)/|0x[0-9a-f]{8}", text)
    assert [cell.execution_count for cell in code_cells(notebook)] == list(
        range(1, len(code_cells(notebook)) + 1)
    )
    assert "image/png" in {kind for cell in kinds(notebook) for kind in cell}
    assert not [one for cell in code_cells(notebook) for one in cell.outputs if "ename" in one]

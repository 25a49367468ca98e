"""Runs docs/quickstart.ipynb against a service.

`python -m tests.notebook` runs it on the checkpoint that ships and writes its outputs into it.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import cast

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.integration.service import Service

NOTEBOOK = Path(__file__).parents[1] / "docs" / "quickstart.ipynb"
SERVER = "http://127.0.0.1:8000"  # where the notebook expects the service
WIDGET = "application/vnd.jupyter.widget-view+json"
CELL_TIMEOUT_S = 120


def read() -> NotebookNode:
    """The notebook as it is committed; raises ValidationError if it is none."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    return cast(NotebookNode, notebook)


def executed(url: str, folder: Path) -> NotebookNode:
    """The notebook after it ran from top to bottom in a folder, with the service at `url`.

    Raises CellExecutionError if a cell fails.
    """
    notebook = read()
    for cell in code_cells(notebook):
        cell.source = cell.source.replace(SERVER, url)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=CELL_TIMEOUT_S, resources=resources).execute()
    for cell in code_cells(notebook):
        cell.source = cell.source.replace(url, SERVER)
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Its cells with code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def without_state(notebook: NotebookNode) -> NotebookNode:
    """Leaves out what depends on the run: widgets, whose state has megabytes, and times."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in code_cells(notebook):
        cell.metadata = {}
        cell.outputs = [one for one in cell.outputs if WIDGET not in one.get("data", {})]
    return notebook


def main() -> None:
    """Writes the notebook with the outputs of a run."""
    with closing(Service()) as service:
        notebook = without_state(executed(service.url, NOTEBOOK.parent))
    nbformat.write(notebook, NOTEBOOK)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()

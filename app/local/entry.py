"""`python -P -m app.local.entry MODULE FD`: imports a module, reports that to FD, runs its `main`.

If the import fails, the exit status asks the parent not to restart: it would fail again.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from app.settings import CONFIGURATION_EXIT

IMPORTED = b"1"  # written to FD, a pipe of the parent's


def main(arguments: Sequence[str]) -> int:
    """Imports the module and runs its `main`; returns the exit status."""
    name, report = arguments[0], int(arguments[1])
    try:
        module = importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - an import can raise anything
        if not isinstance(error, ImportError):
            traceback.print_exc()
        sys.stderr.write(
            f"Error: {name} cannot be imported: {type(error).__name__}: {error} "
            f"(`make serve` installs what is missing; this is {sys.executable})\n"
        )
        return CONFIGURATION_EXIT
    os.write(report, IMPORTED)
    os.close(report)
    return int(module.main() or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

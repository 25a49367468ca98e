"""The lowest versions that pyproject.toml allows, as constraints for pip.

`python -m tests.minima` prints a line for each package; `make test-lowest` installs these.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
PINS = PYPROJECT.with_name("constraints.txt")
PINNED = ("torch",)  # the usual index has its old versions for CUDA only, gigabytes large
LEAST = ("==", ">=")  # the operators whose version is the lowest one


def requirements() -> Iterator[Requirement]:
    """Every package that the project or an extra of it requires."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    extras = project["optional-dependencies"].values()
    for requirement in map(Requirement, chain(project["dependencies"], *extras)):
        if requirement.name != project["name"]:
            yield requirement


def pins() -> Iterator[Requirement]:
    """The pinned versions of constraints.txt."""
    for line in PINS.read_text().splitlines():
        if text := line.partition("#")[0].strip():
            yield Requirement(text)


def lowest(requirement: Requirement) -> Version | None:
    """The lowest version that a requirement allows; None if it has no lower bound."""
    allowed = [Version(one.version) for one in requirement.specifier if one.operator in LEAST]
    return max(allowed, default=None)


def constraints(of: Iterable[Requirement]) -> list[str]:
    """A line `NAME==VERSION` for each package, for `PINNED` that of constraints.txt.

    Raises ValueError for a package without a lower bound.
    """
    found: dict[str, Version] = {}
    for requirement in of:
        if (version := lowest(requirement)) is None:
            raise ValueError(f"{requirement} has no lower bound")
        found[requirement.name] = max(version, found.get(requirement.name, version))
    found |= {
        pin.name: version for pin in pins() if pin.name in PINNED and (version := lowest(pin))
    }
    return [f"{name}=={version}" for name, version in sorted(found.items())]


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in constraints(requirements()))

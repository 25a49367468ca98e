"""The bounds of pyproject.toml: where a package needs them, and that they fit the pins."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import app
import model
import training
from tests.minima import constraints, lowest, requirements

ROOT = Path(__file__).parents[1]
OWN = ("app", "model", "training")
PRIVATE = re.compile(r"_(?!_)\w+")
UPPER = ("<", "<=", "==")


def own_modules() -> Iterator[str]:
    for package in (app, model, training):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                yield module.name


def private_imports(source: str) -> set[str]:
    """The packages of others of which a source imports a private module or name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        private = [name for name in names if any(map(PRIVATE.fullmatch, name.split(".")))]
        found |= {name.partition(".")[0] for name in private}
    return found


def private_parts(kind: type) -> set[tuple[str, str]]:
    """The private methods of others that a class overrides or calls on itself, with the package."""
    named = set(re.findall(r"(?:def |self\.|super\(\)\.)(_\w+)", inspect.getsource(kind)))
    return {
        (package, name)
        for name in filter(PRIVATE.fullmatch, named)
        for base in kind.__mro__[1:]
        if name in vars(base) and (package := base.__module__.partition(".")[0]) not in OWN
    }


def packages_with_private_parts() -> dict[str, set[str]]:
    """The packages of whose private parts the code makes use, each with these parts."""
    found: dict[str, set[str]] = {}
    for name in own_modules():
        module = importlib.import_module(name)
        for package in private_imports(inspect.getsource(module)) - {*OWN}:
            found.setdefault(package, set()).add("an import")
        for kind in vars(module).values():
            if inspect.isclass(kind) and kind.__module__ == name:
                for package, part in private_parts(kind):
                    found.setdefault(package, set()).add(part)
    return found


def test_each_package_of_ours_is_installed() -> None:
    """Also into an image, where the tree is not on the path."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = {
        module.name
        for package in (app, model, training)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if module.ispkg
    }
    assert found | {*OWN} == set(project["tool"]["setuptools"]["packages"])


def test_each_package_has_one_lower_bound() -> None:
    """Else `make test-lowest` could not install it; in two extras it is the same."""
    bounds: dict[str, set[str]] = {}
    for requirement in requirements():
        bounds.setdefault(requirement.name, set()).add(str(lowest(requirement)))
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}
    assert len(constraints(requirements())) == len(bounds)
    with pytest.raises(ValueError, match="torch has no lower bound"):
        constraints([Requirement("torch")])


def test_what_is_overridden_or_called_in_private_is_bounded_above() -> None:
    """The next version may have it no more."""
    private = packages_with_private_parts()
    assert "_connect" in private["redis"]
    assert "_unset_keepalive_if_required" in private["uvicorn"]
    bounds = {one.name: one.specifier for one in requirements()}
    theirs = {name for name in private if name in bounds}
    unbounded = {
        name: private[name]
        for name in theirs
        if not any(one.operator in UPPER for one in bounds[name])
    }
    assert unbounded == {}


def test_the_versions_that_make_installs_are_within_the_bounds() -> None:
    """And each package that is required has one."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    for requirement in requirements():
        version = pinned[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(version), f"{requirement} but {version}"

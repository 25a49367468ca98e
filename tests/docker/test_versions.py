"""The versions of the images: one for each program, and dashboards of the Grafana that is run."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator

from benchmarks.containers import BASE
from tests.docker.dashboards import DASHBOARDS, DOCKER
from tests.docker.manifests import containers
from tests.docker.test_compose import services

SCHEMA = json.loads((DOCKER.parent / "tests" / "docker" / "grafana" / "schema.json").read_text())
Spoil = Callable[[dict[str, Any]], None]


def versions(images: Iterator[str]) -> dict[str, set[str]]:
    """By the name of the image; ours have no version of their own."""
    found: dict[str, set[str]] = {}
    for image in images:
        name, _, version = image.partition(":")
        if "sagan-" not in name:
            found.setdefault(name, set()).add(version)
    return found


def test_kubernetes_and_compose_run_the_same_versions() -> None:
    """Each named to the minor version at least, so that nothing changes by itself."""
    composed = versions(service["image"] for service in services().values())
    deployed = versions(container["image"] for _, container in containers())
    assert set(composed) >= {"redis", "haproxy", "prom/prometheus", "grafana/grafana"}
    assert "redis" in deployed
    assert {name: composed[name] for name in deployed} == deployed
    for (version,) in composed.values():
        assert re.match(r"v?\d+\.\d+", version)


def test_our_images_have_one_base() -> None:
    """Which the measurements subtract."""
    bases = set(re.findall(r"^FROM (python:\S+)", (DOCKER / "Dockerfile").read_text(), re.M))
    assert bases == {BASE}


def test_redis_starts_as_a_user_of_its_own() -> None:
    """In compose the image's entry point sees to it, and to the owner of the data; in Kubernetes
    the pod does, and the program starts without the modules of its image."""
    assert "entrypoint" not in services()["redis"]
    assert services()["redis"]["command"][0] == "redis-server"
    (deployed,) = (c for _, c in containers() if c["name"] == "redis")
    assert deployed["command"] == ["redis-server"]


def test_the_schema_is_that_of_the_grafana_that_is_run() -> None:
    """`tests/docker/grafana/generate.sh` writes it anew for another version."""
    version = services()["grafana"]["image"].partition(":")[2]
    assert SCHEMA["$comment"].startswith(f"@grafana/schema {version} ")


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_dashboards_are_what_grafana_takes(file: Any) -> None:
    """By its own types, the options of each kind of panel included."""
    found = list(Draft7Validator(SCHEMA).iter_errors(json.loads(file.read_text())))
    assert [f"{list(error.absolute_path)}: {error.message}" for error in found] == []


def misspell_member(dashboard: dict[str, Any]) -> None:
    dashboard["timezon"] = dashboard.pop("timezone")


def misspell_option(dashboard: dict[str, Any]) -> None:
    panel = next(one for one in dashboard["panels"] if "tooltip" in one.get("options", {}))
    panel["options"]["tooltip"]["mode"] = "multy"


def misspell_custom(dashboard: dict[str, Any]) -> None:
    panel = next(one for one in dashboard["panels"] if one["type"] == "timeseries")
    panel["fieldConfig"]["defaults"]["custom"]["lineWith"] = 1


def another_type(dashboard: dict[str, Any]) -> None:
    next(one for one in dashboard["panels"] if one["type"] == "timeseries")["type"] = "graph"


@pytest.mark.parametrize("spoil", [misspell_member, misspell_option, misspell_custom, another_type])
def test_what_grafana_would_disregard_is_found(spoil: Spoil) -> None:
    """A member, the value of an option, a custom field and a panel that Grafana has not."""
    dashboard = copy.deepcopy(json.loads(DASHBOARDS[0].read_text()))
    assert Draft7Validator(SCHEMA).is_valid(dashboard)
    spoil(dashboard)
    assert not Draft7Validator(SCHEMA).is_valid(dashboard)

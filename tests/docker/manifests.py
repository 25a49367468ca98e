"""The manifests of docker/kubernetes/, read from their files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from tests.docker.dashboards import DOCKER

FOLDER = DOCKER / "kubernetes"
COMPONENT = "app.kubernetes.io/component"
Manifest = Mapping[str, Any]


def manifests() -> list[Manifest]:
    """Those that kustomization.yaml names."""
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    found: list[Manifest] = []
    for name in kustomization["resources"]:
        found += yaml.safe_load_all((FOLDER / name).read_text())
    return found


def of_kind(*kinds: str) -> dict[str, Manifest]:
    """By name."""
    return {m["metadata"]["name"]: m for m in manifests() if m["kind"] in kinds}


def containers() -> Iterator[tuple[str, Manifest]]:
    """Each with its workload's name."""
    for name, workload in of_kind("Deployment", "StatefulSet").items():
        for container in workload["spec"]["template"]["spec"]["containers"]:
            yield name, container

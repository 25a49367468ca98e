"""The expressions of the dashboards and alerts that docker/ ships, read from their files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import yaml

DOCKER = Path(__file__).parents[2] / "docker"
DASHBOARDS = sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))
ALERTS = DOCKER / "prometheus" / "alerts.yml"
SELECTOR = re.compile(r"\b(?:(?:sagan|redis|process)_\w+|up)\b(?:\{[^}]*\})?")


class Panel(NamedTuple):
    """What a panel asks Prometheus."""

    dashboard: str
    title: str
    datasource: str
    expressions: tuple[str, ...]


def panels() -> list[Panel]:
    """Every panel that shows data."""
    found = []
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            if panel["type"] != "row":
                expressions = tuple(target["expr"] for target in panel["targets"])
                source = panel["datasource"]["uid"]
                found.append(Panel(file.stem, panel["title"], source, expressions))
    return found


def alerts() -> dict[str, dict[str, object]]:
    """The rules by name."""
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def selectors(expression: str) -> list[str]:
    """The series that an expression is made from, such as `up{job="api"}`."""
    return SELECTOR.findall(expression)

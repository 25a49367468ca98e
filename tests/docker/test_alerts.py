"""Alerts and dashboards: well-formed, tested, explained, and of one datasource."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml

from tests.docker.dashboards import ALERTS, DOCKER, alerts, panels, selectors

OPERATIONS = DOCKER.parent / "docs" / "operations.md"
DATASOURCE = DOCKER / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus"
)


def promtool(*arguments: object) -> None:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_takes_its_configuration() -> None:
    """With the rules that it names."""
    promtool("check", "config", DOCKER / "prometheus" / "prometheus.yml")


@needs_promtool
def test_each_alert_fires_and_resolves() -> None:
    """In the series that alerts_test.yml describes: well, trouble, well again."""
    promtool("test", "rules", DOCKER / "prometheus" / "alerts_test.yml")


def test_no_alert_is_without_a_test_of_its_firing_and_resolving() -> None:
    """Silence before, the alert in the trouble, silence after."""
    written = yaml.safe_load((ALERTS.parent / "alerts_test.yml").read_text())["tests"]
    seen = set()
    for test in written:
        fired = [len(at["exp_alerts"]) for at in test["alert_rule_test"]]
        assert fired == [0, 1, 0], test["name"]
        seen |= {at["alertname"] for at in test["alert_rule_test"]}
    assert seen == set(alerts())


def test_each_alert_links_to_its_section_of_the_handbook() -> None:
    """And the handbook explains no alert that is gone."""
    sections = re.findall(r"^### (Sagan\w+)$", OPERATIONS.read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(alerts())
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"  # type: ignore[index]
        assert rule["labels"]["severity"] in ("page", "ticket")  # type: ignore[index]


def test_panels_ask_the_datasource_that_is_provisioned() -> None:
    """By its fixed uid; rates are over the interval that fits what is shown."""
    (source,) = yaml.safe_load(DATASOURCE.read_text())["datasources"]
    for panel in panels():
        assert panel.datasource == source["uid"], panel.title
        for expression in panel.expressions:
            assert selectors(expression), expression
            assert "[5m]" not in expression, expression

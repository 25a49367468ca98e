"""What the dashboards and alerts ask is there, on a real Prometheus over the real service."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.docker.dashboards import alerts, panels, selectors
from tests.docker.observed_service import START_S, ObservedService, missing_programs

INTERVAL = "10s"  # a load this long fills every rate
OF_A_GPU = "sagan_device_memory_"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_programs()), reason=f"needs {missing_programs()}"),
]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObservedService]:
    with ObservedService(tmp_path_factory.mktemp("observed")) as observed:
        until(lambda: observed.ask("sagan_training_score") and observed.ask("sagan_training_loss"))
        observed.load(12.0)
        yield observed


def until(true: Callable[[], object]) -> None:
    until_s = time.monotonic() + START_S
    while True:
        try:
            if true():
                return
        except httpx.HTTPError:  # Prometheus is on its way
            pass
        assert time.monotonic() < until_s
        time.sleep(0.2)


def has_data(observed: ObservedService, expression: str) -> bool:
    values = observed.ask(expression.replace("$__rate_interval", INTERVAL))
    return any(not math.isnan(value) for value in values)


def test_every_expression_of_every_panel_has_data_under_load(observed: ObservedService) -> None:
    """A GPU's memory apart, which needs one."""
    asked = [(panel, e) for panel in panels() for e in panel.expressions if OF_A_GPU not in e]
    empty = [(panel.title, e) for panel, e in asked if not has_data(observed, e)]
    assert not empty
    assert len(asked) > 50


def test_every_series_that_an_alert_looks_at_is_there(observed: ObservedService) -> None:
    """So that none is silent because of a misspelt name."""
    for name, rule in alerts().items():
        for selector in selectors(str(rule["expr"])):
            if OF_A_GPU not in selector and "5.." not in selector:
                assert observed.ask(selector), (name, selector)


def test_every_metric_of_ours_is_shown_or_watched(observed: ObservedService) -> None:
    """A metric that nobody looks at is not kept."""
    asked = [e for panel in panels() for e in panel.expressions]
    asked += [str(rule["expr"]) for rule in alerts().values()]
    shown = {re.sub(r"\{.*", "", s) for e in asked for s in selectors(e)}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    ours = [name for name in observed.metric_names() if name.startswith("sagan_")]
    unseen = {n for n in ours if re.sub(r"_(bucket|sum|count)$", "", n) not in shown}
    assert not unseen

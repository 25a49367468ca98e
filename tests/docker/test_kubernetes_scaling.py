"""What sets the number of pods in Kubernetes, and on which readings."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.docker.dashboards import panels, selectors
from tests.docker.manifests import of_kind

# No package has KEDA's schemas; the members used here, as its reference spells them.
KEDA_TRIGGER = {"type", "name", "metricType", "metadata"}
KEDA_PROMETHEUS = {"serverAddress", "query", "threshold", "ignoreNullValues"}
KEDA_SPEC = {
    *("scaleTargetRef", "pollingInterval", "minReplicaCount", "maxReplicaCount"),
    *("fallback", "advanced", "triggers"),
}


def test_workers_scale_by_metrics_that_dashboards_show_too() -> None:
    """Of the deployment that there is; an outage of Prometheus does not scale it down."""
    (scaled,) = of_kind("ScaledObject").values()
    spec = scaled["spec"]
    assert set(spec) == KEDA_SPEC
    worker = of_kind("Deployment")[spec["scaleTargetRef"]["name"]]
    assert "replicas" not in worker["spec"]
    assert spec["minReplicaCount"] >= 1
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    shown = {s.split("{")[0] for panel in panels() for e in panel.expressions for s in selectors(e)}
    shown |= {"up"}  # Prometheus's own
    for trigger in spec["triggers"]:
        assert set(trigger) == KEDA_TRIGGER
        assert set(trigger["metadata"]) == KEDA_PROMETHEUS
        assert trigger["metricType"] == "AverageValue"  # the one that fallback knows
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        assert {s.split("{")[0] for s in selectors(trigger["metadata"]["query"])} <= shown


# Every 5 s: a minute of a fresh install, then workers at work, then Redis away and no worker read,
# then nobody read.
READ = {
    'up{namespace="sagan",job="api"}': "1x47 stale",
    'sagan_model_info{namespace="sagan",model="dogs"}': "_x12 1x35 stale",
    'sagan_queue_depth_images{namespace="sagan",model="dogs",priority="interactive"}': (
        "_x12 30x17 stale"
    ),
    'sagan_device_busy_seconds_total{namespace="sagan",pod="a"}': "_x12 0+4x17 stale",
}
SCALED_BY: dict[str, dict[str, list[float]]] = {
    "queue": {"50s": [0], "145s": [30], "235s": [], "290s": []},
    "busy": {"50s": [0], "145s": [0.8], "235s": [], "290s": []},
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_nothing_to_do_is_zero_and_nothing_known_is_no_value(tmp_path: Path) -> None:
    """A fresh install does not bring `fallback` about; an outage of Redis or Prometheus does."""
    (scaled,) = of_kind("ScaledObject").values()
    queries = {t["name"]: t["metadata"]["query"] for t in scaled["spec"]["triggers"]}
    tests = [
        {
            "expr": queries[name],
            "eval_time": at,
            "exp_samples": [{"labels": "{}", "value": value} for value in values],
        }
        for name, expected in SCALED_BY.items()
        for at, values in expected.items()
    ]
    series = [{"series": name, "values": values} for name, values in READ.items()]
    written = tmp_path / "scaling_test.yml"
    written.write_text(
        yaml.safe_dump(
            {"tests": [{"interval": "5s", "input_series": series, "promql_expr_test": tests}]}
        )
    )
    done = subprocess.run(
        ["promtool", "test", "rules", str(written)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_replicas_scale_by_the_autoscaler_alone() -> None:
    """A number in the manifest would be set back by every apply."""
    (scaler,) = of_kind("HorizontalPodAutoscaler").values()
    target = scaler["spec"]["scaleTargetRef"]
    assert "replicas" not in of_kind(target["kind"])[target["name"]]["spec"]
